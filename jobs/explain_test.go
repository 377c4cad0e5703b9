package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

// scene is a queue with a client, in a bubble.
type scene struct {
	*testing.T
	store  *memory.Backend
	client *Client
}

func inScene(t *testing.T, f func(s *scene)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := memory.New(memory.Config{})
		require.NoError(t, err)
		f(&scene{t, store, newClient(t, store, nil)})
		require.NoError(t, store.Close())
	})
}

func (s *scene) enqueue(options ...EnqueueOption) {
	s.Helper()
	_, err := s.client.Enqueue(s.Context(), welcome{}, append([]EnqueueOption{ID("a")}, options...)...)
	require.NoError(s, err)
}

func (s *scene) worker(id string, change ...func(*backend.WorkerInfo)) {
	s.Helper()
	info := backend.WorkerInfo{
		ID: id, Queues: []string{DefaultQueue}, Kinds: []string{"welcome"}, Concurrency: 2, State: "running",
	}
	for _, f := range change {
		f(&info)
	}
	_, err := s.store.Announce(s.Context(), info, time.Hour)
	require.NoError(s, err)
}

func (s *scene) lease(worker string) backend.Lease {
	s.Helper()
	reply, err := s.store.Lease(s.Context(), backend.LeaseRequest{
		Worker: worker, Token: worker + "." + strconv.FormatInt(time.Now().UnixNano(), 36), Queues: []string{DefaultQueue}, Max: 1, Duration: time.Minute,
	})
	require.NoError(s, err)
	require.Len(s, reply.Leases, 1)
	return reply.Leases[0]
}

func (s *scene) settle(lease backend.Lease, change func(*backend.Settlement)) {
	s.Helper()
	settlement := backend.Settlement{Queue: lease.Job.Queue, ID: lease.Job.ID, Token: lease.Token}
	change(&settlement)
	_, err := s.store.Settle(s.Context(), backend.SettleRequest{Worker: "w", Call: uint64(time.Now().UnixNano()), Settlements: []backend.Settlement{settlement}})
	require.NoError(s, err)
}

// explain explains job "a", whose causes are to be these, the first one first.
func (s *scene) explain(causes ...Cause) Reason {
	s.Helper()
	e, err := s.client.Explain(s.Context(), DefaultQueue, "a")
	require.NoError(s, err)
	var have []Cause
	for _, r := range e.Reasons {
		have = append(have, r.Cause)
		require.NotEmpty(s, r.Text)
		require.Contains(s, e.String(), r.Text)
	}
	require.Equal(s, causes, have, e.String())
	require.Equal(s, causes[0], e.Cause())
	require.True(s, e.Is(causes[0]))
	require.Equal(s, time.Now().UnixMilli(), e.At.UnixMilli())
	text, err := json.Marshal(e)
	require.NoError(s, err)
	var again Explanation
	require.NoError(s, json.Unmarshal(text, &again))
	require.Equal(s, e.Reasons[0].Cause, again.Cause())
	return e.Reasons[0]
}

func TestExplainTellsADelayAndWhatFailedBefore(t *testing.T) {
	inScene(t, func(s *scene) {
		s.worker("w")
		s.enqueue(In(time.Minute))
		r := s.explain(CauseDelayed)
		require.WithinDuration(t, time.Now().Add(time.Minute), r.Until, time.Millisecond)
		require.Equal(t, "it is due in 1m0s", r.Text)
		time.Sleep(1234 * time.Millisecond)
		require.Equal(t, "it is due in 59s", s.explain(CauseDelayed).Text)

		time.Sleep(time.Minute)
		s.settle(s.lease("w"), func(m *backend.Settlement) {
			m.Outcome, m.Delay = backend.OutcomeRetry, time.Hour
			m.History = &backend.History{Attempts: 1, Failures: []backend.Failure{{Error: "no mail server"}}}
		})
		require.Equal(t, "it is due in 1h0m0s, for attempt 2; the last one failed with: no mail server", s.explain(CauseDelayed).Text)
	})
}

