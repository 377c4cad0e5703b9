// Package redis keeps jobs in Redis: one server, a master found through
// Sentinel, or a Cluster. It needs Redis 6.2 or newer.
//
//	store, err := redis.New(client, redis.Config{})
//
// The layout of the keys is described in scripts/, one file per verb. All keys
// of a queue (of one of its shards, where it has several) share a hash tag, so
// that each verb is one atomic script.
package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/internal/logs"
)

const (
	// DefaultNamespace begins all keys if Config says nothing else.
	DefaultNamespace = "caddis"
	// DefaultTimeout is how long a call may take, if Config says nothing else.
	DefaultTimeout = time.Second
	maxTimeout     = 24 * time.Hour
	// MaxShards is the largest number of shards of one queue.
	MaxShards = 1024
	// memory is how long the store remembers each caller's last call.
	memory = 10 * time.Minute
	// perSecond is how many bytes of a request are assumed to be sent and
	// worked off within a second at least; larger requests get more time.
	perSecond = 1 << 20
	// poolSize is the number of connections for calls, per server.
	poolSize = 16
)

// Config has the settings of a backend. Its zero value is of use.
type Config struct {
	// Namespace begins the name of every key; DefaultNamespace if empty. It
	// must not have braces.
	Namespace string
	// Shards says into how many shards a queue is divided, by its name;
	// DefaultShards is for all others, and 1 if it is 0. With several shards a
	// queue can use several servers of a Cluster, and its order is kept per
	// shard only. The number is stored when the queue is first used and cannot
	// be changed afterwards.
	Shards        map[string]int
	DefaultShards int
	// Retention bounds the finished jobs that are kept. In it a Count or Bytes
	// of 0 is no bound, and so is an Age of 0 for cancelled and dead jobs.
	Retention backend.RetentionPolicy
	// Timeout is how long a call waits for the store before it fails with
	// backend.ErrUnavailable; DefaultTimeout if 0, and a day at most. A request gets a second more
	// per MiB, and an answer as long as it takes while no pause in it is longer
	// than Timeout. Where the line is so slow that there is no time in it to open a
	// connection, calls have four times as long, for a minute.
	Timeout time.Duration
	// Logger gets what the backend has to say; slog.Default() if nil.
	Logger *slog.Logger
}

// Backend is a job store in Redis.
type Backend struct {
	config    Config
	retention string
	log       *slog.Logger
	derive    *deriver
	hub       *hub
	client    goredis.UniversalClient
	owned     goredis.UniversalClient // the client that Open made, if it did
	queues    registry
	// process tells the leases of this process from those of others.
	process  string
	plans    plans
	contact  atomic.Pointer[contact]
	patrols  patrols
	carriers carriers
	// mark is that of the store, as a worker last saw it.
	mark atomic.Pointer[string]

	closed  atomic.Bool
	ctx     context.Context
	stop    context.CancelFunc
	mu      sync.Mutex
	running sync.WaitGroup
	waiters map[*waiter]struct{}
}

var _ backend.Backend = (*Backend)(nil)

