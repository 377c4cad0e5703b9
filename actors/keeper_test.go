package actors_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// A fixed visibility timeout re-ran long jobs of celery.
func TestLessonLeasesAreRenewedEveryThirdOfALease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite, lease(9*time.Second))
		r.enqueue(1)
		synctest.Wait()
		r.faulty.forget()
		pause(30*time.Second + time.Millisecond)
		times := r.faulty.times("renew")
		require.Len(t, times, 10)
		for i := range times[1:] {
			require.Equal(t, 3*time.Second, times[i+1].Sub(times[i]))
		}
		require.Equal(t, backend.StateRunning, r.job("0").State)
	})
}

func TestARenewalThatHangsLosesNoShortLease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, lease(time.Second))
		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		r.enqueue(1)
		synctest.Wait()
		second.start(noop, lease(time.Second)) // would take what expires
		r.faulty.on(first(1, hangs), "renew")
		pause(11 * time.Second)
		report := r.stop(actors.Stop{})
		require.Equal(t, 1, report.Completed, "%v", report)
		require.Zero(t, report.Lost)
	})
}

// renewing changes what the store answers to renewals.
type renewing struct {
	backend.Backend
	change func(backend.Held, *backend.RenewResult)
}

func (a *renewing) Renew(ctx context.Context, request backend.RenewRequest) ([]backend.RenewResult, error) {
	results, err := a.Backend.Renew(ctx, request)
	for i := range results {
		a.change(request.Leases[i], &results[i])
	}
	return results, err
}

func TestALostLeaseCancelsTheContextAndIsCountedWhenTheHandlerHasReturned(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		cause := make(chan error, 1)
		gate := make(chan struct{})
		r := newStore(t)
		r.faulty.Backend = &renewing{r.store, func(_ backend.Held, result *backend.RenewResult) { result.Lost = true }}
		r.start(func(ctx context.Context, _ *jobs.Job[task]) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			<-gate
			return nil
		})
		synctest.Wait() // the first round of renewals is over
		r.enqueue(1)
		require.ErrorIs(t, <-cause, jobs.ErrLeaseLost)
		synctest.Wait()
		require.Zero(t, r.worker.Status().Counts.Lost)
		r.faulty.forget()
		close(gate)
		synctest.Wait()
		require.Equal(t, 1, r.worker.Status().Counts.Lost)
		require.Empty(t, r.faulty.settles(), "what is not ours is not settled")
	})
}

// A worker whose lease ran out, because it was away for too long, finds another
// one's token.
func TestAJobThatAnotherWorkerTookOverIsNotSettledTwice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		work := func(ctx context.Context, _ *jobs.Job[task]) error {
			defer c.enter()()
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		r := newRig(t, work, lease(3*time.Second))
		r.enqueue(1)
		synctest.Wait()
		r.outage(down)
		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		second.start(work, lease(3*time.Second))
		pause(5 * time.Second)
		require.Equal(t, second.worker.ID(), r.job("0").LeasedBy)
		require.Equal(t, 1, r.job("0").Crashes)

		r.faulty.on(nil, "")
		pause(2 * time.Minute)
		require.Equal(t, 1, r.stop(actors.Stop{}).Lost)
		require.Equal(t, 1, second.stop(actors.Stop{}).Completed)
		require.EqualValues(t, 1, r.counts()[backend.StateCompleted])
	})
}

// Recovery ran only at the start of a process (Sidekiq), every hour (River), or
// cost an attempt (asynq).
func TestLessonTheJobsOfADeadWorkerRunAgainWithinALeaseAndTwoSeconds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const leaseTime = 15 * time.Second
		r := newStore(t)
		r.enqueue(20)
		_, err := r.store.Lease(t.Context(), backend.LeaseRequest{
			Worker: "dead", Token: "dead.1", Queues: []string{jobs.DefaultQueue}, Max: 20, Duration: leaseTime,
		})
		require.NoError(t, err)
		var c crowd
		r.start(func(context.Context, *jobs.Job[task]) error { c.enter()(); return nil })
		pause(leaseTime - time.Second)
		require.Zero(t, c.runs())
		pause(3 * time.Second)
		require.Equal(t, 20, c.runs())
		require.Equal(t, 1, r.job("7").Crashes)
		require.Zero(t, r.job("7").Attempts, "a crash costs no attempt")
	})
}

func TestABusyWorkerRecoversTheJobsOfADeadOneForOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.enqueue(1)
		_, err := r.store.Lease(t.Context(), backend.LeaseRequest{
			Worker: "dead", Token: "dead.1", Queues: []string{jobs.DefaultQueue}, Max: 1, Duration: 15 * time.Second,
		})
		require.NoError(t, err)
		_, err = r.client.Enqueue(t.Context(), task{N: 1}, jobs.ID("busy"))
		require.NoError(t, err)
		r.start(polite, concurrency(1)) // has no executor to lease for
		pause(21 * time.Second)
		require.Equal(t, backend.StateWaiting, r.job("0").State)
		require.Equal(t, backend.StateRunning, r.job("busy").State)
	})
}

