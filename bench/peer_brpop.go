package main

import (
	"context"
	"errors"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// brpopPeer is the plainest worker that there is: one goroutine that waits in
// BRPOP. It loses the job that it holds when it crashes. It is the reference for
// how fast a pickup can be.
var brpopPeer = &peer{
	name: "brpop", about: "LPUSH and a goroutine in BRPOP, no promises",
	open: func(p place) (store, error) { return &brpopStore{redis: p.client()}, nil },
}

const brpopKey = "brpop"

type brpopStore struct{ redis *goredis.Client }

func (s *brpopStore) enqueue(ctx context.Context, n int) error {
	return s.redis.LPush(ctx, brpopKey, rawPayload(n)).Err()
}

func (s *brpopStore) enqueueAfter(ctx context.Context, n int, delay time.Duration) error {
	if delay != 0 {
		return errNoDelay
	}
	return s.enqueue(ctx, n)
}

func (s *brpopStore) enqueueMany(ctx context.Context, first, count int) error {
	for n := first; n < first+count; n++ {
		if err := s.enqueue(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *brpopStore) start(ctx context.Context, c workerConfig) (worker, error) {
	w := &brpopWorker{}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	w.running.Go(func() {
		for w.ctx.Err() == nil {
			reply, err := s.redis.BRPop(w.ctx, time.Second, brpopKey).Result()
			switch {
			case err == nil:
				c.handle(w.ctx, numberOf(reply[1]))
			case errors.Is(err, goredis.Nil):
			default:
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	return w, nil
}

type brpopWorker struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

func (w *brpopWorker) stop(context.Context) error {
	w.cancel()
	w.running.Wait()
	return nil
}

func (s *brpopStore) left(ctx context.Context) (int64, error) {
	return s.redis.LLen(ctx, brpopKey).Result()
}

func (s *brpopStore) close() error { return s.redis.Close() }
