package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// inLanes has the jobs wait in so many lanes.
func inLanes(jobs []backend.NewJob, lanes int) []backend.NewJob {
	for i := range jobs {
		jobs[i].Lane = backend.Lane{Key: fmt.Sprint("lane ", i%lanes)}
	}
	return jobs
}

func waitingIn(t *testing.T, store *redis.Backend) (waiting []int) {
	t.Helper()
	info, err := store.Lanes(context.Background(), backend.LanesQuery{Queue: "mail"})
	require.NoError(t, err)
	for _, l := range info.Lanes {
		waiting = append(waiting, l.Waiting)
	}
	return waiting
}

func TestALostReplyGivesNoLaneASecondTurn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	store, c, _ := cuttingAt(t)
	for _, l := range lease(t, store, "warm", 10) {
		finish(t, store, "cold", []backend.Lease{l}, backend.OutcomeCompleted)
	}
	c.armed.Store(2)
	receipts, err := store.Enqueue(ctx, inLanes(fresh(ids("a-", 0, 8)), 2))
	require.NoError(t, err)
	for _, r := range receipts {
		require.Equal(t, backend.StateWaiting, r.State)
		require.False(t, r.Existing)
	}
	require.Equal(t, []int{4, 4}, waitingIn(t, store))

	request := backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 4, Duration: 10 * time.Second}
	c.armed.Store(twice)
	_, err = store.Lease(ctx, request)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	reply, err := store.Lease(ctx, request)
	require.NoError(t, err)
	require.Len(t, reply.Leases, 4)
	require.Equal(t, []int{2, 2}, waitingIn(t, store))

	settle := backend.SettleRequest{Worker: "w", Call: 7, Settlements: settlementsOf(reply.Leases[:2], backend.OutcomeReleased)}
	c.armed.Store(twice)
	_, err = store.Settle(ctx, settle)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	_, err = store.Settle(ctx, settle)
	require.NoError(t, err)
	again := lease(t, store, "v", 2)
	require.Equal(t, idsOf(reply.Leases[:2]), idsOf(again), "they come first")
	require.Len(t, lease(t, store, "u", 10), 4)
	require.Empty(t, waitingIn(t, store))
}

func TestNothingIsLeftOfLanesWhoseJobsAreOverAndLeasesTakeTheCommonPathAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := directly(t, server)
	store := open(t, client, unhurried)
	const lanes = 1500
	_, err := store.Enqueue(ctx, inLanes(fresh(ids("a-", 0, 2*lanes)), lanes))
	require.NoError(t, err)
	call := uint64(0)
	settle := func(leases []backend.Lease, outcome backend.Outcome) {
		call++
		_, err := store.Settle(ctx, backend.SettleRequest{Worker: "w", Call: call, Settlements: settlementsOf(leases, outcome)})
		require.NoError(t, err)
	}
	turn := 0
	take := func(n int) []backend.Lease {
		turn++
		reply, err := store.Lease(ctx, backend.LeaseRequest{
			Worker: "w", Token: fmt.Sprint("w.", turn), Queues: []string{"mail"}, Max: n, Duration: time.Minute,
		})
		require.NoError(t, err)
		return reply.Leases
	}
	leases := take(lanes)
	require.Len(t, leases, lanes, "in several scripts")
	for from, outcome := range map[int]backend.Outcome{
		0: backend.OutcomeCompleted, 300: backend.OutcomeDead, 600: backend.OutcomeReleased, 900: backend.OutcomeRetry, 1200: backend.OutcomeCancelled,
	} {
		settle(leases[from:from+300], outcome)
	}
	names := []string{}
	for _, j := range ids("a-", 2*lanes-100, 100) {
		names = append(names, j.ID)
	}
	_, err = store.Cancel(ctx, "mail", names[:50])
	require.NoError(t, err)
	_, err = store.Delete(ctx, "mail", names[50:])
	require.NoError(t, err)
	for leases := take(1000); len(leases) > 0; leases = take(1000) {
		settle(leases, backend.OutcomeCompleted)
	}
	require.Eventually(t, func() bool {
		_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: time.Minute})
		require.NoError(t, err)
		require.Empty(t, take(1))
		return client.Exists(ctx, client.Keys(ctx, "*:lanes").Val()...).Val() == 0 && len(client.Keys(ctx, "*:laneof").Val()) == 0
	}, 10*time.Second, time.Millisecond)
	meta := metaOf(t, client)
	require.Contains(t, meta, "common")
	require.NotContains(t, meta, "virtual")
}

func metaOf(t *testing.T, client goredis.Cmdable) map[string]string {
	t.Helper()
	keys, err := client.Keys(context.Background(), "*{mail}:meta").Result()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	return client.HGetAll(context.Background(), keys[0]).Val()
}

// A program of an older version, which knows nothing of lanes, may settle a job; or the server
// has lost a part.
func TestLanesOfJobsThatAreGoneAreForgottenBySweeps(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := directly(t, server)
	store := open(t, client, unhurried)
	_, err := store.Enqueue(ctx, inLanes(fresh(ids("a-", 0, 40)), 4))
	require.NoError(t, err)
	require.NoError(t, client.Del(ctx, client.Keys(ctx, "*{mail}:jobs").Val()...).Err())
	require.Eventually(t, func() bool {
		_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: time.Minute})
		require.NoError(t, err)
		return len(client.Keys(ctx, "*:lane*").Val()) == 0
	}, 10*time.Second, time.Millisecond)
}

func TestEachShardHasLanesAndTheyAreToldTogether(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{DefaultShards: 3})
	_, err := store.Enqueue(ctx, inLanes(fresh(ids("a-", 0, 60)), 2))
	require.NoError(t, err)
	require.Equal(t, []int{30, 30}, waitingIn(t, store))
	require.Len(t, lease(t, store, "w", 60), 60)
}
