package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// asynq freed the slot of a handler that ignored its cancelled context: with
// Concurrency 1 it ran four copies of one task.
func TestLessonSlotIsFreeOnlyWhenTheGoroutineHasReturned(t *testing.T) {
	for name, c := range map[string]struct {
		options []jobs.EnqueueOption
		during  func(r *rig)
		lost    bool
		wants   backend.State // of the job, while its handler still runs
	}{
		"timeout":    {options: []jobs.EnqueueOption{jobs.Timeout(time.Second)}, wants: backend.StateRunning},
		"deadline":   {options: []jobs.EnqueueOption{jobs.Deadline(time.Date(2000, 1, 1, 0, 0, 2, 0, time.UTC))}, wants: backend.StateRunning},
		"cancelled":  {during: func(r *rig) { _, _ = r.client.Cancel(context.Background(), jobs.DefaultQueue, "0") }, wants: backend.StateRunning},
		"lost lease": {lost: true, wants: backend.StateWaiting}, // and the store hands it out again
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				var all crowd
				r := newStore(t)
				r.faulty.Backend = &renewing{r.store, func(_ backend.Held, result *backend.RenewResult) {
					result.Lost = result.Lost || c.lost
				}}
				r.enqueue(1, c.options...)
				r.start(func(_ context.Context, job *jobs.Job[task]) error {
					defer all.enter()()
					if job.Args.N == 0 {
						<-gate
					}
					return nil
				}, concurrency(1))
				pause(10 * time.Millisecond)
				_, err := r.client.Enqueue(t.Context(), task{N: 1}, jobs.ID("next"))
				require.NoError(t, err)
				if c.during != nil {
					c.during(r)
				}

				pause(2 * time.Minute)
				require.Equal(t, 1, all.runs(), "its handler has not returned")
				require.Equal(t, c.wants, r.job("0").State)
				require.Equal(t, backend.StateWaiting, r.job("next").State)

				close(gate)
				pause(time.Minute)
				require.Equal(t, 1, all.peak())
				require.Equal(t, backend.StateCompleted, r.job("next").State)
			})
		})
	}
}

func TestAJobThatItsWorkerLostAndLeasedAgainWaitsForTheOldHandler(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		var all crowd
		r := newStore(t)
		r.faulty.on(down, "renew") // so the lease runs out
		r.enqueue(1)
		r.start(func(context.Context, *jobs.Job[task]) error {
			defer all.enter()()
			<-gate
			return nil
		}, concurrency(1), lease(3*time.Second))
		synctest.Wait()
		pause(10 * time.Second)
		r.faulty.on(nil, "renew")
		pause(time.Minute)
		require.Equal(t, 1, all.runs())
		close(gate)
		pause(time.Minute)
		require.Equal(t, 1, all.peak())
		require.Equal(t, backend.StateCompleted, r.job("0").State)
		requireAddsUp(t, r.stop(actors.Stop{}))
	})
}

func TestConcurrencyOneNeverHasTwoHandlersWhateverHappens(t *testing.T) {
	for name := range strategies {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				dice := rand.New(rand.NewPCG(7, 7))
				var all crowd
				r := newStore(t)
				r.faulty.Backend = &renewing{r.store, func(h backend.Held, result *backend.RenewResult) {
					result.Lost = result.Lost || len(h.ID) == 2 && h.ID[1] == '7'
				}}
				r.enqueue(100, jobs.MaxAttempts(2), jobs.Timeout(2*time.Second))
				r.start(func(ctx context.Context, job *jobs.Job[task]) error {
					defer all.enter()()
					switch job.Args.N % 8 {
					case 0:
						panic("at the disco")
					case 1:
						<-time.After(5 * time.Second) // whatever the context says
						return nil
					case 2:
						<-ctx.Done()
						return context.Cause(ctx)
					case 3:
						return errors.New("fails")
					case 4:
						runtime.Goexit()
					case 5:
						<-time.After(3 * time.Second)
						panic("late")
					}
					return nil
				}, concurrency(1), lease(3*time.Second), strategy(strategies[name](dice)))
				for n := range 100 {
					pause(time.Second)
					if n%5 == 0 {
						_, _ = r.client.Cancel(t.Context(), jobs.DefaultQueue, fmt.Sprint(dice.IntN(100)))
					}
				}
				pause(10 * time.Minute)
				require.Equal(t, 1, all.peak())
				if r.worker.Report() == nil { // it did not escalate
					require.Zero(t, r.counts()[backend.StateWaiting])
				}
				r.stop(actors.Stop{})
				require.Equal(t, 1, all.peak())
			})
		})
	}
}

