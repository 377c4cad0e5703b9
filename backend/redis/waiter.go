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
// the first Wait and go on between the calls, so that a bell is never missed: one
// that is taken while nobody waits answers the next Wait.
type waiter struct {
	b      *Backend
	queues []string

	// wake holds at most one bell that was taken and not yet used.
	wake chan struct{}

	mu      sync.Mutex
	started bool
	closed  bool
	failure error // of the listeners, reported once
	failed  chan struct{}
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
	w := &waiter{b: b, queues: queues, wake: make(chan struct{}, 1), failed: make(chan struct{}, 1)}
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
	select {
	case <-w.wake:
		return nil
	default:
	}
	select {
	case <-w.wake:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.ctx.Done():
		return w.b.fail("wait", "", backend.ErrClosed)
	case <-w.failed:
		w.mu.Lock()
		err := w.failure
		w.mu.Unlock()
		return w.b.fail("wait", "", err)
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
	var groups [][]string
	if w.b.derive.clustered() {
		for _, t := range w.tags {
			groups = append(groups, []string{t.bell()})
		}
	} else {
		var bells []string
		for _, t := range w.tags {
			bells = append(bells, t.bell())
		}
		groups = [][]string{bells}
	}
	w.client = w.b.derive.client(len(groups)+1, &w.track)
	w.started = true
	for _, bells := range groups {
		w.running.Add(1)
		go w.listen(bells)
	}
	return nil
}

// listen takes bells until the waiter is closed.
func (w *waiter) listen(bells []string) {
	defer w.running.Done()
	pause := time.Duration(0)
	for w.ctx.Err() == nil {
		block := blockFor - blockFor/10 + rand.N(blockFor/5)
		_, err := w.client.BLPop(within(w.ctx, block+blockSlack), block, bells...).Result()
		switch {
		case err == nil:
			pause = 0
			select {
			case w.wake <- struct{}{}:
			default: // one that is there already wakes for both
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
		w.track.cut()
		_ = client.Close()
		w.running.Wait()
		w.handOn()
	}
	w.b.mu.Lock()
	delete(w.b.waiters, w)
	w.b.mu.Unlock()
	return nil
}

// handOn rings again where jobs wait, as a bell may have been taken and not been
// used, or have been on its way when the connection was closed.
func (w *waiter) handOn() {
	calls := make([]*call, len(w.tags))
	for i, t := range w.tags {
		calls[i] = t.call(ringScript, "", 0)
	}
	ctx := within(context.Background(), farewell)
	do(ctx, w.b.client, calls)
}
