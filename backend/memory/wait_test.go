package memory

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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
		go func() { interrupted <- first.Wait(ctx, time.Hour) }()
		synctest.Wait()
		go func() { woken <- second.Wait(t.Context(), time.Hour) }()
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
