package actors_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// done completes any job.
func done(context.Context, *jobs.Job[task]) error { return nil }

// declaring makes the worker's registry declare a schedule.
func declaring(name string, timing jobs.Timing, options ...jobs.ScheduleOption) func(*actors.Config) {
	return func(config *actors.Config) { jobs.Schedule(config.Registry, name, timing, task{}, options...) }
}

// ticks are the instants of the jobs of a schedule that completed.
func (r *rig) ticks(schedule string) (instants []time.Time) {
	r.t.Helper()
	for _, id := range r.ids(backend.StateCompleted) {
		if name, at, ok := backend.ParseTickID(id); ok && name == schedule {
			instants = append(instants, at)
		}
	}
	return instants
}

func TestADeclaredScheduleRunsAtItsInstants(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var began []time.Time
		start := time.Now().UTC()
		r := newRig(t, func(_ context.Context, job *jobs.Job[task]) error {
			name, at, ok := job.Schedule()
			require.True(t, ok)
			require.Equal(t, "nightly", name)
			require.WithinDuration(t, at, time.Now(), time.Millisecond)
			began = append(began, at)
			return nil
		}, declaring("nightly", jobs.Cron("0 2 * * *", "Europe/Berlin")))
		pause(3 * 24 * time.Hour)
		r.stop(actors.Stop{})
		require.Equal(t, []time.Time{start.Add(time.Hour), start.Add(25 * time.Hour), start.Add(49 * time.Hour)}, began)
		s, err := r.client.Schedule(t.Context(), jobs.DefaultQueue, "nightly")
		require.NoError(t, err)
		require.Equal(t, start.Add(73*time.Hour), s.Next)
		require.True(t, s.Declared)
	})
}

func TestAWorkerWithoutSchedulesMakesNoCallForThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, done)
		pause(time.Hour)
		r.stop(actors.Stop{})
		for _, verb := range []string{"put schedule", "schedules", "tick"} {
			require.Empty(t, r.faulty.times(verb), verb)
		}
	})
}

func TestASleepingScheduleCostsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, done, declaring("nightly", jobs.Every(24*time.Hour)))
		pause(time.Minute)
		before := len(r.faulty.times("schedules")) + len(r.faulty.times("tick"))
		pause(12 * time.Hour)
		require.Len(t, r.faulty.times("tick"), 0)
		require.Equal(t, before, len(r.faulty.times("schedules")), "nothing is read while nothing changes")
		pause(12 * time.Hour)
		require.Len(t, r.faulty.times("tick"), 1)
	})
}

func TestAScheduleThatIsPutAtRunTimeIsTickedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, done)
		pause(time.Hour + 100*time.Millisecond)
		_, err := r.client.PutSchedule(t.Context(), "often", jobs.Every(time.Second), task{})
		require.NoError(t, err)
		pause(10 * time.Second)
		require.Len(t, r.ticks("often"), 10)
		_, err = r.client.PauseSchedule(t.Context(), jobs.DefaultQueue, "often")
		require.NoError(t, err)
		pause(time.Minute)
		require.Len(t, r.ticks("often"), 10, "it is paused")
		_, err = r.client.ResumeSchedule(t.Context(), jobs.DefaultQueue, "often")
		require.NoError(t, err)
		pause(10 * time.Second)
		require.Len(t, r.ticks("often"), 20, "what came meanwhile is not made up for")
		require.NoError(t, r.client.DeleteSchedule(t.Context(), jobs.DefaultQueue, "often"))
		pause(time.Minute)
		require.Len(t, r.ticks("often"), 20)
	})
}

func TestAChangeWhoseHintIsLostIsFoundByTheSweep(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(hangs, "listen")
		r.start(done)
		pause(time.Hour)
		_, err := r.client.PutSchedule(t.Context(), "often", jobs.Every(time.Second), task{})
		require.NoError(t, err)
		pause(actors.DefaultLease/3 + 10*time.Second)
		require.GreaterOrEqual(t, len(r.ticks("often")), 9)
	})
}

func TestAQuietWorkerDoesNotTickAndAResumedOneCatchesUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, done, declaring("often", jobs.Every(time.Minute)))
		pause(10*time.Minute + time.Second)
		require.Len(t, r.ticks("often"), 10)
		r.worker.Quiet()
		pause(10 * time.Minute)
		require.Len(t, r.ticks("often"), 10)
		r.worker.Resume()
		pause(time.Second)
		require.Len(t, r.ticks("often"), 11, "one for all that were missed")
	})
}

func TestAScheduleThatNobodyDeclaresAnyMoreIsNotTicked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, done, declaring("often", jobs.Every(time.Minute)))
		pause(10*time.Minute + time.Second)
		r.stop(actors.Stop{})
		r.start(done)
		pause(30 * time.Minute)
		require.Len(t, r.ticks("often"), 10)
		s, err := r.client.Schedule(t.Context(), jobs.DefaultQueue, "often")
		require.NoError(t, err)
		require.True(t, s.Next.Before(time.Now()), "it stays listed")
		require.Len(t, r.faulty.times("tick"), 10)
	})
}

func TestARollingDeployWithAChangedExpressionNeitherDoublesNorDrops(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, done, declaring("report", jobs.Cron("0,15 * * * *", "UTC")))
		start := time.Now().UTC()
		pause(15*time.Minute - time.Second)
		old := r.worker
		old.Stop(actors.Stop{}) // a second before it is due
		awaitDone(t, old)
		pause(3 * time.Second)
		r.start(done, declaring("report", jobs.Cron("5,20,35 * * * *", "UTC")))
		pause(30 * time.Minute)
		require.Equal(t, []time.Time{start.Add(15 * time.Minute), start.Add(20 * time.Minute), start.Add(35 * time.Minute)},
			r.ticks("report"), "what was due is done, then the new expression counts")
	})
}

