package memory

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestAdvanceMakesJobsDueAndWakesWhoWaitsForThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := New(Config{})
		require.NoError(t, err)
		start := time.Now()
		_, err = store.Enqueue(t.Context(), []backend.NewJob{{
			Job: backend.Job{ID: "later", Queue: "q", Kind: "k"}, Delay: time.Hour,
		}})
		require.NoError(t, err)
		w, err := store.Waiter([]string{"q"})
		require.NoError(t, err)
		require.NoError(t, leaseBy(t.Context(), w)) // the ring of the enqueue
		woken := make(chan backend.LeaseReply)
		go func() {
			reply, _ := w.Lease(context.Background(), backend.LeaseRequest{
				Worker: "w", Token: "w.2", Queues: []string{"q"}, Max: 1, Duration: time.Minute,
			}, 24*time.Hour)
			woken <- reply
		}()
		synctest.Wait()

		now := store.Advance(time.Hour)

		reply := <-woken
		require.Len(t, reply.Leases, 1)
		require.Equal(t, start.Add(time.Hour).UTC(), now)
		require.Equal(t, now, reply.Now)
		require.Zero(t, time.Since(start), "nobody has slept")
	})
}

func TestAdvanceLeavesTheLeases(t *testing.T) {
	t.Parallel()
	store, err := New(Config{})
	require.NoError(t, err)
	_, err = store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "j", Queue: "q", Kind: "k"}}})
	require.NoError(t, err)
	request := backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"q"}, Max: 1, Duration: time.Hour}
	_, err = store.Lease(t.Context(), request)
	require.NoError(t, err)

	now := store.Advance(48 * time.Hour)

	request.Token = "w.2"
	reply, err := store.Lease(t.Context(), request)
	require.NoError(t, err)
	require.Empty(t, reply.Leases, "the job is still leased")
	job, err := store.Job(t.Context(), "q", "j")
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(time.Hour), job.LeaseExpiresAt, time.Minute, "by the clock as it is now")
}

func TestTheClockGoesNeitherBackNorRound(t *testing.T) {
	t.Parallel()
	store, err := New(Config{})
	require.NoError(t, err)

	before := store.Advance(0)
	require.False(t, store.Advance(-time.Hour).Before(before))
	for range 4 {
		before = store.Advance(1<<63 - 1)
	}
	require.False(t, store.Advance(time.Hour).Before(before))
}