func TestExplainTellsAPauseAndUntilWhen(t *testing.T) {
	inScene(t, func(s *scene) {
		s.worker("w")
		s.enqueue()
		require.NoError(t, s.client.PauseQueue(t.Context(), DefaultQueue))
		r := s.explain(CausePaused)
		require.Zero(t, r.Until)
		require.Equal(t, "the queue default is paused until somebody resumes it", r.Text)
		require.NoError(t, s.client.PauseQueue(t.Context(), DefaultQueue, For(time.Minute)))
		r = s.explain(CausePaused)
		require.WithinDuration(t, time.Now().Add(time.Minute), r.Until, time.Millisecond)
		time.Sleep(time.Minute)
		s.explain(CauseSoon)
	})
}

func TestExplainTellsThatNobodyKnowsTheKind(t *testing.T) {
	inScene(t, func(s *scene) {
		s.enqueue()
		s.worker("w", func(w *backend.WorkerInfo) { w.Kinds = []string{"other"} })
		r := s.explain(CauseNoHandler)
		require.Equal(t, []string{"w"}, r.Workers)
		s.settle(s.lease("w"), func(m *backend.Settlement) { m.Outcome, m.Key = backend.OutcomeBlocked, BlockKey("welcome") })
		r = s.explain(CauseUnknownKind)
		require.Contains(t, r.Text, `knows the kind "welcome", and there is none`)
		s.worker("new")
		r = s.explain(CauseUnknownKind)
		require.Equal(t, []string{"new"}, r.Workers)
		require.Contains(t, r.Text, "1 worker knows it, and will ask for it")
	})
}

func TestExplainTellsWhatAParkedJobWaitsFor(t *testing.T) {
	inScene(t, func(s *scene) {
		s.worker("w")
		s.enqueue()
		s.settle(s.lease("w"), func(m *backend.Settlement) { m.Outcome, m.Key = backend.OutcomeBlocked, "tenant/acme" })
		require.Equal(t, "tenant/acme", s.explain(CauseParked).Key)
	})
}

func TestExplainTellsWhoHoldsTheLimitAtWhichAJobIsParkedAndItsPlace(t *testing.T) {
	inScene(t, func(s *scene) {
		s.worker("w")
		limit := Limit("tenant", Slots(1), LimitBy(func(welcome) string { return "acme" }))
		s.enqueue(limit, ID("first"))
		lease := s.lease("w")
		s.enqueue(limit)
		_, err := s.store.Lease(s.Context(), backend.LeaseRequest{Worker: "w", Token: "w.2", Queues: []string{DefaultQueue}, Max: 1, Duration: time.Minute})
		require.NoError(t, err)
		r := s.explain(CauseParked)
		require.Equal(t, `it is parked at the limit "tenant" for "acme", number 1 of 1; 1 of 1 slot is taken by first`, r.Text)
		require.Equal(t, []string{"first"}, r.Limit.Holders)

		require.NoError(t, s.client.SetLimit(s.Context(), DefaultQueue, "tenant", Rate(1, time.Hour)))
		s.settle(lease, func(m *backend.Settlement) { m.Outcome, m.Delay = backend.OutcomeRetry, time.Hour })
		s.lease("w")
		s.enqueue(limit, ID("b"))
		_, err = s.store.Lease(s.Context(), backend.LeaseRequest{Worker: "w", Token: "w.3", Queues: []string{DefaultQueue}, Max: 1, Duration: time.Minute})
		require.NoError(t, err)
		why, err := s.client.Explain(s.Context(), DefaultQueue, "b")
		require.NoError(t, err)
		require.Contains(t, why.Reasons[0].Text, "of 1 per 1h0m0s the next one may start in 1h0m0s")
	})
}

func TestExplainTellsWhyNoWorkerTakesIt(t *testing.T) {
	inScene(t, func(s *scene) {
		s.enqueue()
		require.Contains(t, s.explain(CauseNoWorker).Text, "there is no worker at all")
		s.worker("w", func(w *backend.WorkerInfo) { w.Queues = []string{"mail", "bulk"} })
		require.Equal(t, "no worker takes from the queue default; 1 worker takes from bulk, mail", s.explain(CauseNoWorker).Text)
		s.worker("w", func(w *backend.WorkerInfo) { w.State = "quiet" })
		require.Contains(t, s.explain(CauseQuiet).Text, "they are quiet")
		s.worker("w", func(w *backend.WorkerInfo) { w.Closed = w.Queues })
		require.Equal(t, "1 worker could run it, and there a gate closes the queue default", s.explain(CauseGate).Text)
		s.worker("w", func(w *backend.WorkerInfo) { w.Running = 2 })
		r := s.explain(CauseBusy)
		require.Equal(t, 2, r.Concurrency)
		require.Zero(t, r.Free)
		s.worker("v")
		s.explain(CauseSoon)
	})
}

