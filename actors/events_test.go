package actors_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// heard is a hook that notes what it is told.
type heard struct {
	mu   sync.Mutex
	list []jobs.Event
}

func (h *heard) config(c *actors.Config) {
	c.OnEvent = func(e jobs.Event) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.list = append(h.list, e)
	}
}

func (h *heard) all() []jobs.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

// of lists the types of the events about a job; of those about none if id is empty.
func (h *heard) of(id string) (types []jobs.EventType) {
	for _, e := range h.all() {
		if e.Job == nil && id == "" || e.Job != nil && e.Job.ID == id {
			types = append(types, e.Type)
		}
	}
	return types
}

// end is the first event about a job after its start.
func (h *heard) end(id string) (event jobs.Event) {
	all := h.all()
	started := slices.IndexFunc(all, func(e jobs.Event) bool { return e.Type == jobs.EventStarted && e.Job.ID == id })
	for _, e := range all[started+1:] {
		if e.Job != nil && e.Job.ID == id {
			return e
		}
	}
	return event
}

func TestTheHookTellsARetryFromADeathAndAHandBackFromAFailure(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var hook heard
		outcomes := []error{
			nil, errors.New("fails"), jobs.Snooze(time.Hour), jobs.Cancel(nil), jobs.Discard(errors.New("no use")),
		}
		last := len(outcomes)
		r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
			switch {
			case job.Args.N == last:
				panic("at the disco")
			case job.Args.N > last:
				return polite(ctx, job)
			}
			<-time.After(3 * time.Second)
			return outcomes[job.Args.N]
		}, hook.config)
		r.enqueue(last + 3)
		pause(5 * time.Second)
		_, err := r.client.Cancel(t.Context(), jobs.DefaultQueue, "7")
		require.NoError(t, err)
		synctest.Wait()
		r.stop(actors.Stop{Urgency: actors.Cancel})

		for id, want := range map[string]jobs.EventType{
			"0": jobs.EventCompleted, "1": jobs.EventRetried, "2": jobs.EventSnoozed, "3": jobs.EventCancelled,
			"4": jobs.EventDied, "5": jobs.EventRetried, "6": jobs.EventHandedBack, "7": jobs.EventCancelled,
		} {
			e := hook.end(id)
			require.Equal(t, want, e.Type, "job %s", id)
			require.Equal(t, "task", e.Job.Kind)
			require.Equal(t, jobs.DefaultQueue, e.Job.Queue)
			require.Equal(t, 1, e.Job.Attempt)
			require.Equal(t, jobs.DefaultMaxAttempts, e.Job.MaxAttempts)
			require.Equal(t, 1, e.Jobs)
			require.Equal(t, r.worker.ID(), e.Worker)
			require.False(t, e.At.IsZero())
		}
		require.Equal(t, 3*time.Second, hook.end("0").Took)
		require.NoError(t, hook.end("0").Err)
		require.EqualError(t, hook.end("1").Err, "fails")
		require.ErrorIs(t, hook.end("6").Err, jobs.ErrStopping)
		var fault *jobs.Panic
		require.ErrorAs(t, hook.end("5").Err, &fault)
		require.Equal(t, "at the disco", fault.Value)
	})
}

func TestTheHookIsToldOfTheWorkerToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var hook heard
		r := newRig(t, noop, hook.config)
		synctest.Wait()
		r.worker.Quiet()
		synctest.Wait()
		r.worker.Resume()
		synctest.Wait()
		r.stop(actors.Stop{})
		require.Equal(t, []jobs.EventType{
			jobs.EventWorkerStarted, jobs.EventWorkerQuiet, jobs.EventWorkerResumed, jobs.EventWorkerStopped,
		}, hook.of(""))
		all := hook.all()
		require.NoError(t, all[len(all)-1].Err)
		require.Equal(t, r.worker.ID(), all[0].Worker)
	})
}

