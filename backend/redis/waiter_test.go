package redis_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

var tokens atomic.Int64

// asking is a new request for a job of these queues.
func asking(queues ...string) backend.LeaseRequest {
	return backend.LeaseRequest{
		Worker: "w", Token: fmt.Sprint("w.", tokens.Add(1)), Queues: queues, Max: 1, Duration: time.Minute,
	}
}

func TestNoGoroutineIsLeftAfterClose(t *testing.T) {
	// Not parallel: it counts goroutines.
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	before := goleak.IgnoreCurrent()
	client := server.Client()
	store, err := redis.New(client, redis.Config{})
	require.NoError(t, err)
	waiter, err := store.Waiter([]string{"mail", "other"})
	require.NoError(t, err)
	_, err = waiter.Lease(ctx, asking("mail", "other"), 10*time.Millisecond)
	require.NoError(t, err)
	listening := make(chan error, 1)
	go func() { listening <- store.Listen(ctx, func(backend.Command) {}) }()
	_, err = store.Enqueue(ctx, ids("a-", 0, 1))
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.ErrorIs(t, <-listening, backend.ErrClosed)
	_, err = waiter.Lease(ctx, asking("mail", "other"), time.Second)
	require.ErrorIs(t, err, backend.ErrClosed)
	_, err = store.Enqueue(ctx, ids("b-", 0, 1))
	require.ErrorIs(t, err, backend.ErrClosed)
	require.NoError(t, client.Ping(ctx).Err(), "the user's client stays open")
	require.NoError(t, client.Close())
	goleak.VerifyNone(t, before)
}

func TestAnIdleWaiterHardlyAsks(t *testing.T) {
	t.Parallel()
	for _, queues := range [][]string{{"mail"}, {"mail", "a", "b"}} {
		t.Run(fmt.Sprint(len(queues), " queues"), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			_, client := standalone(t, redistest.Options{})
			store := open(t, client, redis.Config{})
			waiter, err := store.Waiter(queues)
			require.NoError(t, err)
			_, err = waiter.Lease(ctx, asking(queues...), 100*time.Millisecond)
			require.NoError(t, err)
			require.NoError(t, client.ConfigResetStat(ctx).Err())
			const waits = 3
			start := time.Now()
			for range waits {
				_, err = waiter.Lease(ctx, asking(queues...), 5*time.Second)
				require.NoError(t, err)
			}
			require.GreaterOrEqual(t, time.Since(start), waits*4500*time.Millisecond)
			stats, err := client.Info(ctx, "commandstats").Result()
			require.NoError(t, err)
			require.LessOrEqual(t, commandCalls(t, stats, "evalsha"), waits*len(queues)+2, stats)
			require.LessOrEqual(t, commandCalls(t, stats, "blpop"), 2*waits, stats)
		})
	}
}

// The blocking command of the server ends up to a tenth of a second late.
func TestAWaiterKeepsItsLimit(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{})
	waiter, err := store.Waiter([]string{"mail"})
	require.NoError(t, err)
	var late []time.Duration
	for range 20 {
		start := time.Now()
		_, err := waiter.Lease(ctx, asking("mail"), 50*time.Millisecond)
		require.NoError(t, err)
		late = append(late, time.Since(start)-50*time.Millisecond)
	}
	slices.Sort(late)
	t.Logf("late by %v in the middle, %v at most", late[10], late[19])
	require.GreaterOrEqual(t, late[10], time.Duration(0))
	require.Less(t, late[0], 200*time.Millisecond, "at best; by the server's own limit all would be later")
}

// commandCalls reads from the statistics how often a command was called.
func commandCalls(t *testing.T, stats, command string) (n int) {
	t.Helper()
	_, rest, found := strings.Cut(stats, "cmdstat_"+command+":calls=")
	if found {
		_, err := fmt.Sscanf(rest, "%d,", &n)
		require.NoError(t, err)
	}
	return n
}

