package memory

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func leaseBy(ctx context.Context, w backend.Waiter) error {
	_, err := w.Lease(ctx, backend.LeaseRequest{
		Worker: "w", Token: "w.1", Queues: []string{"q"}, Max: 1, Duration: time.Minute,
	}, time.Hour)
	return err
}

// The ring comes when the first waiter has been interrupted and has not yet left
// the line.
func TestAnInterruptedWaiterHandsOnARingOfTheSameMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := New(Config{})
		require.NoError(t, err)
		first, err := store.Waiter([]string{"q"})
		require.NoError(t, err)
		second, err := store.Waiter([]string{"q"})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		interrupted, woken := make(chan error, 1), make(chan error, 1)
		go func() { interrupted <- leaseBy(ctx, first) }()
		synctest.Wait()
		go func() { woken <- leaseBy(t.Context(), second) }()
		synctest.Wait()
		start := time.Now()

		store.mu.Lock()
		cancel()
		store.queues["q"].ring()
		store.mu.Unlock()

		require.ErrorIs(t, <-interrupted, context.Canceled)
		require.NoError(t, <-woken)
		require.Zero(t, time.Since(start), "the second waiter is woken at once")
	})
}
