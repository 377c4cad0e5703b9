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

func TestAJobGoesThroughItsLife(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	store, err := redis.New(client, redis.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()

	var jobs []backend.NewJob
	for i := range 10 {
		jobs = append(jobs, backend.NewJob{Job: backend.Job{ID: fmt.Sprint("job-", i), Queue: "mail", Kind: "welcome", Payload: []byte("{}")}})
	}
	receipts, err := store.Enqueue(ctx, jobs)
	require.NoError(t, err)
	require.Equal(t, backend.Receipt{Queue: "mail", ID: "job-0", State: backend.StateWaiting}, receipts[0])
	receipts, err = store.Enqueue(ctx, jobs[:1])
	require.NoError(t, err)
	require.True(t, receipts[0].Existing)

	request := backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 6, Duration: 10 * time.Second}
	reply, err := store.Lease(ctx, request)
	require.NoError(t, err)
	require.Len(t, reply.Leases, 6)
	require.True(t, reply.More)
	again, err := store.Lease(ctx, request)
	require.NoError(t, err)
	for i := range again.Leases { // a repeated call renews
		require.False(t, again.Leases[i].ExpiresAt.Before(reply.Leases[i].ExpiresAt))
		again.Leases[i].ExpiresAt = reply.Leases[i].ExpiresAt
	}
	require.Equal(t, reply.Leases, again.Leases)

	settle := backend.SettleRequest{Worker: "w", Call: 1}
	for _, lease := range reply.Leases {
		settle.Settlements = append(settle.Settlements, backend.Settlement{
			Queue: "mail", ID: lease.Job.ID, Token: lease.Token, Outcome: backend.OutcomeCompleted,
		})
	}
	first, err := store.Settle(ctx, settle)
	require.NoError(t, err)
	second, err := store.Settle(ctx, settle)
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.Equal(t, backend.StateCompleted, first[5].State)

	info, err := store.Queue(ctx, "mail")
	require.NoError(t, err)
	require.EqualValues(t, 4, info.Counts[backend.StateWaiting])
	require.EqualValues(t, 6, info.Completed)
}