func TestExplainTellsHowManyWaitBefore(t *testing.T) {
	inScene(t, func(s *scene) {
		s.worker("w")
		fill := func(n int, options ...EnqueueOption) {
			items := make([]Item, n)
			for i := range items {
				items[i] = New(welcome{}, options...)
			}
			_, err := s.client.EnqueueMany(t.Context(), items...)
			require.NoError(t, err)
		}
		fill(7)
		s.enqueue()
		fill(3)
		fill(1, Priority(1))
		r := s.explain(CauseBehind)
		require.Equal(t, []any{int64(8), int64(8), true}, []any{r.Ahead, r.AheadAtMost, r.Exact})
		require.Equal(t, "8 jobs wait before it", r.Text)

		fill(5000, Priority(2))
		r = s.explain(CauseBehind)
		require.False(t, r.Exact)
		require.EqualValues(t, placeJobs, r.Ahead)
		require.EqualValues(t, 5011, r.AheadAtMost)
	})
}

func TestExplainTellsARunFromALeaseThatHasExpired(t *testing.T) {
	inScene(t, func(s *scene) {
		s.enqueue()
		s.worker("w")
		s.lease("w")
		r := s.explain(CauseRunning)
		require.Equal(t, []string{"w"}, r.Workers)
		require.NoError(t, s.store.SignOff(t.Context(), "w", nil))
		require.Contains(t, s.explain(CauseRunning).Text, "not listed any more")
		time.Sleep(time.Minute)
		r = s.explain(CauseExpired)
		require.Contains(t, r.Text, "expired 0s ago and was not taken back yet")
		require.False(t, r.Until.After(time.Now()))
	})
}

func TestExplainTellsHowAJobHasEnded(t *testing.T) {
	inScene(t, func(s *scene) {
		s.enqueue()
		s.settle(s.lease("w"), func(m *backend.Settlement) {
			m.Outcome = backend.OutcomeDead
			m.History = &backend.History{FinishedAt: time.Now(), Failures: []backend.Failure{{Error: "no use"}}}
		})
		time.Sleep(time.Second)
		require.Equal(t, "it has been dead for 1s, with: no use", s.explain(CauseFinished).Text)
		_, err := s.client.Explain(t.Context(), DefaultQueue, "nobody")
		require.ErrorIs(t, err, backend.ErrNotFound)
		_, err = s.client.Explain(t.Context(), "a b", "a")
		require.ErrorIs(t, err, backend.ErrRejected)
	})
}

func TestExplainTellsAllReasonsWhatNeedsSomebodyToActFirst(t *testing.T) {
	inScene(t, func(s *scene) {
		s.enqueue(In(time.Minute))
		require.NoError(t, s.client.PauseQueue(t.Context(), DefaultQueue, For(time.Hour)))
		s.explain(CauseNoWorker, CauseDelayed, CausePaused)
		require.NoError(t, s.client.PauseQueue(t.Context(), DefaultQueue))
		s.worker("w", func(w *backend.WorkerInfo) { w.Running = 2 })
		s.explain(CausePaused, CauseDelayed)
	})
}

// broken fails to answer about workers.
type broken struct{ backend.Backend }

var errBroken = errors.New("broken")

func (broken) Workers(context.Context) ([]backend.WorkerInfo, error) { return nil, errBroken }

func TestExplainSaysWhenTheStoreDoesNotAnswer(t *testing.T) {
	inScene(t, func(s *scene) {
		s.enqueue()
		_, err := newClient(t, broken{s.store}, nil).Explain(t.Context(), DefaultQueue, "a")
		require.ErrorIs(t, err, errBroken)
	})
}
