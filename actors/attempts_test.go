package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// A timeout of 500 ms became 30 minutes in asynq.
func TestLessonATimeoutIsAsLongAsItSays(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		took := make(chan time.Duration, 1)
		r := newStore(t)
		r.enqueue(1, jobs.Timeout(500*time.Millisecond))
		r.start(func(ctx context.Context, _ *jobs.Job[task]) error {
			began := time.Now()
			<-ctx.Done()
			took <- time.Since(began)
			return context.Cause(ctx)
		})
		require.Equal(t, 500*time.Millisecond, <-took)
		synctest.Wait()
		job := r.job("0")
		require.Equal(t, backend.StateScheduled, job.State)
		require.Equal(t, 1, job.Attempts)
		require.Contains(t, job.Failures[0].Error, "timeout of 500ms")
	})
}

// "Do not retry" retried in Mosquito.
func TestLessonAJobThatIsNotToBeRetriedIsNot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var all crowd
		r := newRig(t, func(_ context.Context, job *jobs.Job[task]) error {
			all.enter()()
			switch job.Args.N {
			case 0:
				return jobs.Discard(errors.New("of no use"))
			case 1:
				return jobs.Cancel(errors.New("not wanted"))
			case 2:
				panic("at the disco")
			}
			return errors.New("fails")
		})
		r.enqueue(4, jobs.MaxAttempts(1))
		pause(2 * time.Hour)
		require.Equal(t, 4, all.runs())
		require.EqualValues(t, 3, r.counts()[backend.StateDead])
	})
}

// A before-hook's error was retried without delay, 2,109 attempts in 6 s.
func TestLessonAMiddlewareThatFailsCountsAndBacksOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var all crowd
		r := newStore(t)
		r.enqueue(1, jobs.MaxAttempts(5))
		r.start(noop, func(c *actors.Config) {
			c.Registry = jobs.NewRegistry(jobs.WithRunMiddleware(func(jobs.RunFunc) jobs.RunFunc {
				return func(context.Context, *jobs.Info) error {
					all.enter()()
					return errors.New("the hook fails")
				}
			}))
			jobs.Handle(c.Registry, noop)
		})
		pause(6 * time.Second)
		require.LessOrEqual(t, all.runs(), 4)
		pause(time.Hour)
		require.Equal(t, 5, all.runs())
		require.Equal(t, backend.StateDead, r.job("0").State)
	})
}

func TestAJobThatKeepsKillingItsWorkersIsSetAside(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.enqueue(1)
		for n := range jobs.DefaultMaxCrashes {
			_, err := r.store.Lease(t.Context(), backend.LeaseRequest{
				Worker: "killed", Token: fmt.Sprintf("killed.%d", n), Queues: []string{jobs.DefaultQueue},
				Max: 1, Duration: time.Second,
			})
			require.NoError(t, err)
			pause(2 * time.Second)
		}
		var all crowd
		r.start(func(context.Context, *jobs.Job[task]) error { all.enter()(); return nil }, lease(time.Second))
		pause(5 * time.Second)
		require.Zero(t, all.runs())
		require.Equal(t, backend.StateDead, r.job("0").State)
		require.Contains(t, r.job("0").Failures[0].Error, jobs.ErrCrashed.Error())
	})
}

// A stop that raced with a change of state hung for ever in 2 of 24 runs of
// Mosquito.
func TestLessonAStopThatRacesWithAChangeOfStateEnds(t *testing.T) {
	t.Parallel()
	for range 50 {
		r := newRig(t, noop, concurrency(3))
		r.enqueue(20)
		var all sync.WaitGroup
		for _, order := range []func(){
			r.worker.Quiet, r.worker.Resume, r.worker.Resume, r.worker.Quiet,
			func() { _ = r.worker.Resize(1) }, func() { _ = r.worker.Resize(9) },
			func() { r.worker.Stop(actors.Stop{}) }, func() { r.worker.Stop(actors.Stop{Urgency: actors.Cancel}) },
			func() { r.system.Root.Poison(r.worker.PID()) },
		} {
			all.Go(order)
		}
		report := r.report()
		all.Wait()
		require.Equal(t, actors.StateStopped, report.State)
		require.Zero(t, r.counts()[backend.StateRunning])
	}
}