// deaf is a connection whose end the server does not see.
type deaf struct {
	net.Conn
	mu     sync.Mutex
	closed bool
}

func (c *deaf) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.Conn.SetDeadline(time.Unix(1, 0))
}

func (c *deaf) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.Conn.SetReadDeadline(at)
}

// A lease that was sent with a blocking command may be carried out long after its
// sender has gone, when a line breaks and the server does not notice.
func TestALeaseThatComesLateTakesNothingAndRingsForOthers(t *testing.T) {
	t.Parallel()
	for _, newer := range []bool{false, true} {
		t.Run(fmt.Sprint("after a newer one: ", newer), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			server, client := standalone(t, redistest.Options{})
			var opened []net.Conn
			t.Cleanup(func() {
				for _, conn := range opened {
					_ = conn.Close()
				}
			})
			options := *client.Options()
			options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, server.Addr)
				if err == nil {
					opened = append(opened, conn)
				}
				return &deaf{Conn: conn}, err
			}
			broken := goredis.NewClient(&options)
			t.Cleanup(func() { _ = broken.Close() })
			store := open(t, broken, redis.Config{Namespace: "late"})
			waiter, err := store.Waiter([]string{"mail"})
			require.NoError(t, err)
			interrupted, cancel := context.WithCancel(ctx)
			request := asking("mail")
			ended := make(chan error, 1)
			go func() {
				_, err := waiter.Lease(interrupted, request, time.Hour)
				ended <- err
			}()
			require.Eventually(t, func() bool {
				return strings.Contains(client.ClientList(ctx).Val(), "cmd=blpop")
			}, patience, time.Millisecond)
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			request.Max = 0
			reply, err := store.Lease(ctx, request)
			require.NoError(t, err)
			require.Empty(t, reply.Leases)
			if newer {
				again := asking("mail")
				reply, err = store.Lease(ctx, again)
				require.NoError(t, err)
				require.Empty(t, reply.Leases)
			}
			require.Contains(t, client.ClientList(ctx).Val(), "cmd=blpop", "the server has not noticed")

			other, err := open(t, client, redis.Config{Namespace: "late"}).Waiter([]string{"mail"})
			require.NoError(t, err)
			_, err = store.Enqueue(ctx, ids("a-", 0, 1))
			require.NoError(t, err)
			asked := asking("mail")
			asked.Worker, asked.Token = "other", "other."+asked.Token
			start := begin()
			reply, err = other.Lease(ctx, asked, time.Hour)
			require.NoError(t, err)
			require.Len(t, reply.Leases, 1)
			start.within(t, 4*time.Second, "until the bell was rung for it")
			require.NotContains(t, client.ClientList(ctx).Val(), "cmd=blpop", "the late one was carried out")
		})
	}
}

// lesson: a worker that is alive but consumes nothing after Redis dropped the
// connection.
func TestAWaiterRecoversWhenTheServerComesBack(t *testing.T) {
	t.Parallel()
	for _, queues := range [][]string{{"mail"}, {"mail", "a"}} {
		t.Run(fmt.Sprint(len(queues), " queues"), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			server, client := standalone(t, redistest.Options{AppendFsync: "always"})
			store := open(t, client, redis.Config{})
			waiter, err := store.Waiter(queues)
			require.NoError(t, err)
			_, err = waiter.Lease(ctx, asking(queues...), 10*time.Millisecond)
			require.NoError(t, err)
			server.Kill()
			_, err = waiter.Lease(ctx, asking(queues...), 5*time.Second)
			require.ErrorIs(t, err, backend.ErrUnavailable)
			server.Restart()
			_, err = store.Enqueue(ctx, ids("a-", 0, 1))
			require.NoError(t, err)
			start := begin()
			for {
				reply, err := waiter.Lease(ctx, asking(queues...), 10*time.Second)
				if err == nil && len(reply.Leases) == 1 {
					break
				}
				require.Less(t, time.Since(start.began), patience)
			}
			start.within(t, 5*time.Second, "until the job came")
		})
	}
}
