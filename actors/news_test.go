package actors_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func TestPanicsAndDeathsAreInTheLogWithWhatItTakesToFindThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log journal
		r := newStore(t)
		_, err := r.store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{
			ID: "poison", Queue: jobs.DefaultQueue, Kind: "task", Payload: []byte("{secret"),
		}}})
		require.NoError(t, err)
		_, err = r.client.Enqueue(t.Context(), task{N: 1, Padding: "secret"}, jobs.ID("panics"))
		require.NoError(t, err)
		r.start(func(_ context.Context, job *jobs.Job[task]) error { panic(job.Args) }, log.config)
		pause(500 * time.Millisecond)

		line := strings.Join(log.about("a job panicked"), "")
		for _, part := range []string{"level=ERROR", "kind=task", "id=panics", "queue=default", "attempt=1", "outcome=retry", "news_test.go:"} {
			require.Contains(t, line, part)
		}
		line = strings.Join(log.about("a job is dead"), "")
		for _, part := range []string{"level=WARN", "kind=task", "id=poison", "queue=default", "attempt=1", "outcome=dead", "cannot decode"} {
			require.Contains(t, line, part)
		}
		require.Empty(t, log.about("secret"))
	})
}

func TestAThousandDeathsAreFewLines(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log journal
		r := newStore(t)
		r.enqueue(1500)
		r.start(func(context.Context, *jobs.Job[task]) error {
			<-time.After(10 * time.Millisecond)
			return jobs.Discard(nil)
		}, log.config)
		pause(2 * time.Second)
		require.EqualValues(t, 1500, r.counts()[backend.StateDead])
		require.Len(t, log.about("a job is dead"), 2)
		require.Contains(t, log.about("a job is dead")[1], "missed=")
	})
}

// heard is a hook that notes what it is told first of each job.
type heard struct {
	mu   sync.Mutex
	list map[string]jobs.Settled
}

func (h *heard) config(c *actors.Config) {
	h.list = map[string]jobs.Settled{}
	c.OnSettled = func(s jobs.Settled) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.list[s.ID].ID == "" {
			h.list[s.ID] = s
		}
	}
}

func (h *heard) of(id string) jobs.Settled {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.list[id]
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

		for id, outcome := range map[string]backend.Outcome{
			"0": backend.OutcomeCompleted, "1": backend.OutcomeRetry, "2": backend.OutcomeSnoozed, "3": backend.OutcomeCancelled,
			"4": backend.OutcomeDead, "5": backend.OutcomeRetry, "6": backend.OutcomeReleased, "7": backend.OutcomeCancelled,
		} {
			require.Equal(t, outcome, hook.of(id).Outcome, "job %s", id)
			require.Equal(t, "task", hook.of(id).Kind)
			require.Equal(t, jobs.DefaultQueue, hook.of(id).Queue)
			require.Equal(t, 1, hook.of(id).Attempt)
			require.Equal(t, jobs.DefaultMaxAttempts, hook.of(id).MaxAttempts)
		}
		require.Equal(t, 3*time.Second, hook.of("0").Took)
		require.NoError(t, hook.of("0").Err)
		require.EqualError(t, hook.of("1").Err, "fails")
		require.ErrorIs(t, hook.of("6").Err, jobs.ErrStopping)
		var fault *jobs.Panic
		require.ErrorAs(t, hook.of("5").Err, &fault)
		require.Equal(t, "at the disco", fault.Value)
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
		require.Empty(t, hook.of("0").ID)
		r.faulty.on(nil, "settle")
		pause(time.Second)
		require.Equal(t, "0", hook.of("0").ID)
	})
}

func TestAHookThatPanicsIsToldOfTheOtherJobsAllTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var told atomic.Int64
		r := newRig(t, noop, func(c *actors.Config) {
			c.OnSettled = func(jobs.Settled) {
				if told.Add(1)%2 == 1 {
					panic("in the hook")
				}
			}
		})
		r.enqueue(500)
		pause(500 * time.Millisecond)
		r.stop(actors.Stop{})
		require.EqualValues(t, 500, told.Load())
	})
}

func TestAHookThatPanicsOrIsSlowHoldsUpNoJob(t *testing.T) {
	for name, hook := range map[string]func(jobs.Settled){
		"panics": func(jobs.Settled) { panic("in the hook") },
		"slow":   func(jobs.Settled) { <-time.After(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var log journal
				r := newRig(t, noop, log.config, func(c *actors.Config) { c.OnSettled = hook })
				r.enqueue(2000)
				pause(500 * time.Millisecond)
				require.EqualValues(t, 2000, r.counts()[backend.StateCompleted])
				r.stop(actors.Stop{})
			})
		})
	}
}
