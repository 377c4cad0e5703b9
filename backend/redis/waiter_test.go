package redis_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

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
	require.NoError(t, waiter.Wait(ctx, 10*time.Millisecond))
	listening := make(chan error, 1)
	go func() { listening <- store.Listen(ctx, func(backend.Command) {}) }()
	_, err = store.Enqueue(ctx, ids("a-", 0, 1))
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.ErrorIs(t, <-listening, backend.ErrClosed)
	require.ErrorIs(t, waiter.Wait(ctx, time.Second), backend.ErrClosed)
	_, err = store.Enqueue(ctx, ids("b-", 0, 1))
	require.ErrorIs(t, err, backend.ErrClosed)
	require.NoError(t, client.Ping(ctx).Err(), "the user's client stays open")
	require.NoError(t, client.Close())
	goleak.VerifyNone(t, before)
}

func TestAnIdleWaiterHardlyAsks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{})
	waiter, err := store.Waiter([]string{"mail", "a", "b"})
	require.NoError(t, err)
	require.NoError(t, waiter.Wait(ctx, 100*time.Millisecond))
	require.NoError(t, client.ConfigResetStat(ctx).Err())
	for range 20 {
		start := time.Now()
		require.NoError(t, waiter.Wait(ctx, 50*time.Millisecond))
		took := time.Since(start)
		require.GreaterOrEqual(t, took, 50*time.Millisecond)
		require.Less(t, took, 2*time.Second, "the limit is ours, not the 5 s of the blocked command")
	}
	stats, err := client.Info(ctx, "commandstats").Result()
	require.NoError(t, err)
	require.NotContains(t, stats, "cmdstat_eval")
	require.LessOrEqual(t, strings.Count(stats, "cmdstat_blpop:calls=1,"), 1)
}

// lesson: a worker that is alive but consumes nothing after Redis dropped the
// connection.
func TestAWaiterRecoversWhenTheServerComesBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, client := standalone(t, redistest.Options{AppendFsync: "always"})
	store := open(t, client, redis.Config{})
	waiter, err := store.Waiter([]string{"mail"})
	require.NoError(t, err)
	require.NoError(t, waiter.Wait(ctx, 10*time.Millisecond))
	server.Kill()
	require.ErrorIs(t, waiter.Wait(ctx, 5*time.Second), backend.ErrUnavailable)
	server.Restart()
	_, err = store.Enqueue(ctx, ids("a-", 0, 1))
	require.NoError(t, err)
	start := time.Now()
	for waiter.Wait(ctx, 10*time.Second) != nil {
		require.Less(t, time.Since(start), 5*time.Second)
	}
	require.Less(t, time.Since(start), 5*time.Second, "a limit passed where a bell was rung")
}
