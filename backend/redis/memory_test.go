package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

func TestAWaitingJobOf100BytesCostsAtMost250(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, unhurried)
	used := func() (n int64) {
		info := client.InfoMap(ctx, "memory").Val()
		_, err := fmt.Sscan(info["Memory"]["used_memory"], &n)
		require.NoError(t, err)
		return n
	}
	_, err := store.Enqueue(ctx, ids("w-", 0, 1))
	require.NoError(t, err)
	before := used()
	const jobs = 65_000 // just below a resize of the hash table, at which each job costs most of its share
	for n := 0; n < jobs; n += 1000 {
		_, err := store.Enqueue(ctx, ids("a-", n, 1000))
		require.NoError(t, err)
	}
	each := float64(used()-before) / jobs
	t.Logf("%.0f bytes per waiting job", each)
	require.LessOrEqual(t, each, 250.0)
}

// lesson: a script that calls unpack on more than about 8,000 values fails half
// way with its first writes applied.
func TestTheLargestBatchGoesThroughEveryVerb(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{Timeout: 20 * time.Second})
	jobs := ids("a-", 0, backend.MaxBatch)
	var names []string
	for _, j := range jobs {
		names = append(names, j.ID)
	}
	_, err := store.Enqueue(ctx, jobs)
	require.NoError(t, err)
	leases := lease(t, store, "w", backend.MaxBatch)
	require.Len(t, leases, backend.MaxBatch)
	finish(t, store, "w", leases, backend.OutcomeDead)
	act := func(verb func(context.Context, string, []string) ([]backend.ActResult, error)) {
		results, err := verb(ctx, "mail", names)
		require.NoError(t, err)
		for _, r := range results {
			require.NoError(t, r.Err)
		}
	}
	act(store.Retry)
	act(store.RunNow)
	act(store.Cancel)
	act(store.Delete)
	info, err := store.Queue(ctx, "mail")
	require.NoError(t, err)
	for state, n := range info.Counts {
		require.Zero(t, n, state)
	}
	require.Empty(t, lease(t, store, "other", backend.MaxBatch), "ghosts are no jobs")
}

func TestAWorkerThatStartsWhileTheStoreIsFullDrainsIt(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	const namespace = "full"
	producer := open(t, client, redis.Config{Namespace: namespace})
	_, err := producer.Enqueue(ctx, ids("a-", 0, 3))
	require.NoError(t, err)
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	_, err = producer.Enqueue(ctx, ids("b-", 0, 1))
	require.ErrorIs(t, err, backend.ErrFull)

	worker := open(t, client, redis.Config{Namespace: namespace})
	queues := []string{"new", "mail"}
	_, err = worker.Sweep(ctx, backend.SweepRequest{Queues: queues, Duration: 10 * time.Second})
	require.NoError(t, err)
	waiter, err := worker.Waiter(queues)
	require.NoError(t, err)
	reply, err := waiter.Lease(ctx, backend.LeaseRequest{
		Worker: "w", Token: "w.0", Queues: queues, Max: 10, Duration: 10 * time.Second,
	}, time.Millisecond)
	require.NoError(t, err)
	require.Len(t, reply.Leases, 3)
	finish(t, worker, "w", reply.Leases, backend.OutcomeCompleted)

	_, err = worker.Queue(ctx, "new")
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
	_, err = worker.Sweep(ctx, backend.SweepRequest{Queues: queues, Duration: 10 * time.Second})
	require.NoError(t, err)
	_, err = worker.Queue(ctx, "new")
	require.NoError(t, err, "it is entered as soon as there is room")
}
