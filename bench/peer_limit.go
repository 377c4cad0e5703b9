package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// The limit is what Redis itself can do: the barest scripts that keep the promise
// of at least once, in batches, from a few connections, with no framework around
// them. It has no waiting, no reclaiming of expired leases, no priorities, no
// delays and no answer to a lost reply.
var limitPeer = &peer{
	name: "limit", batches: true,
	about: fmt.Sprintf("%d connections, batches of up to %d, each acknowledged in one round trip with the next fetch", limitConnections, limitBatch),
	open: func(p place) (store, error) {
		p.concurrency = max(p.concurrency, limitConnections)
		return &limitStore{redis: p.client()}, nil
	},
}

const (
	limitConnections = 4
	limitBatch       = 200
	limitLease       = 15 * time.Second
)

//go:embed scripts/limit_enqueue.lua
var limitEnqueueSource string

//go:embed scripts/limit_fetch.lua
var limitFetchSource string

//go:embed scripts/limit_ack.lua
var limitAckSource string

var (
	limitEnqueue = goredis.NewScript(limitEnqueueSource)
	limitFetch   = goredis.NewScript(limitFetchSource)
	limitAck     = goredis.NewScript(limitAckSource)
)

const (
	limitJobs    = "limit:{q}:jobs"
	limitWaiting = "limit:{q}:waiting"
	limitLeases  = "limit:{q}:leases"
	limitRunning = "limit:{q}:running"
)

type limitStore struct{ redis *goredis.Client }

// limitID has the length of a ULID.
func limitID(n int) string {
	id := []byte("00000000000000000000000000")
	var digits [20]byte
	text := strconv.AppendInt(digits[:0], int64(n), 10)
	copy(id[len(id)-len(text):], text)
	return string(id)
}

func (s *limitStore) enqueue(ctx context.Context, n int) error { return s.enqueueMany(ctx, n, 1) }

func (s *limitStore) enqueueAfter(ctx context.Context, n int, delay time.Duration) error {
	if delay != 0 {
		return errNoDelay
	}
	return s.enqueue(ctx, n)
}

func (s *limitStore) enqueueMany(ctx context.Context, first, count int) error {
	args := make([]any, 0, 2*count)
	for n := first; n < first+count; n++ {
		args = append(args, limitID(n), rawPayload(n))
	}
	return limitEnqueue.Run(ctx, s.redis, []string{limitJobs, limitWaiting}, args...).Err()
}

// load makes the server know the scripts, as a pipeline has no second try.
func (s *limitStore) load(ctx context.Context) error {
	return errors.Join(limitFetch.Load(ctx, s.redis).Err(), limitAck.Load(ctx, s.redis).Err())
}

func (s *limitStore) start(ctx context.Context, c workerConfig) (worker, error) {
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	w := &limitWorker{store: s, handle: c.handle}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for range limitConnections {
		w.running.Go(w.loop)
	}
	return w, nil
}

func (s *limitStore) left(ctx context.Context) (int64, error) {
	return s.redis.HLen(ctx, limitJobs).Result()
}

func (s *limitStore) close() error { return s.redis.Close() }

type limitWorker struct {
	store   *limitStore
	handle  handler
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	tokens  atomic.Int64
	failed  atomic.Pointer[error]
}

func (w *limitWorker) stop(context.Context) error {
	w.cancel()
	w.running.Wait()
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// loop acknowledges a batch and fetches the next in one round trip.
func (w *limitWorker) loop() {
	var done limitHeld
	for w.ctx.Err() == nil || len(done.ids) > 0 {
		next, err := w.store.turn(w.ctx, done, w.tokens.Add(1), limitBatch, w.handle)
		if err != nil {
			if w.ctx.Err() == nil {
				w.failed.Store(&err)
			}
			return
		}
		if done = next; len(done.ids) == 0 {
			select {
			case <-w.ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// limitHeld is a batch that was run and is to be acknowledged.
type limitHeld struct {
	token string
	ids   []any
}

// turn acknowledges one batch, fetches another and runs it.
func (s *limitStore) turn(ctx context.Context, done limitHeld, token int64, batch int, handle handler) (limitHeld, error) {
	next := limitHeld{token: strconv.FormatInt(token, 10)}
	pipe := s.redis.Pipeline()
	var ack *goredis.Cmd
	if len(done.ids) > 0 {
		ack = limitAck.EvalSha(ctx, pipe, []string{limitJobs, limitLeases, limitRunning}, append([]any{done.token}, done.ids...)...)
	}
	var fetch *goredis.Cmd
	if batch > 0 {
		keys := []string{limitJobs, limitWaiting, limitLeases, limitRunning}
		fetch = limitFetch.EvalSha(ctx, pipe, keys, next.token, batch, limitLease.Milliseconds())
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return next, err
	}
	if ack != nil {
		if n, _ := ack.Int(); n != len(done.ids) {
			return next, fmt.Errorf("%d of %d jobs were acknowledged", n, len(done.ids))
		}
	}
	if fetch == nil {
		return next, nil
	}
	reply, err := fetch.Slice()
	if err != nil || len(reply) == 0 {
		return next, err
	}
	bodies, ok := reply[1].([]any)
	if next.ids, _ = reply[0].([]any); !ok || len(bodies) != len(next.ids) {
		return next, errors.New("there are not as many bodies as ids")
	}
	for _, body := range bodies {
		text, _ := body.(string)
		handle(ctx, numberOf(text))
	}
	return next, nil
}

// limitCycle makes the life of a batch: enqueue, fetch, acknowledge.
type limitCycle struct {
	store *limitStore
	calls int64
}

func (c *limitCycle) load(ctx context.Context) error { return c.store.load(ctx) }

func (c *limitCycle) step(ctx context.Context, first, count int, mark func(n int)) error {
	if err := c.store.enqueueMany(ctx, first, count); err != nil {
		return err
	}
	c.calls++
	handle := func(_ context.Context, n int) { mark(n) }
	held, err := c.store.turn(ctx, limitHeld{}, c.calls, count, handle)
	if err != nil {
		return err
	}
	_, err = c.store.turn(ctx, held, 0, 0, handle)
	return err
}
