package memory_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func request(token string, limit int) backend.LeaseRequest {
	return backend.LeaseRequest{Worker: "w", Token: token, Queues: []string{"q"}, Max: limit, Duration: 15 * time.Second}
}

func TestADelayedJobIsLeasedAtItsInstantByOneWhoWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := closed(t, memory.Config{})
		waiter, err := store.Waiter([]string{"q"})
		require.NoError(t, err)
		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			batch := jobs("a")
			batch[0].Delay = 1500 * time.Millisecond
			_, _ = store.Enqueue(t.Context(), batch)
		}()
		reply, err := waiter.Lease(t.Context(), request("w.1", 1), time.Hour)
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(start), "woken by the enqueue, to learn NextDue")
		require.Empty(t, reply.Leases)
		reply, err = waiter.Lease(t.Context(), request("w.2", 1), reply.NextDue.Sub(reply.Now))
		require.NoError(t, err)
		require.Equal(t, 2500*time.Millisecond, time.Since(start))
		require.Len(t, reply.Leases, 1)
		require.NoError(t, waiter.Close())
	})
}

func TestALeaseEndsAtItsInstantAndNotBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := closed(t, memory.Config{})
		_, err := store.Enqueue(t.Context(), jobs("a"))
		require.NoError(t, err)
		reply, err := store.Lease(t.Context(), request("w.1", 1))
		require.NoError(t, err)
		require.Equal(t, 15*time.Second, time.Until(reply.Leases[0].ExpiresAt))

		time.Sleep(15*time.Second - 1)
		reply, err = store.Lease(t.Context(), request("w.2", 1))
		require.NoError(t, err)
		require.Empty(t, reply.Leases)
		time.Sleep(time.Nanosecond)
		reply, err = store.Lease(t.Context(), request("w.3", 1))
		require.NoError(t, err)
		require.Len(t, reply.Leases, 1)
		require.Equal(t, 1, reply.Leases[0].Crashes)
	})
}

func TestAFinishedJobIsForgottenByWhoeverLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := closed(t, memory.Config{})
		_, err := store.Enqueue(t.Context(), jobs("a", "b"))
		require.NoError(t, err)
		_, err = store.Cancel(t.Context(), "q", []string{"a", "b"})
		require.NoError(t, err)
		time.Sleep(7*24*time.Hour - time.Millisecond)
		_, err = store.Job(t.Context(), "q", "a")
		require.NoError(t, err)
		time.Sleep(time.Millisecond)
		_, err = store.Job(t.Context(), "q", "a")
		require.ErrorIs(t, err, backend.ErrNotFound)
		info, err := store.Queue(t.Context(), "q")
		require.NoError(t, err)
		require.Zero(t, info.Counts[backend.StateCancelled])
		require.Zero(t, info.Trimmed)
	})
}

func TestOneWaiterIsWokenPerEnqueueAndThoseWhoWaitLongestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := closed(t, memory.Config{})
		var mu sync.Mutex
		var woken []int
		for i := range 3 {
			waiter, err := store.Waiter([]string{"q"})
			require.NoError(t, err)
			go func() {
				token := fmt.Sprint("w.", i)
				if reply, err := waiter.Lease(t.Context(), request(token, 1), time.Hour); err == nil && len(reply.Leases) == 1 {
					mu.Lock()
					defer mu.Unlock()
					woken = append(woken, i)
				}
			}()
			synctest.Wait()
		}
		for n, id := range []string{"a", "b", "c"} {
			_, err := store.Enqueue(t.Context(), jobs(id))
			require.NoError(t, err)
			synctest.Wait()
			mu.Lock()
			require.Equal(t, []int{0, 1, 2}[:n+1], woken)
			mu.Unlock()
		}
	})
}

func TestAStoreHasNoGoroutines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// A goroutine of the store that is still there when this function
		// returns would fail the bubble.
		store := openWith(t, memory.Config{})
		batch := jobs("a", "b")
		batch[1].Delay = time.Minute
		_, err := store.Enqueue(t.Context(), batch)
		require.NoError(t, err)
		_, err = store.Lease(t.Context(), request("w.1", 1))
		require.NoError(t, err)
	})
}

func TestWorkersThatVanishAreForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	store := closed(t, memory.Config{})
	_, err := store.Enqueue(t.Context(), jobs("a"))
	require.NoError(t, err)
	lease := func(worker string) int {
		r := request(worker+".1", 1)
		r.Worker = worker
		reply, err := store.Lease(t.Context(), r)
		require.NoError(t, err)
		return len(reply.Leases)
	}
	require.Equal(t, 1, lease("first"))
	for i := range 1000 {
		lease(fmt.Sprint("worker", i))
	}
	require.Equal(t, 1, lease("first"), "the last call is remembered")
	for i := range 1100 {
		lease(fmt.Sprint("other", i))
	}
	require.Zero(t, lease("first"))
}
