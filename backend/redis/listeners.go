package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

// listeners wait for the bells of several tags, on connections of their own: one
// for all tags on one server, one per tag in a Cluster. Between the waits they take
// no new bell: one that comes in then is rung again for others, as its owner may be
// busy for long, and the listener rests until the next wait.
type listeners struct {
	b    *Backend
	tags []*tag

	// wake says that a bell was taken for the wait in progress.
	wake   chan struct{}
	nudged chan struct{}
	failed chan struct{}

	client goredis.UniversalClient
	track  *tracker
	ctx    context.Context
	stop   context.CancelFunc

	mu      sync.Mutex
	closed  bool
	waiting bool          // a wait is in progress
	rang    []*tag        // the bells that were taken for it
	resume  chan struct{} // closed when the next wait begins
	failure error         // reported once
	running sync.WaitGroup
}

// newListeners starts the listeners of a waiter.
func newListeners(w *waiter) *listeners {
	l := &listeners{
		b: w.b, tags: w.tags,
		wake: make(chan struct{}, 1), nudged: make(chan struct{}, 1), failed: make(chan struct{}, 1),
		resume: make(chan struct{}),
	}
	l.ctx, l.stop = context.WithCancel(w.b.ctx)
	groups := [][]*tag{l.tags}
	if l.b.derive.clustered() {
		groups = nil
		for _, t := range l.tags {
			groups = append(groups, []*tag{t})
		}
	}
	l.track = l.b.hub.tracker()
	l.client = l.b.derive.client(len(groups)+1, l.track, hook{})
	for _, tags := range groups {
		l.running.Add(1)
		go l.listen(tags)
	}
	return l
}

// wait returns the tags whose bells have rung, or none when limit has passed.
func (l *listeners) wait(ctx context.Context, limit time.Duration) ([]*tag, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	l.mu.Lock()
	l.waiting = true
	close(l.resume)
	l.mu.Unlock()

	var err error
	select {
	case <-l.wake:
		return l.rest(), nil
	case <-timer.C:
		return l.rest(), nil
	case <-l.nudged:
		return l.rest(), nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.ctx.Done():
		err = backend.ErrClosed
	case <-l.failed:
		l.mu.Lock()
		err = l.failure
		l.mu.Unlock()
	}
	if rang := l.rest(); len(rang) > 0 {
		l.handOnSoon(rang)
	}
	return nil, err
}

func (l *listeners) nudge() {
	select {
	case l.nudged <- struct{}{}:
	default:
	}
}

// rest ends the wait in progress and returns the bells that were taken for it.
func (l *listeners) rest() (rang []*tag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = false
	l.resume = make(chan struct{})
	select {
	case <-l.wake:
	default:
	}
	rang, l.rang = l.rang, nil
	return rang
}

// take gives a bell to the wait in progress, if there is one.
func (l *listeners) take(t *tag) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.waiting {
		return false
	}
	l.rang = append(l.rang, t)
	select {
	case l.wake <- struct{}{}:
	default: // one that is there already wakes for both
	}
	return true
}

// awaited waits until a wait is in progress; it is false after close.
func (l *listeners) awaited() bool {
	l.mu.Lock()
	resume := l.resume
	l.mu.Unlock()
	select {
	case <-resume:
		return l.ctx.Err() == nil
	case <-l.ctx.Done():
		return false
	}
}

// listen takes bells until close.
func (l *listeners) listen(tags []*tag) {
	defer l.running.Done()
	bells, owner := make([]string, len(tags)), map[string]*tag{}
	for i, t := range tags {
		bells[i] = t.bell()
		owner[bells[i]] = t
	}
	pause := time.Duration(0)
	for l.awaited() {
		block := blockFor - blockFor/10 + rand.N(blockFor/5)
		popped, err := l.client.BLPop(within(l.ctx, block+blockSlack), block, bells...).Result()
		switch {
		case err == nil:
			pause = 0
			if t := owner[popped[0]]; !l.take(t) {
				l.handOn([]*tag{t})
			}
			continue
		case errors.Is(err, goredis.Nil):
			pause = 0
			continue
		case l.ctx.Err() != nil:
			return
		}
		for _, t := range tags {
			t.doubt() // a bell may have been lost on its way
		}
		l.mu.Lock()
		l.failure = err
		l.mu.Unlock()
		select {
		case l.failed <- struct{}{}:
		default:
		}
		pause = min(max(2*pause, 50*time.Millisecond), 2*time.Second)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			timer.Stop()
		}
	}
}

// close ends the listeners. The servers are told first that nobody reads any more,
// so that they give no bell to a connection that is about to close.
func (l *listeners) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.track.bow()
	ended := make(chan struct{})
	go func() {
		l.running.Wait()
		close(ended)
	}()
	timer := time.NewTimer(farewell / 2)
	select {
	case <-ended:
		timer.Stop()
	case <-timer.C:
	}
	l.track.cut()
	_ = l.client.Close()
	<-ended
	l.handOn(l.tags)
}

// handOn rings again where jobs wait, as a bell was taken and not used, or may
// have been on its way when a connection was closed.
func (l *listeners) handOn(tags []*tag) {
	calls := make([]*call, len(tags))
	for i, t := range tags {
		calls[i] = t.call(ringScript, "", 0)
	}
	do(within(context.Background(), farewell), l.b.client, calls)
}

// handOnSoon does so without holding up its caller.
func (l *listeners) handOnSoon(tags []*tag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return // close does it
	}
	l.running.Add(1)
	go func() {
		defer l.running.Done()
		l.handOn(tags)
	}()
}
