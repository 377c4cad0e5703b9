package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	goredis "github.com/redis/go-redis/v9"
)

// asynqFastCheck is how often asynq looks for work when it is told not to mind
// the load; its documentation advises against it.
const asynqFastCheck = 10 * time.Millisecond

var (
	// asynqPeer keeps asynq's default intervals.
	asynqPeer = &peer{
		name: "asynq", serial: true,
		about: "one client for all calls, connections for every job, log level error, nothing retained, payload not decoded",
		open:  func(p place) (store, error) { return openAsynq(p, 0), nil },
	}
	// asynqFastPeer looks for work a hundred times per second.
	asynqFastPeer = &peer{
		name: "asynq-fast", serial: true, about: asynqPeer.about + ", TaskCheckInterval and DelayedTaskCheckInterval 10 ms",
		open: func(p place) (store, error) { return openAsynq(p, asynqFastCheck), nil },
	}
	// asynqBusyPeer is asynq where only throughput counts: it never sleeps
	// because its queue was empty for a moment.
	asynqBusyPeer = &peer{
		name: "asynq", serial: true, about: asynqPeer.about + ", TaskCheckInterval 10 ms",
		open: func(p place) (store, error) { return openAsynq(p, asynqFastCheck), nil },
	}
)

// asynqVersion is that which this program was built with.
func asynqVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		at := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "github.com/hibiken/asynq" })
		if at >= 0 {
			return info.Deps[at].Version
		}
	}
	return "of unknown version"
}

type asynqStore struct {
	redis  *goredis.Client
	client *asynq.Client
	// check is how often to look for work; 0 leaves asynq's defaults.
	check time.Duration
}

const asynqType = "task"

func openAsynq(p place, check time.Duration) *asynqStore {
	client := p.client()
	return &asynqStore{redis: client, client: asynq.NewClientFromRedisClient(client), check: check}
}

func (s *asynqStore) enqueue(ctx context.Context, n int) error {
	_, err := s.client.EnqueueContext(ctx, asynq.NewTask(asynqType, rawPayload(n)))
	return err
}

func (s *asynqStore) enqueueAfter(ctx context.Context, n int, delay time.Duration) error {
	if delay == 0 {
		return s.enqueue(ctx, n)
	}
	_, err := s.client.EnqueueContext(ctx, asynq.NewTask(asynqType, rawPayload(n)), asynq.ProcessIn(delay))
	return err
}

func (s *asynqStore) enqueueMany(ctx context.Context, first, count int) error {
	for n := first; n < first+count; n++ {
		if err := s.enqueue(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *asynqStore) server(c workerConfig) (*asynq.Server, asynq.Handler) {
	queues := map[string]int{}
	for _, name := range c.queues {
		queues[name] = 1
	}
	config := asynq.Config{
		Concurrency: c.concurrency, Queues: queues, LogLevel: asynq.ErrorLevel,
		TaskCheckInterval: s.check, DelayedTaskCheckInterval: s.check,
		// A job that was orphaned is retried at once and not after some seconds.
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 0 },
	}
	return asynq.NewServerFromRedisClient(s.redis, config), asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		c.handle(ctx, numberOf(t.Payload()))
		return nil
	})
}

func (s *asynqStore) start(_ context.Context, c workerConfig) (worker, error) {
	server, handler := s.server(c)
	return asynqWorker{server}, server.Start(handler)
}

// run serves until TERM or INT, as asynq.Server.Run does, and says when it is
// ready.
func (s *asynqStore) run(c workerConfig, ready func()) error {
	server, handler := s.server(c)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	if err := server.Start(handler); err != nil {
		return err
	}
	ready()
	<-signals
	server.Shutdown()
	return nil
}

type asynqWorker struct{ server *asynq.Server }

func (w asynqWorker) stop(context.Context) error {
	w.server.Shutdown()
	return nil
}

func (s *asynqStore) left(ctx context.Context) (int64, error) {
	pipe := s.redis.Pipeline()
	lines := []*goredis.IntCmd{
		pipe.LLen(ctx, asynqKey("pending")), pipe.LLen(ctx, asynqKey("active")),
		pipe.ZCard(ctx, asynqKey("scheduled")), pipe.ZCard(ctx, asynqKey("retry")), pipe.ZCard(ctx, asynqKey("archived")),
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, err
	}
	var n int64
	for _, line := range lines {
		n += line.Val()
	}
	return n, nil
}

func asynqKey(what string) string { return fmt.Sprintf("asynq:{default}:%s", what) }

func (s *asynqStore) close() error { return s.redis.Close() }
