package memory

import (
	lines "container/list"
	"context"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// bell wakes those who wait on a queue, one per ring. A ring that nobody waits
// for is kept for the next who comes; several are kept as one.
type bell struct {
	rung bool
	// waiters are those that wait and were not woken, in the order in which
	// they came.
	waiters lines.List
}

// tell rings the bell if there is news. It may be called on no queue.
func (q *queue) tell(news bool) {
	if q != nil && news {
		q.ring()
	}
}

// ring wakes one waiter. A paused queue is silent: Resume rings for all that
// came up meanwhile, or who knows when the pause is over leases then.
func (q *queue) ring() {
	if !q.isPaused() {
		q.ringOne()
	}
}

func (q *queue) ringOne() {
	first := q.waiters.Front()
	if first == nil {
		q.rung = true
		return
	}
	w := first.Value.(*waiter)
	w.leave()
	w.woken = q
	w.wake <- struct{}{}
}

// waiter waits on some queues. The store's mutex guards its fields.
type waiter struct {
	store  *Backend
	queues []string
	// wake has room for the one signal that a ring sends to a waiter that is
	// enlisted; it is enlisted anew only when that has been received.
	wake chan struct{}
	// nudged has room for the one nudge of a Lease.
	nudged chan struct{}
	done   chan struct{}

	closed bool
	// places are its entries in the lists of its queues while it waits.
	places []place
	// woken is the queue whose ring it has and has not used yet: from the ring
	// to the lease.
	woken *queue
}

type place struct {
	queue   *queue
	element *lines.Element
}

// Waiter returns a Waiter on the queues.
func (b *Backend) Waiter(queues []string) (backend.Waiter, error) {
	if err := backend.CheckQueues(queues); err != nil {
		return nil, &backend.Error{Op: "wait", Err: err}
	}
	if err := b.lock(context.Background(), "wait"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	return &waiter{
		store:  b,
		queues: slices.Clone(queues),
		wake:   make(chan struct{}, 1),
		nudged: make(chan struct{}, 1),
		done:   make(chan struct{}),
	}, nil
}

// Lease waits for a ring and leases.
func (w *waiter) Lease(ctx context.Context, request backend.LeaseRequest, limit time.Duration) (backend.LeaseReply, error) {
	if err := request.Check(); err != nil {
		return backend.LeaseReply{}, &backend.Error{Op: "lease", Err: err}
	}
	if err := w.wait(ctx, limit); err != nil {
		return backend.LeaseReply{}, err
	}
	return w.store.Lease(context.WithoutCancel(ctx), request)
}

// Nudge ends a wait.
func (w *waiter) Nudge() {
	select {
	case w.nudged <- struct{}{}:
	default:
	}
}

// wait returns nil when there may be work, or when limit has passed.
func (w *waiter) wait(ctx context.Context, limit time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	woken, err := w.enlist()
	if woken || err != nil {
		return err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.wake:
	case <-timer.C:
		w.getUp()
	case <-w.nudged:
		w.getUp()
	case <-ctx.Done():
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		w.leave()
		w.drain()
		// Who was interrupted does not lease: a ring of the same moment is
		// for another.
		w.pass()
		return ctx.Err()
	case <-w.done:
		return &backend.Error{Op: "wait", Err: backend.ErrClosed}
	case <-w.store.done:
		return &backend.Error{Op: "wait", Err: backend.ErrClosed}
	}
	return nil
}

// getUp ends a wait that no ring has ended. Its lease uses a ring of the same
// moment.
func (w *waiter) getUp() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.leave()
	w.drain()
}

// enlist takes a ring that is kept for it, or gets in line at all its queues.
func (w *waiter) enlist() (woken bool, err error) {
	if err := w.store.lock(context.Background(), "wait"); err != nil {
		return false, err
	}
	defer w.store.mu.Unlock()
	if w.closed {
		return false, &backend.Error{Op: "wait", Err: backend.ErrClosed}
	}
	w.woken = nil
	for _, name := range w.queues {
		if q := w.store.queue(name); q.rung {
			q.rung = false
			w.woken = q
			return true, nil
		}
	}
	for _, name := range w.queues {
		q := w.store.queue(name)
		w.places = append(w.places, place{q, q.waiters.PushBack(w)})
	}
	return false, nil
}

// leave takes it out of all lines.
func (w *waiter) leave() {
	for _, p := range w.places {
		p.queue.waiters.Remove(p.element)
	}
	w.places = w.places[:0]
}

// drain empties wake after a Wait that ended for another reason.
func (w *waiter) drain() {
	select {
	case <-w.wake:
	default:
	}
}

// pass hands an unused ring to another waiter.
func (w *waiter) pass() {
	if q := w.woken; q != nil {
		w.woken = nil
		q.ring()
	}
}

// Close ends a Lease in flight and passes on a ring that came since the last one
// began: whether it has leased since, the waiter cannot know, and a ring too many
// costs one Lease.
func (w *waiter) Close() error {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.done)
	w.leave()
	if !w.store.closed {
		w.pass()
	}
	return nil
}