func TestAWaitingOverlapGoesOnAsSoonAsTheLastJobHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []time.Duration
		start := time.Now().UTC()
		r := newRig(t, func(context.Context, *jobs.Job[task]) error {
			mu.Lock()
			began = append(began, time.Since(start))
			mu.Unlock()
			pause(90 * time.Second)
			return nil
		}, declaring("slow", jobs.Every(time.Minute), jobs.Overlap(backend.OverlapWait), jobs.CatchUpAll(time.Hour)))
		pause(5*time.Minute + 31*time.Second)
		r.stop(actors.Stop{Grace: time.Hour})
		require.Equal(t, []time.Duration{60 * time.Second, 150 * time.Second, 240 * time.Second, 330 * time.Second}, began[:4],
			"one after the other, with no pause between them")
		require.Equal(t, []time.Time{start.Add(time.Minute), start.Add(2 * time.Minute), start.Add(3 * time.Minute)}, r.ticks("slow")[:3],
			"each for its own instant")
	})
}

func TestACancellingOverlapEndsTheJobThatRuns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		causes := make(chan error, 100)
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			select {
			case <-ctx.Done():
				causes <- context.Cause(ctx)
				return ctx.Err()
			case <-time.After(90 * time.Second):
				return nil
			}
		}, declaring("slow", jobs.Every(time.Minute), jobs.Overlap(backend.OverlapCancel)))
		pause(3*time.Minute + time.Second)
		r.stop(actors.Stop{Urgency: actors.Cancel})
		require.ErrorIs(t, <-causes, jobs.ErrCancelled)
		require.ErrorIs(t, <-causes, jobs.ErrCancelled)
		require.ErrorIs(t, <-causes, jobs.ErrStopping)
		require.Len(t, r.ids(backend.StateCancelled), 2)
	})
}

func TestAStoreThatIsAwayDropsNoTick(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, fault := range []rule{down, lostReply, hangs} {
			r := newStore(t)
			r.faulty.on(first(3, fault), "put schedule")
			r.faulty.on(first(3, fault), "schedules")
			r.faulty.on(first(3, fault), "tick")
			start := time.Now().UTC().Truncate(time.Minute)
			r.start(done, declaring("often", jobs.Every(time.Minute), jobs.CatchUpAll(time.Hour)))
			pause(time.Until(start.Add(10*time.Minute + 30*time.Second)))
			r.stop(actors.Stop{})
			found := r.ticks("often")
			require.GreaterOrEqual(t, len(found), 9)
			for i, at := range found {
				require.Equal(t, start.Add(time.Duration(i+11-len(found))*time.Minute), at)
			}
		}
	})
}

func TestAStopDuringATickEndsAtOnceAndLosesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(hangs, "tick")
		r.start(done, declaring("often", jobs.Every(time.Minute)))
		pause(time.Minute + time.Second)
		require.NotEmpty(t, r.faulty.times("tick"))
		began := time.Now()
		r.stop(actors.Stop{})
		require.Less(t, time.Since(began), time.Second)
		r.faulty.on(nil, "tick")
		r.start(done, declaring("often", jobs.Every(time.Minute)))
		pause(time.Second)
		require.Len(t, r.ticks("often"), 1)
	})
}

func TestAScheduleThatIsWrongKeepsNoOtherFromBeingTicked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		for i, spec := range []string{``, `{`, `{"cron":"* * * * *","zone":"Mars/Olympus"}`, `{"every":60000000000,"overlap":"sometimes"}`,
			`{"every":60000000000,"job":{"kind":"not a kind"}}`} {
			_, err := r.store.PutSchedule(t.Context(), backend.Schedule{
				Queue: jobs.DefaultQueue, Name: fmt.Sprint("wrong", i), Spec: []byte(spec), Next: time.Now().Add(time.Second),
			})
			require.NoError(t, err)
		}
		r.start(done, declaring("often", jobs.Every(time.Minute)), declaring("impossible", jobs.Every(time.Minute), jobs.Queue("other")))
		pause(10*time.Minute + time.Second)
		require.Len(t, r.ticks("often"), 10)
		require.Len(t, r.faulty.times("tick"), 10)
		_, err := r.client.Schedule(t.Context(), jobs.DefaultQueue, "wrong1")
		require.NoError(t, err, "it is listed, with what is wrong")
	})
}

func TestAWorkerThatStopsMakesNoCallForItsSchedulesAnyMore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *jobs.Job[task]) error {
			pause(10 * time.Minute)
			return nil
		}, declaring("often", jobs.Every(time.Minute), jobs.Overlap(backend.OverlapAllow)))
		pause(time.Minute + 30*time.Second)
		r.worker.Stop(actors.Stop{Grace: time.Hour})
		pause(time.Second)
		calls := func() int {
			return len(r.faulty.times("put schedule")) + len(r.faulty.times("schedules")) + len(r.faulty.times("tick"))
		}
		before := calls()
		_, err := r.client.PutSchedule(t.Context(), "another", jobs.Every(time.Second), task{})
		require.NoError(t, err)
		r.report()
		require.Equal(t, before, calls(), "while the job of a schedule ends, and after it")
	})
}
