package actors_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// idleFor lets an hour pass and returns how often each verb was called in it.
func (r *rig) idleFor(d time.Duration) map[string]int {
	r.faulty.forget()
	pause(d)
	calls := map[string]int{}
	for _, verb := range []string{"lease", "wait", "waiter", "settle", "renew", "sweep", "announce", "listen", "memo"} {
		calls[verb] = r.faulty.count(verb)
	}
	return calls
}

func TestAnIdleWorkerMakesOneCallEveryFiveSecondsApartFromHeartbeats(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop, concurrency(100))
		pause(time.Minute + time.Second)
		calls := r.idleFor(time.Hour)
		require.LessOrEqual(t, calls["lease"], 720)
		require.LessOrEqual(t, calls["wait"], 720)
		require.LessOrEqual(t, calls["sweep"], 720)
		require.LessOrEqual(t, calls["announce"], 720)
		require.LessOrEqual(t, calls["memo"], 60, "orders are read each minute")
		require.Zero(t, calls["renew"])
		require.Zero(t, calls["settle"])
		require.Zero(t, calls["waiter"])
	})
}

func TestAPauseForATimeEndsByItselfAndWithoutAPoll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { c.enter()(); return nil })
		for _, d := range []time.Duration{300 * time.Millisecond, time.Minute} {
			pause(time.Second)
			before := c.runs()
			require.NoError(t, r.client.PauseQueue(t.Context(), jobs.DefaultQueue, jobs.For(d)))
			r.fill(10, jobs.DefaultQueue)
			pause(d - time.Millisecond)
			require.Equal(t, before, c.runs())
			pause(2 * time.Millisecond)
			require.Equal(t, before+10, c.runs())
		}
	})
}

func TestAWorkerWhoseQueueIsPausedIsIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newStore(t)
		require.NoError(t, r.client.PauseQueue(t.Context(), jobs.DefaultQueue))
		r.enqueue(10)
		r.start(func(context.Context, *jobs.Job[task]) error { c.enter()(); return nil })
		pause(time.Minute)
		calls := r.idleFor(time.Minute)
		require.LessOrEqual(t, calls["lease"], 13)
		require.Zero(t, c.runs())

		require.NoError(t, r.client.ResumeQueue(t.Context(), jobs.DefaultQueue))
		synctest.Wait()
		require.Equal(t, 10, c.runs())
	})
}

// other is a kind that the tests' workers do not know unless they say so.
type other struct {
	N int `json:"n"`
}

func (other) Kind() string { return "other" }

func knowsOther(h func(context.Context, *jobs.Job[other]) error) func(*actors.Config) {
	return func(c *actors.Config) { jobs.Handle(c.Registry, h) }
}

// Unknown kinds after a rolling deploy must wait for a worker that knows them.
func TestLessonJobsOfUnknownKindsWaitForAWorkerThatKnowsThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		for n := range 5 {
			_, err := r.client.Enqueue(t.Context(), other{N: n})
			require.NoError(t, err)
		}
		r.enqueue(5)
		synctest.Wait()
		require.EqualValues(t, 5, r.counts()[backend.StateBlocked])
		require.EqualValues(t, 5, r.counts()[backend.StateCompleted], "the others go on")
		calls := r.idleFor(time.Minute)
		require.LessOrEqual(t, calls["lease"], 13, "jobs that nobody knows are left alone")

		var c crowd
		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		second.start(noop, knowsOther(func(context.Context, *jobs.Job[other]) error { c.enter()(); return nil }))
		synctest.Wait()
		require.Equal(t, 5, c.runs())
		require.Zero(t, r.counts()[backend.StateBlocked])
		require.Equal(t, 5, r.stop(actors.Stop{}).Blocked)
	})
}

