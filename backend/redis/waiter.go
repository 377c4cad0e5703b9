package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
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
	// nudgeSlack is how much later than a nudge the server ends a call by itself.
	nudgeSlack = 200 * time.Millisecond
	// nudgeMemory is how long the store keeps a nudge that nobody waits for.
	nudgeMemory = 10 * time.Second
)

// waiter waits for bells on connections of its own.
//
// Where it waits on one tag, as mostly, the blocking pop of the bell and the lease
// go out together, so that the server leases in the moment in which the bell
// rings: one trip instead of two. Several tags have listeners, and the lease
// follows.
//
// A nudge is a bell that only this waiter hears.
type waiter struct {
	b      *Backend
	queues []string
	name   string // of its own bell

	mu      sync.Mutex
	tags    []*tag                  // nil until the first Lease
	client  goredis.UniversalClient // nil if the next Lease is to make one
	track   *tracker                // of the client
	crowd   *listeners              // nil with one tag
	closed  bool
	leasing bool
	nudged  bool // while no Lease was in flight
	idle    sync.WaitGroup
}

// Waiter implements backend.Consumer.
func (b *Backend) Waiter(queues []string) (backend.Waiter, error) {
	if len(queues) == 0 {
		return nil, b.fail("wait", "", fmt.Errorf("%w: the waiter names no queue", backend.ErrRejected))
	}
	if err := backend.CheckQueues(queues); err != nil {
		return nil, b.fail("wait", "", err)
	}
	w := &waiter{b: b, queues: queues, name: rand.Text()[:16]}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return nil, b.fail("wait", "", backend.ErrClosed)
	}
	b.waiters[w] = struct{}{}
	return w, nil
}

// Lease implements backend.Waiter.
func (w *waiter) Lease(ctx context.Context, request backend.LeaseRequest, limit time.Duration) (backend.LeaseReply, error) {
	var none backend.LeaseReply
	if err := request.Check(); err != nil {
		return none, w.b.fail("lease", "", err)
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	reply, err := w.lease(ctx, &request, limit)
	switch {
	case err == nil:
		return reply, nil
	case ctx.Err() != nil:
		return none, ctx.Err()
	case w.isClosed():
		return none, w.b.fail("wait", "", backend.ErrClosed)
	}
	return none, w.b.fail("wait", "", err)
}

func (w *waiter) lease(ctx context.Context, request *backend.LeaseRequest, limit time.Duration) (none backend.LeaseReply, err error) {
	queues, err := w.b.enter(ctx, w.queues)
	if err != nil {
		return none, err
	}
	nudged, err := w.begin(queues)
	if err != nil {
		return none, err
	}
	defer w.end()
	heard := news{waits: true}
	switch {
	case nudged || limit <= 0:
	case w.crowd == nil:
		return w.leaseAtTheBell(ctx, request, queues, limit)
	default:
		if heard.rang, err = w.crowd.wait(ctx, limit); err != nil {
			return none, err
		}
	}
	return w.b.lease(ctx, *request, heard)
}

// begin makes what the Lease needs. It reports whether there was a nudge before.
func (w *waiter) begin(queues []*queue) (nudged bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false, backend.ErrClosed
	}
	if w.tags == nil {
		w.tags = tagsOf(queues)
		if len(w.tags) > 1 {
			w.crowd = newListeners(w)
		}
	}
	if w.crowd == nil && w.client == nil {
		w.track = w.b.hub.tracker()
		w.client = w.b.derive.client(1, w.track, hook{})
	}
	w.idle.Add(1)
	nudged, w.nudged, w.leasing = w.nudged, false, true
	return nudged, nil
}

func (w *waiter) end() {
	w.mu.Lock()
	w.leasing = false
	w.mu.Unlock()
	w.idle.Done()
}

func (w *waiter) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// leaseAtTheBell waits for the bell of the one tag and leases, in one trip.
func (w *waiter) leaseAtTheBell(ctx context.Context, request *backend.LeaseRequest, queues []*queue, limit time.Duration) (backend.LeaseReply, error) {
	var reply backend.LeaseReply
	t := w.tags[0]
	c := w.b.leaseCall(t, request, w.b.plans.plan(request, queues, news{waits: true}), 1, unblocks(request), false)

	// The server ends a blocking call up to a tenth of a second late. Where it
	// matters, a nudge of ours comes in time.
	block := limit
	if limit >= blockFor {
		block = blockFor - blockFor/10 + mathrand.N(blockFor/5)
	} else {
		block += nudgeSlack
		timer := time.AfterFunc(limit, w.Nudge)
		defer timer.Stop()
	}
	callCtx := within(context.WithoutCancel(ctx), block+blockSlack)
	client, track := w.client, w.track
	interrupted := make(chan struct{})
	uninterrupt := context.AfterFunc(ctx, func() {
		track.cut()
		close(interrupted)
	})
	pipe := client.Pipeline()
	pop := goredis.NewStringSliceCmd(callCtx, "blpop", t.bell(), t.nudge(w.name), seconds(block))
	_ = pipe.Process(callCtx, pop)
	c.cmd = goredis.NewCmd(callCtx, c.args...)
	_ = pipe.Process(callCtx, c.cmd)
	_, _ = pipe.Exec(callCtx)
	if !uninterrupt() {
		<-interrupted
		w.forsake(client)
	}

	var err error
	if goredis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT") {
		err = w.b.run(ctx, c)
	}
	if err == nil && t.rare(c) {
		reply, err = w.b.Lease(ctx, *request)
	} else if err == nil {
		var shot *shot
		if shot, err = w.b.look(t, c); err == nil {
			shot.merge(&reply, t)
			finish(&reply, request, w.tags, w.tags)
		}
	}
	if popErr := pop.Err(); popErr != nil && !errors.Is(popErr, goredis.Nil) && (err != nil || len(reply.Leases) == 0) {
		err = popErr // it came first; and who did not wait would ask again at once
	}
	if err != nil {
		return backend.LeaseReply{}, err
	}
	return reply, nil
}

// forsake closes a client whose connections were cut.
func (w *waiter) forsake(client goredis.UniversalClient) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		_ = client.Close()
		w.client = nil
	}
}

// seconds writes a time as blocking commands take it; 0 would be for ever.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(max(d, time.Millisecond).Seconds(), 'f', 3, 64)
}

// Nudge implements backend.Waiter.
func (w *waiter) Nudge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
	case !w.leasing:
		w.nudged = true
	case w.crowd != nil:
		w.crowd.nudge()
	case w.b.begin() == nil:
		key := w.tags[0].nudge(w.name)
		go func() {
			defer w.b.running.Done()
			ctx := within(w.b.ctx, w.b.config.Timeout)
			pipe := w.b.client.Pipeline()
			pipe.RPush(ctx, key, 1)
			pipe.PExpire(ctx, key, nudgeMemory)
			_, _ = pipe.Exec(ctx) // at the latest the block ends by itself
		}()
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
	w.mu.Unlock()
	switch {
	case w.crowd != nil:
		w.crowd.close()
	case w.client != nil:
		// The lease in flight, if there is one, leases after all or does not: who
		// repeats it learns which. A bell is never taken without a lease.
		w.track.cut()
		_ = w.client.Close()
	}
	w.idle.Wait()
	w.b.mu.Lock()
	delete(w.b.waiters, w)
	w.b.mu.Unlock()
	return nil
}
