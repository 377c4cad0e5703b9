package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

const (
	// blockFor is how long one blocking call waits, give or take a tenth. It
	// bounds the time in which a dead connection goes unnoticed.
	blockFor = 5 * time.Second
	// blockSlack is how much later than the server our own deadline is.
	blockSlack = 2 * time.Second
	// farewell bounds what Close still asks of the store.
	farewell = 200 * time.Millisecond
)

// waiter waits for bells on connections of its own. Its listeners are started by
// the first Wait. Between the calls they take no new bell: one that comes in then
// is rung again for the others, as its owner may be busy for long, and the
// listener rests until the next Wait.
type waiter struct {
	b      *Backend
	queues []string

	// wake holds the bell that was taken for the Wait in progress.
	wake   chan struct{}
	failed chan struct{}

	mu      sync.Mutex
	started bool
	closed  bool
	waiting bool          // a Wait is in progress
	resume  chan struct{} // closed when the next Wait begins
	failure error         // of the listeners, reported once
	tags    []*tag
	client  goredis.UniversalClient
	track   tracker
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

// Waiter implements backend.Consumer.
func (b *Backend) Waiter(queues []string) (backend.Waiter, error) {
	if len(queues) == 0 {
		return nil, b.fail("wait", "", fmt.Errorf("%w: the waiter names no queue", backend.ErrRejected))
	}
	if err := backend.CheckQueues(queues); err != nil {
		return nil, b.fail("wait", "", err)
	}
	w := &waiter{b: b, queues: queues, wake: make(chan struct{}, 1), failed: make(chan struct{}, 1), resume: make(chan struct{})}
	w.ctx, w.stop = context.WithCancel(b.ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		w.stop()
		return nil, b.fail("wait", "", backend.ErrClosed)
	}
	b.waiters[w] = struct{}{}
	return w, nil
}

// Wait implements backend.Waiter.
func (w *waiter) Wait(ctx context.Context, limit time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.ctx.Err() != nil {
		return w.b.fail("wait", "", backend.ErrClosed)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	if err := w.start(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return w.b.fail("wait", "", err)
	}
	w.mu.Lock()
	w.waiting = true
	close(w.resume)
	w.mu.Unlock()

	var err error
	select {
	case <-w.wake:
		w.rest()
		return nil
	case <-timer.C:
		w.rest()
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-w.ctx.Done():
		err = w.b.fail("wait", "", backend.ErrClosed)
	case <-w.failed:
		w.mu.Lock()
		err = w.b.fail("wait", "", w.failure)
		w.mu.Unlock()
	}
	if w.rest() {
		w.handOnSoon(w.tags)
	}
	return err
}

// rest ends the Wait in progress and reports whether a bell came that it did
// not use.
func (w *waiter) rest() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = false
	w.resume = make(chan struct{})
	select {
	case <-w.wake:
		return true
	default:
		return false
	}
}

// take gives a bell to the Wait in progress, if there is one.
func (w *waiter) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.waiting {
		return false
	}
	select {
	case w.wake <- struct{}{}:
	default: // one that is there already wakes for both
	}
	return true
}

// awaited waits until a Wait is in progress; it is false if the waiter closes.
func (w *waiter) awaited() bool {
	w.mu.Lock()
	resume := w.resume
	w.mu.Unlock()
	select {
	case <-resume:
		return w.ctx.Err() == nil
	case <-w.ctx.Done():
		return false
	}
}

// start starts the listeners once.
func (w *waiter) start(ctx context.Context) error {
	w.mu.Lock()
	started := w.started
	w.mu.Unlock()
	if started {
		return nil
	}
	queues, err := w.b.enter(ctx, w.queues)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return backend.ErrClosed
	}
	for _, q := range queues {
		w.tags = append(w.tags, q.tags...)
	}
	groups := [][]*tag{w.tags}
	if w.b.derive.clustered() {
		groups = nil
		for _, t := range w.tags {
			groups = append(groups, []*tag{t})
		}
	}
	w.client = w.b.derive.client(len(groups)+1, &w.track)
	w.started = true
	for _, tags := range groups {
		w.running.Add(1)
		go w.listen(tags)
	}
	return nil
}

// listen takes bells until the waiter is closed.
func (w *waiter) listen(tags []*tag) {
	defer w.running.Done()
	var bells []string
	for _, t := range tags {
		bells = append(bells, t.bell())
	}
	pause := time.Duration(0)
	for w.awaited() {
		block := blockFor - blockFor/10 + rand.N(blockFor/5)
		_, err := w.client.BLPop(within(w.ctx, block+blockSlack), block, bells...).Result()
		switch {
		case err == nil:
			pause = 0
			if !w.take() {
				w.handOn(tags)
			}
			continue
		case errors.Is(err, goredis.Nil):
			pause = 0
			continue
		case w.ctx.Err() != nil:
			return
		}
		w.mu.Lock()
		w.failure = classify(err)
		w.mu.Unlock()
		select {
		case w.failed <- struct{}{}:
		default:
		}
		pause = min(max(2*pause, 50*time.Millisecond), 2*time.Second)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
		}
	}
}

// Close implements backend.Waiter.
func (w *waiter) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.stop()
	client := w.client
	w.mu.Unlock()
	if client != nil {
		w.track.bow()
		ended := make(chan struct{})
		go func() {
			w.running.Wait()
			close(ended)
		}()
		timer := time.NewTimer(farewell / 2)
		select {
		case <-ended:
			timer.Stop()
		case <-timer.C:
		}
		w.track.cut()
		_ = client.Close()
		<-ended
		w.handOn(w.tags)
	}
	w.b.mu.Lock()
	delete(w.b.waiters, w)
	w.b.mu.Unlock()
	return nil
}

// handOn rings again where jobs wait, as a bell was taken and not used, or may
// have been on its way when a connection was closed.
func (w *waiter) handOn(tags []*tag) {
	calls := make([]*call, len(tags))
	for i, t := range tags {
		calls[i] = t.call(ringScript, "", 0)
	}
	do(within(context.Background(), farewell), w.b.client, calls)
}

// handOnSoon does so without holding up its caller.
func (w *waiter) handOnSoon(tags []*tag) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return // Close does it
	}
	w.running.Add(1)
	go func() {
		defer w.running.Done()
		w.handOn(tags)
	}()
}