func TestAWorkerThatKnowsABlockedKindOfAPausedQueueIsIdle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		_, err := r.client.Enqueue(t.Context(), other{})
		require.NoError(t, err)
		synctest.Wait()
		require.EqualValues(t, 1, r.counts()[backend.StateBlocked])
		require.NoError(t, r.client.PauseQueue(t.Context(), jobs.DefaultQueue))

		var c crowd
		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		second.faulty.on(func(_ context.Context, call func() error) error { // a hot loop shows as time that does not pass
			<-time.After(time.Millisecond)
			return call()
		}, "lease")
		second.start(noop, knowsOther(func(context.Context, *jobs.Job[other]) error { c.enter()(); return nil }))
		calls := second.idleFor(time.Minute)
		require.LessOrEqual(t, calls["lease"], 40)

		require.NoError(t, r.client.ResumeQueue(t.Context(), jobs.DefaultQueue))
		pause(6 * time.Second)
		require.Equal(t, 1, c.runs())
	})
}

// Mosquito retried without a delay, 2,109 attempts in 6 s; asynq's error path had
// no pause when Redis was away.
func TestLessonEveryFailurePathPauses(t *testing.T) {
	for _, verb := range []string{"lease", "wait", "waiter", "settle", "renew", "sweep", "announce", ""} {
		t.Run("verb "+verb, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
					if job.Args.N == 0 {
						return polite(ctx, job)
					}
					return nil
				})
				r.enqueue(5)
				synctest.Wait()
				r.faulty.on(down, verb)
				if verb == "" {
					r.faulty.on(down, "settle")
				}
				_, err := r.client.Enqueue(t.Context(), task{N: 9})
				require.NoError(t, err)
				pause(10 * time.Second)
				for v, n := range r.idleFor(time.Minute) {
					require.LessOrEqual(t, n, 4*60+5, "%s, while %q fails", v, verb)
				}
			})
		})
	}
}

// pastDue is a store that says that something has been due for long.
type pastDue struct{ backend.Backend }

func (p *pastDue) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	reply, err := p.Backend.Lease(ctx, request)
	reply.NextDue = reply.Now.Add(-time.Second)
	return reply, err
}

func TestAnInstantThatHasPassedDoesNotMakeAHotLoop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.Backend = &pastDue{r.store}
		r.faulty.on(func(_ context.Context, call func() error) error {
			<-time.After(100 * time.Microsecond)
			return call()
		}, "lease")
		r.start(noop)
		calls := r.idleFor(time.Minute)
		require.LessOrEqual(t, calls["lease"], 60*4)
	})
}

func TestAJobStartsAtOnceWhenItIsEnqueued(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		started := make(chan time.Time, 1)
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { started <- time.Now(); return nil })
		for range 10 {
			pause(1234 * time.Millisecond)
			enqueued := time.Now()
			_, err := r.client.Enqueue(t.Context(), task{})
			require.NoError(t, err)
			require.Zero(t, (<-started).Sub(enqueued))
		}
	})
}

func TestADelayedJobStartsAtItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		started := make(chan time.Time, 1)
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { started <- time.Now(); return nil })
		pause(time.Minute)
		for _, delay := range []time.Duration{300 * time.Millisecond, 4 * time.Second, 17 * time.Second, time.Hour} {
			enqueued := time.Now()
			_, err := r.client.Enqueue(t.Context(), task{}, jobs.In(delay))
			require.NoError(t, err)
			late := (<-started).Sub(enqueued) - delay
			require.GreaterOrEqual(t, late, time.Duration(0))
			require.LessOrEqual(t, late, 2*time.Millisecond, "after %v", delay)
		}
	})
}

func TestAJobThatIsMadeDueEarlierDoesNotWaitForItsOldTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		started := make(chan time.Time, 1)
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { started <- time.Now(); return nil })
		r.enqueue(1, jobs.In(time.Hour))
		pause(time.Minute)
		_, err := r.client.RunNow(t.Context(), jobs.DefaultQueue, "0")
		require.NoError(t, err)
		require.Zero(t, time.Until(<-started))
	})
}

