package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/jobs"
)

var (
	caddisPeer = &peer{
		name: "caddis", about: "defaults, JSON payloads", batches: true,
		open: func(p place) (store, error) {
			client := p.client()
			b, err := redis.New(client, redis.Config{Logger: quietLogger})
			if err != nil {
				return nil, err
			}
			return openCaddis(b, client)
		},
	}
	memoryPeer = &peer{
		name: "memory", about: "caddis on its memory backend, JSON payloads", batches: true, embedded: true,
		open: func(place) (store, error) {
			b, err := memory.New(memory.Config{})
			if err != nil {
				return nil, err
			}
			return openCaddis(b, nil)
		},
	}
)

// quietLogger lets errors through and nothing else.
var quietLogger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))

// task is the args of the jobs: its JSON has payloadSize bytes.
type task struct {
	N   int    `json:"n"`
	Pad string `json:"pad"`
}

func (task) Kind() string { return "task" }

func newTask(n int) task {
	var digits [20]byte
	frame := len(`{"n":,"pad":""}`) + len(strconv.AppendInt(digits[:0], int64(n), 10))
	return task{N: n, Pad: filler[:payloadSize-frame]}
}

// caddisStore uses the public API only.
type caddisStore struct {
	backend backend.Backend
	client  *jobs.Client
	redis   *goredis.Client // nil for the memory backend
}

func openCaddis(b backend.Backend, client *goredis.Client) (store, error) {
	c, err := jobs.NewClient(b, jobs.ClientConfig{})
	if err != nil {
		return nil, err
	}
	return &caddisStore{backend: b, client: c, redis: client}, nil
}

func (s *caddisStore) enqueue(ctx context.Context, n int) error {
	_, err := s.client.Enqueue(ctx, newTask(n))
	return err
}

func (s *caddisStore) enqueueAfter(ctx context.Context, n int, delay time.Duration) error {
	if delay == 0 {
		return s.enqueue(ctx, n)
	}
	_, err := s.client.Enqueue(ctx, newTask(n), jobs.In(delay))
	return err
}

func (s *caddisStore) enqueueMany(ctx context.Context, first, count int) error {
	items := make([]jobs.Item, count)
	for i := range items {
		items[i] = jobs.New(newTask(first + i))
	}
	_, err := s.client.EnqueueMany(ctx, items...)
	return err
}

// system makes a worker that has not been started.
func (s *caddisStore) system(c workerConfig) (*caddis.System, error) {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[task]) error {
		c.handle(ctx, job.Args.N)
		return nil
	})
	return caddis.New(caddis.Config{
		Backend: s.backend, Registry: registry, Queues: c.queues, Concurrency: c.concurrency, Lease: c.lease, Logger: quietLogger,
	})
}

func (s *caddisStore) start(ctx context.Context, c workerConfig) (worker, error) {
	system, err := s.system(c)
	if err != nil {
		return nil, err
	}
	return caddisWorker{system}, system.Start(ctx)
}

type caddisWorker struct{ system *caddis.System }

func (w caddisWorker) stop(ctx context.Context) error {
	_, err := w.system.Stop().Wait(ctx)
	return err
}

func (s *caddisStore) left(ctx context.Context) (int64, error) {
	if s.redis != nil {
		return s.redis.HLen(ctx, redis.DefaultNamespace+":{"+jobs.DefaultQueue+"}:jobs").Result()
	}
	q, err := s.client.Queue(ctx, jobs.DefaultQueue)
	if errors.Is(err, backend.ErrNotFound) {
		return 0, nil
	}
	var n int64
	for _, state := range []backend.State{backend.StateScheduled, backend.StateWaiting, backend.StateBlocked, backend.StateRunning} {
		n += q.Counts[state]
	}
	return n, err
}

func (s *caddisStore) close() error {
	err := s.backend.Close()
	if s.redis != nil {
		err = errors.Join(err, s.redis.Close())
	}
	return err
}

// caddisCycle makes the life of a batch of the verbs of the backend: enqueue,
// lease, settle.
type caddisCycle struct {
	store *caddisStore
	calls uint64
}

func (c *caddisCycle) load(context.Context) error { return nil } // the backend does it

func (c *caddisCycle) step(ctx context.Context, first, count int, mark func(n int)) error {
	if err := c.store.enqueueMany(ctx, first, count); err != nil {
		return err
	}
	c.calls++
	const worker = "bench"
	reply, err := c.store.backend.Lease(ctx, backend.LeaseRequest{
		Worker: worker, Token: worker + "." + strconv.FormatUint(c.calls, 10), Queues: []string{jobs.DefaultQueue},
		Max: count, Duration: 15 * time.Second,
	})
	if err != nil {
		return err
	}
	settlements := make([]backend.Settlement, len(reply.Leases))
	for i := range reply.Leases {
		lease := &reply.Leases[i]
		mark(numberOf(lease.Job.Payload[len(`{"n":`):]))
		settlements[i] = backend.Settlement{
			Queue: lease.Job.Queue, ID: lease.Job.ID, Token: lease.Token, Outcome: backend.OutcomeCompleted,
		}
	}
	results, err := c.store.backend.Settle(ctx, backend.SettleRequest{Worker: worker, Call: c.calls, Settlements: settlements})
	for i := range results {
		if results[i].Stale || results[i].Err != nil {
			return fmt.Errorf("settlement of job %s: stale %v, error %w", results[i].State, results[i].Stale, results[i].Err)
		}
	}
	return err
}