func TestTheHookIsToldWhatHandlersAndSchedulesEnqueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var hook heard
		r := newStore(t)
		registry := jobs.NewRegistry()
		jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[task]) error {
			client, _ := jobs.ClientFrom(ctx)
			_, err := client.Enqueue(ctx, other{}, jobs.ID("later"), jobs.In(time.Hour))
			return err
		})
		jobs.Handle(registry, func(context.Context, *jobs.Job[other]) error { return nil })
		jobs.Schedule(registry, "hourly", jobs.Every(time.Hour), other{})
		r.start(noop, hook.config, func(c *actors.Config) { c.Registry = registry })
		r.enqueue(1)
		pause(30 * time.Minute)
		require.Equal(t, []jobs.EventType{jobs.EventStarted, jobs.EventCompleted}, hook.of("0"), "its client has no hook")
		require.Equal(t, []jobs.EventType{jobs.EventScheduled}, hook.of("later"))
		pause(45 * time.Minute)
		require.Equal(t, []jobs.EventType{jobs.EventScheduled, jobs.EventStarted, jobs.EventCompleted}, hook.of("later"))
		ticked := 0
		for _, e := range hook.all() {
			if _, _, of := backend.ParseTickID(jobID(e)); of && e.Type == jobs.EventEnqueued {
				ticked++
				require.ElementsMatch(t, []jobs.EventType{jobs.EventEnqueued, jobs.EventStarted, jobs.EventCompleted}, hook.of(e.Job.ID),
					"the start may be told before the reply to the enqueue is here")
			}
		}
		require.Equal(t, 1, ticked)
	})
}

func jobID(e jobs.Event) string {
	if e.Job == nil {
		return ""
	}
	return e.Job.ID
}

func TestTheHookIsToldOfUnknownKindsAndOfJobsOfWorkersThatVanished(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var hook heard
		r := newStore(t)
		_, err := r.store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "new", Queue: jobs.DefaultQueue, Kind: "unknown", Payload: []byte("{}")}}})
		require.NoError(t, err)
		r.enqueue(1)
		_, err = r.store.Lease(t.Context(), backend.LeaseRequest{
			Worker: "gone", Token: "gone.1", Queues: []string{jobs.DefaultQueue}, Max: 10, Duration: 15 * time.Second,
		})
		require.NoError(t, err)
		r.start(noop, hook.config)
		pause(time.Minute)
		require.Equal(t, []jobs.EventType{jobs.EventParked}, hook.of("new"))
		require.Equal(t, []jobs.EventType{jobs.EventStarted, jobs.EventCompleted}, hook.of("0"))
		recovered := 0
		for _, e := range hook.all() {
			if e.Type == jobs.EventRecovered {
				recovered += e.Jobs
			}
		}
		require.Equal(t, 2, recovered)
	})
}

func TestTheHookIsToldOnlyWhatTheStoreHasConfirmed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var hook heard
		r := newStore(t)
		r.faulty.on(down, "settle")
		r.enqueue(1)
		r.start(noop, hook.config)
		pause(5 * time.Second)
		require.Equal(t, []jobs.EventType{jobs.EventStarted}, hook.of("0"))
		r.faulty.on(nil, "settle")
		pause(time.Second)
		require.Equal(t, []jobs.EventType{jobs.EventStarted, jobs.EventCompleted}, hook.of("0"))
	})
}

// Mosquito ran a job again that had succeeded, because of an error in a hook after it.
func TestLessonAHookThatPanicsOrIsSlowRunsNoJobAgainAndHoldsUpNone(t *testing.T) {
	for name, c := range map[string]struct {
		hook    func(jobs.Event)
		many    int
		dropped bool
	}{
		"panics":              {func(jobs.Event) { panic("in the hook") }, 300, false},
		"is slow":             {func(jobs.Event) { <-time.After(100 * time.Millisecond) }, jobs.MaxEvents, true},
		"ends its goroutines": {func(jobs.Event) { runtime.Goexit() }, 300, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var log journal
				var runs crowd
				r := newRig(t, func(context.Context, *jobs.Job[task]) error { runs.enter()(); return nil },
					log.config, func(config *actors.Config) { config.OnEvent = c.hook })
				r.enqueue(c.many)
				pause(500 * time.Millisecond)
				require.EqualValues(t, c.many, r.counts()[backend.StateCompleted])
				require.Equal(t, c.many, runs.runs())
				report := r.stop(actors.Stop{})
				require.Equal(t, c.many, report.Completed)
				require.Equal(t, c.dropped, report.EventsDropped > 0)
				if c.dropped {
					require.NotEmpty(t, log.about("the hook OnEvent is too slow"))
				}
			})
		})
	}
}