// asynq's fetch loop was serial: 716 jobs/s at 1 ms of network delay, at any
// concurrency.
func TestLessonOneLeaseAsksForAsManyJobsAsThereAreFreeExecutors(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newStore(t)
		inFlight := 0
		r.faulty.on(func(_ context.Context, call func() error) error {
			inFlight++ // one at a time, or the race detector tells
			require.Equal(t, 1, inFlight)
			defer func() { inFlight-- }()
			<-time.After(time.Millisecond)
			return call()
		}, "lease")
		r.enqueue(500)
		r.start(func(context.Context, *jobs.Job[task]) error { <-gate; return nil }, concurrency(100))
		pause(10 * time.Millisecond)
		require.EqualValues(t, 100, r.counts()[backend.StateRunning])
		require.LessOrEqual(t, r.faulty.count("lease"), 3)

		r.faulty.forget()
		close(gate)
		pause(20 * time.Millisecond)
		require.EqualValues(t, 500, r.counts()[backend.StateCompleted])
		require.LessOrEqual(t, r.faulty.count("lease"), 20)
		for _, request := range r.faulty.leases() {
			require.LessOrEqual(t, request.Max, 100+4*100, "what is leased ahead is bounded")
		}
	})
}

// slowLease makes each Lease take a millisecond.
func slowLease(_ context.Context, call func() error) error {
	<-time.After(time.Millisecond)
	return call()
}

// Whoever prefetches by a fixed number keeps jobs from workers that are free.
func TestLessonNoJobIsLeasedAheadOfExecutorsThatAreBusyForLong(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(slowLease, "lease")
		r.enqueue(100)
		r.start(func(context.Context, *jobs.Job[task]) error { <-time.After(time.Second); return nil }, concurrency(10))
		for range 9 {
			pause(500 * time.Millisecond)
			require.EqualValues(t, 10, r.counts()[backend.StateRunning])
			pause(500 * time.Millisecond)
		}
	})
}

func TestJobsAreLeasedAheadOfExecutorsThatAreBusyForAMoment(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(slowLease, "lease")
		r.enqueue(1000)
		start := time.Now()
		r.start(func(context.Context, *jobs.Job[task]) error { <-time.After(time.Millisecond); return nil }, concurrency(10))
		for r.counts()[backend.StateCompleted] < 1000 {
			pause(time.Millisecond)
		}
		require.Less(t, time.Since(start), 150*time.Millisecond, "with ten jobs per call and none ahead it would be 200")
	})
}

func TestWhatWasLeasedAheadIsHandedBackWhenJobsBecomeLong(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newStore(t)
		r.faulty.on(slowLease, "lease")
		r.enqueue(1000)
		r.start(func(_ context.Context, job *jobs.Job[task]) error {
			defer c.enter()()
			if job.Args.N < 500 {
				<-time.After(time.Millisecond)
			} else {
				<-time.After(time.Minute)
			}
			return nil
		}, concurrency(10))
		pause(time.Second)
		require.EqualValues(t, 10, r.counts()[backend.StateRunning])
		require.EqualValues(t, 490, r.counts()[backend.StateWaiting])
		require.Positive(t, r.worker.Status().Counts.Returned)
		require.Zero(t, r.worker.Status().Counts.HandedBack)
		pause(time.Minute)
		require.Equal(t, []string{"520", "521", "522"}, r.ids(backend.StateWaiting)[:3], "in their old order")
		require.Equal(t, 520, c.runs())
	})
}

// A hundred executors that ask for a hundred payloads of a megabyte in one call would
// wait for all of them before the first begins.
func TestACallAsksForNoMoreLargePayloadsThanAreTakenInAMoment(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		large := make([]jobs.Item, 15)
		for i := range large {
			large[i] = jobs.New(task{Padding: strings.Repeat("x", 1<<20)})
		}
		enqueue := func(items []jobs.Item) {
			_, err := r.client.EnqueueMany(t.Context(), items...)
			require.NoError(t, err)
			pause(time.Second)
		}
		r.start(noop, concurrency(10))
		enqueue(large[:1]) // now it is known how large they are
		r.faulty.forget()
		enqueue(large[1:])
		require.EqualValues(t, 15, r.counts()[backend.StateCompleted])
		requests := r.faulty.leases()
		require.GreaterOrEqual(t, len(requests), 5)
		for _, request := range requests {
			require.LessOrEqual(t, request.Max, 3, "4 MiB bring no fourth, as it is a bit larger than 1 MiB")
		}
	})
}

