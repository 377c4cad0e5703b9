package jobstest

import (
	"context"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// TB is the part of *testing.T that this package needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
}

// Store is a job store for one test: a [memory.Backend] that remembers what was
// enqueued, runs jobs, and whose clock can be moved. It is a backend.Backend, for
// programs that make their clients themselves.
//
// The store may be used concurrently, handlers included; [Store.Drain] and
// [Store.RunFor] may not run at the same time as each other or themselves.
type Store struct {
	*memory.Backend
	// Sleep is how Drain and RunFor let time pass. nil moves the store's clock by
	// Advance. In a bubble of testing/synctest it may be time.Sleep, so that handlers
	// see the same time as the store.
	Sleep func(time.Duration)

	t        TB
	registry *jobs.Registry
	client   *jobs.Client
	calls    uint64 // of Lease and Settle

	mu       sync.Mutex
	enqueued []backend.NewJob
	// running is the job that Drain runs at the moment, and cancel ends its context.
	running struct{ queue, id string }
	cancel  context.CancelCauseFunc
}

var _ backend.Backend = (*Store)(nil)

// New makes an empty store. The registry is the one of the program under test; t fails
// where the kit cannot do what it is told.
func New(t TB, registry *jobs.Registry) *Store {
	t.Helper()
	if registry == nil {
		t.Fatalf("jobstest: New: the registry is nil; give the one that knows the handlers")
		return nil
	}
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatalf("jobstest: New: %v", err)
		return nil
	}
	s := &Store{Backend: store, t: t, registry: registry}
	s.client = s.clientOf(s)
	return s
}

// Client returns the client of the store. Handlers get it by [jobs.ClientFrom].
func (s *Store) Client() *jobs.Client { return s.client }

// Now tells the store's time: the real one, or that of a bubble of testing/synctest,
// and on top what Advance, Drain and RunFor have moved it.
func (s *Store) Now() time.Time { return s.Advance(0) }

// Enqueue stores jobs and remembers those that were new.
func (s *Store) Enqueue(ctx context.Context, batch []backend.NewJob) ([]backend.Receipt, error) {
	receipts, err := s.Backend.Enqueue(ctx, batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range receipts {
		if receipts[i].Err == nil && !receipts[i].Existing && (!receipts[i].Duplicate() || receipts[i].Replaced) {
			s.enqueued = append(s.enqueued, batch[i])
		}
	}
	return receipts, err
}

// pass lets time pass.
func (s *Store) pass(d time.Duration) {
	switch {
	case d <= 0:
	case s.Sleep != nil:
		s.Sleep(d)
	default:
		s.Advance(d)
	}
}

// Cancel ends jobs, and the context of one that runs: a worker would learn of it
// within milliseconds.
func (s *Store) Cancel(ctx context.Context, queue string, ids []string) ([]backend.ActResult, error) {
	results, err := s.Backend.Cancel(ctx, queue, ids)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, result := range results {
		if s.cancel != nil && s.running.queue == queue && s.running.id == result.ID && result.State == backend.StateRunning {
			s.cancel(jobs.ErrCancelled)
		}
	}
	return results, err
}

func (s *Store) clientOf(b backend.Backend) *jobs.Client {
	client, err := jobs.NewClient(b, jobs.ClientConfig{Registry: s.registry})
	if err != nil {
		s.t.Fatalf("jobstest: %v", err)
	}
	return client
}

// one is a store of one job.
type one struct {
	backend.Backend
	job  backend.NewJob
	info backend.JobInfo
}

// Enqueue takes the job that comes through the middleware.
func (o *one) Enqueue(_ context.Context, batch []backend.NewJob) ([]backend.Receipt, error) {
	o.job = batch[0]
	return []backend.Receipt{{Queue: o.job.Queue, ID: o.job.ID, State: backend.StateWaiting}}, nil
}

func (o *one) Job(context.Context, string, string) (backend.JobInfo, error) { return o.info, nil }

// info gives a job the codec that decodes it, which only a client can.
func (s *Store) info(info backend.JobInfo) jobs.JobInfo {
	job, err := s.clientOf(&one{info: info}).Job(context.Background(), info.Queue, info.ID)
	if err != nil {
		s.t.Fatalf("jobstest: %v", err)
	}
	return job
}
