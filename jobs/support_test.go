package jobs

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// instant is the store's time in tests.
var instant = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type welcome struct {
	UserID int64 `json:"user_id"`
}

func (welcome) Kind() string { return "welcome" }

// fakeStore takes enqueues and fails on everything else.
type fakeStore struct {
	backend.Backend
	mu      sync.Mutex
	stored  []backend.NewJob
	ids     map[string]bool
	enqueue EnqueueFunc // in place of storing
	act     func(queue string, ids []string) ([]backend.ActResult, error)
}

func (s *fakeStore) Enqueue(ctx context.Context, batch []backend.NewJob) ([]Receipt, error) {
	if s.enqueue != nil {
		return s.enqueue(ctx, batch)
	}
	if err := backend.CheckJobs(batch); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = map[string]bool{}
	}
	receipts := make([]Receipt, len(batch))
	for i, job := range batch {
		receipts[i] = Receipt{Queue: job.Queue, ID: job.ID, State: backend.StateWaiting, Existing: s.ids[job.ID]}
		if !s.ids[job.ID] {
			s.ids[job.ID] = true
			s.stored = append(s.stored, job)
		}
	}
	return receipts, nil
}

func (s *fakeStore) Cancel(_ context.Context, queue string, ids []string) ([]backend.ActResult, error) {
	return s.act(queue, ids)
}

func newClient(t testing.TB, store backend.Backend, registry *Registry) *Client {
	t.Helper()
	client, err := NewClient(store, ClientConfig{Registry: registry})
	require.NoError(t, err)
	return client
}

// aLease is a lease on a job of kind welcome, changed by change.
func aLease(change ...func(*backend.Lease)) *backend.Lease {
	lease := &backend.Lease{
		Job: backend.Job{
			ID: "job-1", Queue: "mail", Kind: "welcome", Payload: []byte(`{"user_id":42}`),
			EnqueuedAt: instant, DueAt: instant,
		},
		Token: "w.1",
	}
	for _, f := range change {
		f(lease)
	}
	return lease
}

// runJob runs a handler once, by the store's time of instant, and returns what
// became of the job. Options are the kind's.
func runJob(t testing.TB, ctx context.Context, lease *backend.Lease, handler func(context.Context, *Job[welcome]) error, options ...KindOption) Result {
	t.Helper()
	r := NewRegistry()
	Handle(r, handler, options...)
	return runIn(t, ctx, r, lease)
}

func runIn(t testing.TB, ctx context.Context, r *Registry, lease *backend.Lease) Result {
	t.Helper()
	run, refusal := r.Begin(lease, instant, "w")
	require.Nil(t, refusal, "the job was refused")
	results := make(chan Result, 2)
	finished := make(chan struct{})
	go func() { // as a handler may end its goroutine
		defer close(finished)
		run.Do(ctx, func() time.Time { return instant.Add(time.Second) }, func(r Result) { results <- r })
	}()
	<-finished
	require.Len(t, results, 1, "done must be called exactly once")
	result := <-results
	require.Equal(t, []string{lease.Job.Queue, lease.Job.ID, lease.Token},
		[]string{result.Settlement.Queue, result.Settlement.ID, result.Settlement.Token})
	require.NoError(t, result.Settlement.Check())
	return result
}

// endedBy is a context that has ended with a cause.
func endedBy(cause error) context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	return ctx
}

// recoverText returns what f panics with.
func recoverText(t testing.TB, f func()) (text string) {
	t.Helper()
	defer func() {
		value := recover()
		require.NotNil(t, value, "no panic")
		text = value.(string)
	}()
	f()
	return ""
}