// asynq on go-redis popped a second job when a reply was lost, and stranded the
// first.
func TestLessonALeaseWhoseReplyWasLostIsRepeatedWithTheSameToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(first(3, lostReply), "lease")
		r.enqueue(7)
		var c crowd
		r.start(func(context.Context, *jobs.Job[task]) error { c.enter()(); return nil }, concurrency(4))
		pause(2 * time.Second)

		requests := r.faulty.leases()
		require.Equal(t, requests[0].Token, requests[1].Token)
		require.Equal(t, requests[0].Token, requests[2].Token)
		require.Equal(t, requests[0].Token, requests[3].Token)
		require.NotEqual(t, requests[0].Token, requests[4].Token)
		require.Equal(t, 7, c.runs())
		require.Zero(t, r.counts()[backend.StateRunning], "nothing is stranded")
		for n := range 7 {
			require.Zero(t, r.job(fmt.Sprint(n)).Crashes)
		}
	})
}

func TestQuietHandsBackLeasesThatArriveWhileItLasts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		var c crowd
		r := newStore(t)
		r.faulty.on(func(ctx context.Context, call func() error) error {
			err := call()
			<-gate
			return err
		}, "lease")
		r.enqueue(3)
		r.start(func(context.Context, *jobs.Job[task]) error { c.enter()(); return nil }, concurrency(3))
		synctest.Wait()
		require.Positive(t, r.counts()[backend.StateRunning], "the store has handed them out")

		r.worker.Quiet()
		synctest.Wait()
		close(gate)
		synctest.Wait()

		require.Equal(t, []string{"0", "1", "2"}, r.ids(backend.StateWaiting))
		require.Zero(t, c.runs())
		require.Positive(t, r.worker.Status().Counts.HandedBack)

		r.worker.Resume()
		synctest.Wait()
		require.Equal(t, 3, c.runs())
	})
}

func TestQuietIsReversibleAndLetsRunningJobsGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newRig(t, func(context.Context, *jobs.Job[task]) error {
			defer c.enter()()
			<-time.After(10 * time.Second)
			return nil
		}, concurrency(2))
		r.enqueue(4)
		synctest.Wait()
		r.worker.Quiet()
		pause(time.Minute)
		require.Equal(t, actors.StateQuiet, r.worker.Status().State)
		require.EqualValues(t, 2, r.counts()[backend.StateCompleted])
		require.EqualValues(t, 2, r.counts()[backend.StateWaiting])
		calls := r.idleFor(time.Minute)
		require.Zero(t, calls["lease"]+calls["wait"])

		r.worker.Resume()
		pause(11 * time.Second)
		require.EqualValues(t, 4, r.counts()[backend.StateCompleted])
		require.Equal(t, []actors.State{actors.StateRunning, actors.StateQuiet, actors.StateRunning}, r.states.all())
	})
}

func TestAQuietWorkerStopsAndDoesNotResume(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		synctest.Wait()
		r.worker.Quiet()
		r.worker.Stop(actors.Stop{})
		r.worker.Resume()
		report := r.report()
		require.Equal(t, actors.StateStopped, report.State)
		require.Equal(t, []actors.State{actors.StateRunning, actors.StateQuiet, actors.StateDraining, actors.StateStopped}, r.states.all())
	})
}

func TestQueuesAreAskedInTheirOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var order []string
		r := newStore(t)
		for n := range 3 {
			_, err := r.client.Enqueue(t.Context(), task{N: n}, jobs.Queue("low"))
			require.NoError(t, err)
			_, err = r.client.Enqueue(t.Context(), task{N: n}, jobs.Queue("high"))
			require.NoError(t, err)
		}
		r.start(func(_ context.Context, job *jobs.Job[task]) error { order = append(order, job.Queue); return nil },
			concurrency(1), func(c *actors.Config) { c.Queues = []string{"high", "low"} })
		synctest.Wait()
		require.Equal(t, []string{"high", "high", "high", "low", "low", "low"}, order)
	})
}