// New makes a backend on the servers of client, which may be a *redis.Client
// (also one made by NewFailoverClient) or a *redis.ClusterClient. It uses
// connections of its own, made with the options of client, and never closes
// client, which must stay open as long as the backend. New does no I/O.
func New(client goredis.UniversalClient, config Config) (*Backend, error) {
	derive, err := derive(client)
	if err != nil {
		return nil, err
	}
	if config.Namespace == "" {
		config.Namespace = DefaultNamespace
	}
	if strings.ContainsAny(config.Namespace, "{}\x00\n") {
		return nil, fmt.Errorf("redis: the namespace %q has a brace or a control character; braces mark what decides the slot of a key", config.Namespace)
	}
	if config.Timeout < 0 {
		return nil, fmt.Errorf("redis: a timeout of %v; it cannot be negative", config.Timeout)
	}
	if config.Timeout > maxTimeout {
		return nil, fmt.Errorf("redis: a timeout of %v; at most %v are possible", config.Timeout, maxTimeout)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.DefaultShards == 0 {
		config.DefaultShards = 1
	}
	if err := checkShards("queues", config.DefaultShards); err != nil {
		return nil, err
	}
	for queue, n := range config.Shards {
		if err := backend.CheckQueue(queue); err != nil {
			return nil, fmt.Errorf("redis: shards: %w", err)
		}
		if err := checkShards("queue "+queue, n); err != nil {
			return nil, err
		}
	}
	config.Retention, err = config.Retention.Fill()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	b := &Backend{
		config: config, retention: retentionArgument(config.Retention), log: config.Logger,
		derive: derive, process: rand.Text()[:12],
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.log = logs.Guard(b.log)
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.hub = newHub(config.Timeout)
	b.client = derive.client(poolSize, b.hub.tracker(), hook{repeats: true})
	b.waiters = map[*waiter]struct{}{}
	return b, nil
}

func checkShards(what string, n int) error {
	if n < 1 || n > MaxShards {
		return fmt.Errorf("redis: %d shards for %s; 1 to %d are possible", n, what, MaxShards)
	}
	return nil
}

// retentionArgument writes the policy as the scripts take it.
func retentionArgument(p backend.RetentionPolicy) string {
	bound := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	const forever = 100 * 365 * 24 * time.Hour
	var parts []string
	for i, r := range []backend.Retention{p.Completed, p.Cancelled, p.Dead} {
		age := r.Age
		if age == 0 && i > 0 {
			age = forever
		}
		parts = append(parts, fmt.Sprintf("%d %d %d", bound(int64(r.Count)), millis(age), bound(r.Bytes)))
	}
	return strings.Join(parts, " ")
}

// Close implements backend.Backend.
func (b *Backend) Close() error {
	b.mu.Lock()
	if b.closed.Swap(true) {
		b.mu.Unlock()
		return nil
	}
	waiters := b.waiters
	b.waiters = nil
	b.mu.Unlock()
	for w := range waiters {
		_ = w.Close()
	}
	b.stop()
	err := b.client.Close()
	b.carriers.close()
	b.running.Wait()
	if b.owned != nil {
		err = b.owned.Close()
	}
	return err
}

// begin registers work that Close has to wait for.
func (b *Backend) begin() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return backend.ErrClosed
	}
	b.running.Add(1)
	return nil
}

// run runs calls in one round trip and returns when they are done or ctx ends.
// The error is about ctx or the backend; those of the calls stay with them.
func (b *Backend) run(ctx context.Context, calls ...*call) error {
	if len(calls) == 0 {
		return nil
	}
	total := 0
	for _, c := range calls {
		size := 0
		for _, arg := range c.args {
			switch arg := arg.(type) {
			case string:
				size += len(arg)
			case *string:
				size += len(*arg)
			case []byte:
				size += len(arg)
			}
		}
		if size >= large {
			c.spellOut()
		}
		total += size
	}
	if carrier := b.hire(ctx); carrier != nil {
		return b.runBy(ctx, carrier, total, calls)
	}
	return b.await(ctx, total, func(ctx context.Context) { do(ctx, b.client, calls) })
}

// allowance is how long a request of size bytes may take.
func allowance(timeout time.Duration, size int64) time.Duration {
	return timeout + time.Duration(size)*time.Second/perSecond
}

func (b *Backend) allowance(size int) time.Duration {
	return allowance(b.hub.patience(), int64(size))
}

// await runs f, which talks to the store, under the deadline of a request of
// size bytes.
func (b *Backend) await(ctx context.Context, size int, f func(ctx context.Context)) error {
	if err := ctx.Err(); err != nil {
		return ended(ctx)
	}
	if err := b.begin(); err != nil {
		return err
	}
	limit := b.allowance(size)
	if ctx.Done() == nil {
		defer b.running.Done()
		f(within(ctx, limit))
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer b.running.Done()
		defer close(done)
		f(within(context.WithoutCancel(ctx), limit))
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}
