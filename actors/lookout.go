package actors

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// lookout waits for work. It makes the store's waiter when it is needed. Nothing of it
// blocks the fetcher, whatever the waiter does.
type lookout struct {
	line   *line
	queues []string

	mu     sync.Mutex
	waiter backend.Waiter
	// nudged is set by a nudge that came before there was a waiter.
	nudged, closed bool
}

func newLookout(l *line, queues []string) *lookout { return &lookout{line: l, queues: queues} }

// errInterrupted is what a wait ends with that was not needed any more. It is no
// failure of the store.
var errInterrupted = fmt.Errorf("the wait was interrupted: %w", context.Canceled)

// lease waits for work and leases it. One call may be in flight.
func (o *lookout) lease(ctx context.Context, request backend.LeaseRequest, limit time.Duration) (backend.LeaseReply, error) {
	waiter, err := o.ready()
	if err != nil {
		return backend.LeaseReply{}, err
	}
	reply, err := waiter.Lease(ctx, request, limit)
	if err != nil && o.over() {
		err = errInterrupted
	}
	return reply, err
}

// ready returns the waiter, which it makes outside of the lock: that may block.
func (o *lookout) ready() (backend.Waiter, error) {
	o.mu.Lock()
	waiter, closed := o.waiter, o.closed
	o.mu.Unlock()
	if closed {
		return nil, errInterrupted
	}
	if waiter != nil {
		return waiter, nil
	}
	waiter, err := o.line.store.Waiter(o.queues)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	closed, nudged := o.closed, o.nudged
	o.waiter, o.nudged = waiter, false
	o.mu.Unlock()
	switch {
	case closed:
		_ = waiter.Close()
		return nil, errInterrupted
	case nudged:
		waiter.Nudge()
	}
	return waiter, nil
}

// nudge ends a wait.
func (o *lookout) nudge() {
	o.mu.Lock()
	waiter := o.waiter
	o.nudged = waiter == nil
	o.mu.Unlock()
	if waiter != nil {
		o.run("nudge", waiter.Nudge)
	}
}

// close ends a wait for good.
func (o *lookout) close() {
	o.mu.Lock()
	waiter := o.waiter
	o.closed = true
	o.mu.Unlock()
	if waiter != nil {
		o.run("close the waiter", func() { _ = waiter.Close() })
	}
}

func (o *lookout) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *lookout) run(op string, f func()) {
	o.line.call(o.line.dispatch.Schedule, op, callTimeout, func(context.Context) error {
		f()
		return errInterrupted // it tells nothing about the store
	}, func(error) {})
}
