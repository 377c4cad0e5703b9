package redis_test

import (
	"context"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// lesson: a lock that leaks. The look at the holder would hide it, so this one counts.
func TestNothingIsLeftOfKeysWhoseHoldIsOver(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := goredis.NewClient(server.Options())
	t.Cleanup(func() { _ = client.Close() })
	store := open(t, client, unhurried)
	jobs := keyed(fresh(ids("a-", 0, 4)))
	jobs[1].Unique.Hold = backend.HoldUntilFinished
	jobs[2].Unique.Hold, jobs[2].Unique.For = backend.HoldForTime, time.Millisecond
	jobs[3].Unique.Hold = backend.HoldUntilFinished
	_, err := store.Enqueue(ctx, jobs)
	require.NoError(t, err)
	leases := lease(t, store, "w", 3)
	require.Len(t, leases, 3)
	finish(t, store, "w", leases, backend.OutcomeCompleted)
	_, err = store.Delete(ctx, "mail", []string{jobs[3].ID})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: 10 * time.Second})
		require.NoError(t, err)
		left, err := client.Keys(ctx, "*:hold*").Result()
		require.NoError(t, err)
		return len(left) == 0
	}, 10*time.Second, 10*time.Millisecond)
}
