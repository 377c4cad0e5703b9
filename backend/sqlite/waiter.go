package sqlite

import (
	lines "container/list"
	"context"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// waiter waits on some queues. The hub's mutex guards what follows look.
type waiter struct {
	store  *Backend
	queues []string
	// wake has room for the one signal that a ring sends to a waiter that is enlisted;
	// it is enlisted anew only when that has been received.
	wake chan struct{}
	// nudged has room for the one nudge of a Lease.
	nudged chan struct{}
	done   chan struct{}
	// look is set until it has looked for what came before there was a bell.
	look bool

	closed bool
	// places are its entries at the bells of its queues while it waits.
	places []place
	// woken is the queue whose ring it has and has not used yet: from the ring to the
	// lease.
	woken string
}

type place struct {
	bell    *bell
	element *lines.Element
}

// Waiter implements backend.Consumer.
func (b *Backend) Waiter(queues []string) (backend.Waiter, error) {
	err := backend.CheckQueues(queues)
	if err == nil && b.closed.Load() {
		err = backend.ErrClosed
	}
	if err != nil {
		return nil, &backend.Error{Op: "wait", Err: err}
	}
	w := &waiter{
		store: b, queues: slices.Clone(queues),
		wake: make(chan struct{}, 1), nudged: make(chan struct{}, 1), done: make(chan struct{}),
	}
	h := b.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range queues {
		if h.bells[name] == nil {
			h.bells[name] = &bell{}
			w.look = true
		}
		h.bells[name].users++
	}
	return w, nil
}

// Lease implements backend.Waiter.
func (w *waiter) Lease(ctx context.Context, request backend.LeaseRequest, limit time.Duration) (backend.LeaseReply, error) {
	if err := request.Check(); err != nil {
		return backend.LeaseReply{}, &backend.Error{Op: "lease", Err: err}
	}
	err := w.store.begin(ctx)
	if err == nil && w.look {
		err = w.store.read(ctx, "wait", "", func(x executor) error { return w.store.lookForWork(x, w.queues) })
		w.look = err != nil
	}
	if err == nil {
		err = w.wait(ctx, limit)
	}
	if err != nil {
		return backend.LeaseReply{}, w.store.fail("wait", "", "", err)
	}
	reply, err := w.store.Lease(ctx, request)
	if err != nil {
		// Whoever was rung for does not know of the work any more.
		h := w.store.hub
		h.mu.Lock()
		defer h.mu.Unlock()
		w.pass()
	}
	return reply, err
}

// Nudge implements backend.Waiter.
func (w *waiter) Nudge() {
	signal(w.nudged)
}

// wait returns nil when there may be work, or when limit has passed.
func (w *waiter) wait(ctx context.Context, limit time.Duration) error {
	woken, err := w.enlist()
	if woken || err != nil {
		return err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.wake:
	case <-timer.C:
		w.getUp(false)
	case <-w.nudged:
		w.getUp(false)
	case <-ctx.Done():
		// Who was interrupted does not lease: a ring of the same moment is for another.
		w.getUp(true)
		return ctx.Err()
	case <-w.done:
		return backend.ErrClosed
	case <-w.store.ctx.Done():
		return backend.ErrClosed
	}
	return nil
}

// enlist takes a ring that is kept for it, or gets in line at all its queues.
func (w *waiter) enlist() (woken bool, err error) {
	h := w.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed || h.closed {
		return false, backend.ErrClosed
	}
	w.woken = ""
	for _, name := range w.queues {
		if b := h.bells[name]; b.rung {
			b.rung = false
			w.woken = name
			return true, nil
		}
	}
	for _, name := range w.queues {
		b := h.bells[name]
		w.places = append(w.places, place{b, b.waiters.PushBack(w)})
	}
	signal(h.enlisted)
	return false, nil
}

// getUp ends a wait that no ring has ended. A ring of the same moment is used by the
// lease that follows, or passed on.
func (w *waiter) getUp(pass bool) {
	h := w.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	w.leave()
	select {
	case <-w.wake:
	default:
	}
	if pass {
		w.pass()
	}
}

// leave takes it out of all lines.
func (w *waiter) leave() {
	for _, p := range w.places {
		p.bell.waiters.Remove(p.element)
	}
	w.places = w.places[:0]
}

// pass hands an unused ring to another waiter.
func (w *waiter) pass() {
	if name := w.woken; name != "" {
		w.woken = ""
		w.store.hub.ringLocked(name)
	}
}

// Close implements backend.Waiter. It passes on a ring that came since the last Lease
// began: whether that has leased since, the waiter cannot know, and a ring too many
// costs one Lease.
func (w *waiter) Close() error {
	h := w.store.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.done)
	w.leave()
	w.pass()
	for _, name := range w.queues {
		b := h.bells[name]
		if b.users--; b.users == 0 {
			delete(h.bells, name)
		}
	}
	return nil
}