// A cancel led to a retry in asynq.
func TestLessonACancelFromOutsideEndsARunningJobAtOnceAndForGood(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		cause := make(chan error, 1)
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return context.Cause(ctx)
		})
		r.enqueue(1)
		pause(time.Second)
		began := time.Now()
		results, err := r.client.Cancel(t.Context(), jobs.DefaultQueue, "0")
		require.NoError(t, err)
		require.Equal(t, backend.StateRunning, results[0].State)
		require.ErrorIs(t, <-cause, jobs.ErrCancelled)
		require.Zero(t, time.Since(began), "by Listen, not by the next renewal")
		synctest.Wait()
		require.Equal(t, backend.StateCancelled, r.job("0").State)
		require.Equal(t, 1, r.stop(actors.Stop{}).Cancelled)
	})
}

func TestAnOrderThatWasNotHeardTakesEffectWithinAMinute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(hangs, "listen")
		r.start(polite)
		pause(5 * time.Minute)
		require.NoError(t, r.client.QuietWorkers(t.Context()))
		r.faulty.on(down, "memo")
		pause(2 * time.Minute)
		require.Equal(t, actors.StateRunning, r.worker.Status().State)
		r.faulty.on(nil, "memo")
		pause(10 * time.Second)
		require.Equal(t, actors.StateQuiet, r.worker.Status().State, "after a failure the next beat asks")
		require.NoError(t, r.client.ResumeWorkers(t.Context()))
		pause(time.Minute + 10*time.Second)
		require.Equal(t, actors.StateRunning, r.worker.Status().State)
	})
}

func TestAStopIsHeededAlsoIfTheWorkerCouldNotAskForOrdersBefore(t *testing.T) {
	for name, all := range map[string]bool{"by its id": false, "all": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newStore(t)
				r.faulty.on(down, "memo")
				r.start(polite)
				pause(15 * time.Second)
				listed, err := r.client.Workers(t.Context())
				require.NoError(t, err)
				require.Len(t, listed, 1)
				ids := []string{r.worker.ID()}
				if all {
					ids = nil
				}
				require.NoError(t, r.client.StopWorkers(t.Context(), ids...))
				r.faulty.on(nil, "memo")
				pause(15 * time.Second)
				require.NotNil(t, r.worker.Report(), "it has stopped")

				r.start(polite)
				pause(time.Minute)
				require.Equal(t, actors.StateRunning, r.worker.Status().State, "a stop of before does not stop a new one")
			})
		})
	}
}

func TestACancelThatWasNotHeardTakesEffectAtTheNextRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(hangs, "listen")
		r.enqueue(1)
		r.start(polite)
		pause(time.Second)
		_, err := r.client.Cancel(t.Context(), jobs.DefaultQueue, "0")
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, backend.StateRunning, r.job("0").State)
		pause(5 * time.Second)
		require.Equal(t, backend.StateCancelled, r.job("0").State)
	})
}

func TestProgressIsSavedSoonAndAlsoAfterARenewalThatFailed(t *testing.T) {
	for name, failures := range map[string]int{"at once": 0, "after failures": 3} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newStore(t)
				report := make(chan int)
				r.enqueue(1)
				r.start(func(ctx context.Context, job *jobs.Job[task]) error {
					for n := range report {
						_ = job.Progress(n)
					}
					return nil
				})
				synctest.Wait()
				r.faulty.on(first(failures, down), "renew")
				for n := range 50 {
					report <- n
				}
				pause(300*time.Millisecond + time.Duration(failures)*500*time.Millisecond)
				progress, err := jobs.ProgressOf[int](r.job("0"))
				require.NoError(t, err)
				require.Equal(t, 49, progress)
				require.LessOrEqual(t, r.faulty.count("renew"), failures+2, "progress is gathered")
				close(report)
			})
		})
	}
}

func TestAWorkerKeepsItsRecordAndSignsOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite, concurrency(7))
		r.enqueue(2)
		pause(time.Minute)
		workers, err := r.client.Workers(t.Context())
		require.NoError(t, err)
		require.Len(t, workers, 1)
		record := workers[0]
		require.Equal(t, r.worker.ID(), record.ID)
		require.Equal(t, []string{jobs.DefaultQueue}, record.Queues)
		require.Equal(t, []string{"task"}, record.Kinds)
		require.Equal(t, 7, record.Concurrency)
		require.Equal(t, 2, record.Running)
		require.Equal(t, string(actors.StateRunning), record.State)

		r.worker.Quiet()
		pause(6 * time.Second)
		workers, err = r.client.Workers(t.Context())
		require.NoError(t, err)
		require.Equal(t, string(actors.StateQuiet), workers[0].State)

		r.stop(actors.Stop{})
		workers, err = r.client.Workers(t.Context())
		require.NoError(t, err)
		require.Empty(t, workers)
	})
}

func TestAWorkerThatIsStoppedHardSignsOffToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		synctest.Wait()
		r.system.Root.Stop(r.worker.PID())
		r.report()
		workers, err := r.client.Workers(t.Context())
		require.NoError(t, err)
		require.Empty(t, workers)
	})
}

func TestTheLeasesOfJobsThatWaitForTheirAcknowledgementAreRenewed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var runs atomic.Int32
		r := newStore(t)
		r.faulty.on(down, "settle")
		r.enqueue(1)
		r.start(func(context.Context, *jobs.Job[task]) error { runs.Add(1); return nil }, lease(3*time.Second))
		pause(time.Minute)
		r.faulty.on(nil, "settle")
		pause(time.Second)
		require.EqualValues(t, 1, runs.Load())
		require.Equal(t, backend.StateCompleted, r.job("0").State)
	})
}
