// Package memory is a job store inside the process: the default of a System
// that names no backend, and the one for tests. What it holds ends with the
// process.
//
//	store, err := memory.New(memory.Config{MaxJobs: 100_000})
//
// It keeps the whole contract of package backend, leases and fencing tokens
// included, so a program that grows to several machines changes only the
// backend. It starts no goroutines, and no timers but while leases run, and takes
// the time from package time alone: within a bubble of testing/synctest it is
// deterministic.
//
// A process that stood still, because it was stopped or its machine slept, goes on
// with its leases: they end by the time in which it could run.
//
// Nothing that goes in or comes out is shared with the caller: payloads, tags,
// headers and histories are copied.
package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Config bounds what a store holds. The zero Config has no bound but the default
// retention of finished jobs.
type Config struct {
	// MaxJobs is the number of unfinished jobs over all queues; an enqueue that
	// would pass it is refused with backend.ErrFull. 0 means no bound. Finished
	// jobs do not count, they are bounded by Retention.
	MaxJobs int
	// MaxBytes bounds the unfinished jobs in bytes: payloads, ids, tags,
	// headers, keys of limits and lanes, and histories. 0 means no bound. A history that grows while its
	// job is retried is kept even where it passes the bound.
	MaxBytes int64
	// Retention says how long finished jobs are kept, per queue. Each field
	// that is zero takes the one of backend.DefaultRetention.
	Retention backend.RetentionPolicy
}

// Backend is a job store in memory. Its methods may be called concurrently.
type Backend struct {
	maxJobs   int
	maxBytes  int64
	retention backend.RetentionPolicy
	// done is closed by Close.
	done chan struct{}

	// mu guards all that follows, and all that is reached from it. One mutex
	// is enough: a batch of 50 holds it for some microseconds.
	mu        sync.Mutex
	closed    bool
	queues    map[string]*queue
	callers   map[string]*caller
	calls     uint64
	workers   map[string]record
	listeners map[*listener]struct{}
	clock     leaseClock
	moved     time.Duration // by Advance
	events    journal       // of the workers
	memos     memos
	// jobs and bytes sum up the unfinished jobs of all queues.
	jobs  int
	bytes int64
}

var _ backend.Backend = (*Backend)(nil)

// New makes an empty store. It returns an error that wraps backend.ErrRejected
// if something in the Config is negative.
func New(config Config) (*Backend, error) {
	if config.MaxJobs < 0 {
		return nil, fmt.Errorf("memory: MaxJobs is %d; give a number from 1, or 0 for no bound: %w", config.MaxJobs, backend.ErrRejected)
	}
	if config.MaxBytes < 0 {
		return nil, fmt.Errorf("memory: MaxBytes is %d; give a number from 1, or 0 for no bound: %w", config.MaxBytes, backend.ErrRejected)
	}
	retention, err := config.Retention.Fill()
	if err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	return &Backend{
		maxJobs:   config.MaxJobs,
		maxBytes:  config.MaxBytes,
		retention: retention,
		done:      make(chan struct{}),
		queues:    make(map[string]*queue),
		callers:   make(map[string]*caller),
		workers:   make(map[string]record),
		listeners: make(map[*listener]struct{}),
		clock:     leaseClock{start: time.Now()},
	}, nil
}

// Check finds nothing to warn of: that the jobs end with the process is what one
// chooses this backend for.
func (b *Backend) Check(ctx context.Context) ([]backend.Warning, error) {
	if err := b.lock(ctx, "check"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	return nil, nil
}

// Close ends all calls in flight with backend.ErrClosed and forgets the jobs.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	close(b.done)
	b.queues, b.callers, b.workers, b.listeners = nil, nil, nil, nil
	b.memos = memos{}
	return nil
}

// lock takes the mutex for a verb, unless its ctx has ended or the store is
// closed.
func (b *Backend) lock(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: op, Err: err}
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return &backend.Error{Op: op, Err: backend.ErrClosed}
	}
	return nil
}

// queue returns the queue of this name and makes it where there is none.
func (b *Backend) queue(name string) *queue {
	q := b.queues[name]
	if q == nil {
		q = newQueue(b, name)
		b.queues[name] = q
		b.publish(backend.Command{Verb: backend.CommandQueue, Queue: name})
	}
	return q
}

// zero is the instant at which the clock of the leases began, had the process
// always run.
func (b *Backend) zero(now int64) int64 { return now - int64(b.clock.read()) }

// watch reads the clock of the leases after a time, again and again while leases run.
func (b *Backend) watch(in time.Duration) {
	if in == 0 {
		return
	}
	time.AfterFunc(in, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.closed {
			b.clock.read()
			b.watch(b.clock.next())
		}
	})
}