func TestAnExecutorThatIsStoppedFromOutsideIsReplacedAndItsJobGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var all crowd
		r := newRig(t, func(context.Context, *jobs.Job[task]) error {
			defer all.enter()()
			<-time.After(10 * time.Second)
			return nil
		}, concurrency(1))
		r.enqueue(3)
		synctest.Wait()
		for range 3 {
			r.system.Root.Stop(r.system.NewLocalPID(poolName + "/exec-0"))
			pause(time.Second)
		}
		pause(time.Minute)
		require.Equal(t, 1, all.peak())
		require.Equal(t, 3, all.runs())
		require.Equal(t, 3, r.stop(actors.Stop{}).Completed)
	})
}

// A concurrency slot leaked at scale-down in Mosquito.
func TestLessonResizingUnderLoadLosesNothingAndNeverRunsMoreThanAllowed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var all crowd
		dice := rand.New(rand.NewPCG(1, 2))
		const top = 12
		r := newRig(t, func(context.Context, *jobs.Job[task]) error {
			defer all.enter()()
			<-time.After(time.Duration(100+rand.IntN(300)) * time.Millisecond)
			return nil
		}, concurrency(top))
		r.enqueue(3000)
		for range 60 {
			pause(time.Duration(dice.IntN(150)) * time.Millisecond)
			size := 1 + dice.IntN(top)
			require.NoError(t, r.worker.Resize(size))
			synctest.Wait()
			require.Equal(t, size, r.worker.Status().Concurrency)
		}
		require.LessOrEqual(t, all.peak(), top)
		require.NoError(t, r.worker.Resize(top))
		pause(20 * time.Minute)
		require.EqualValues(t, 3000, r.counts()[backend.StateCompleted])
		require.Equal(t, top, all.peak(), "and all places are used")
		report := r.stop(actors.Stop{})
		require.Equal(t, 3000, report.Completed)
	})
}

func TestASmallerPoolFinishesItsJobsFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var all crowd
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			defer all.enter()()
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, concurrency(5))
		r.enqueue(6)
		synctest.Wait()
		require.NoError(t, r.worker.Resize(1))
		pause(10*time.Second + 1)
		synctest.Wait()
		require.EqualValues(t, 5, r.counts()[backend.StateCompleted])
		require.EqualValues(t, 1, r.counts()[backend.StateRunning])
		require.Equal(t, 1, r.worker.Status().Concurrency)
		require.Equal(t, 1, r.worker.Status().Running)
	})
}

func TestAWorkerAsksForNoMoreJobsThanASmallerPoolHasExecutors(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), concurrency(20))
		synctest.Wait()
		for range 5 {
			require.NoError(t, r.worker.Resize(2))
			synctest.Wait()
			require.NoError(t, r.worker.Resize(20))
			synctest.Wait()
		}
		require.NoError(t, r.worker.Resize(2))
		synctest.Wait()
		r.faulty.forget()
		r.enqueue(50)
		pause(time.Minute)
		for _, request := range r.faulty.leases() {
			require.LessOrEqual(t, request.Max, 2)
		}
		require.Zero(t, r.worker.Status().Counts.HandedBack)
		require.EqualValues(t, 2, r.counts()[backend.StateRunning])
	})
}

func TestAJobOfAnExecutorThatAResizeTookAwayIsAbandonedLikeOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), concurrency(3))
		r.enqueue(3)
		synctest.Wait()
		require.NoError(t, r.worker.Resize(1))
		synctest.Wait()
		report := r.stop(actors.Stop{Urgency: actors.HandBack})
		require.Equal(t, 3, report.Abandoned, "%v", report)
		require.Zero(t, report.StopTook)
	})
}

func TestAWorkerRefusesImpossibleSizes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite)
		r.enqueue(1)
		synctest.Wait()
		for _, n := range []int{0, -1, 1_000_001} {
			require.ErrorContains(t, r.worker.Resize(n), "it goes from 1 to")
		}
		r.worker.Stop(actors.Stop{})
		require.ErrorContains(t, r.worker.Resize(3), "draining")
		r.report()
		require.ErrorContains(t, r.worker.Resize(3), "ended")
	})
}

func TestResizeWorksWhileQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var all crowd
		gate := make(chan struct{})
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { defer all.enter()(); <-gate; return nil }, concurrency(1))
		synctest.Wait()
		r.worker.Quiet()
		require.NoError(t, r.worker.Resize(3))
		r.enqueue(5)
		synctest.Wait()
		require.Zero(t, all.runs())
		r.worker.Resume()
		synctest.Wait()
		require.Equal(t, 3, all.runs())
		close(gate)
	})
}
