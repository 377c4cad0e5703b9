package memory_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

func TestARateIsKeptWithinOnePerCentWhateverTheNumberOfWorkers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := open(t).(*memory.Backend)
		limit := backend.Limit{Class: "api", Rule: backend.LimitRule{Rate: 100, Per: time.Second, Burst: 5}}
		var batch []backend.NewJob
		for i := range 3100 {
			batch = append(batch, backend.NewJob{Job: backend.Job{ID: fmt.Sprint(i), Queue: "q", Kind: "k", Limits: []backend.Limit{limit}}})
		}
		_, err := store.Enqueue(t.Context(), batch)
		require.NoError(t, err)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var mu sync.Mutex
		starts := map[int]int{} // by tenths of a second
		var all sync.WaitGroup
		for w := range 7 {
			all.Go(func() {
				work(ctx, t, store, fmt.Sprint("w", w), func() {
					mu.Lock()
					defer mu.Unlock()
					starts[int(time.Since(began)/(100*time.Millisecond))]++
				})
			})
		}
		all.Wait()
		for from := range 200 {
			n := 0
			for tenth := range 100 {
				n += starts[from+tenth]
			}
			require.InDelta(t, 1000, n, 10, "from %d00 ms on", from)
		}
		require.NoError(t, store.Close())
	})
}

// work leases one job at a time, as soon as there is one, and completes it after 15 ms.
func work(ctx context.Context, t *testing.T, store backend.Backend, id string, started func()) {
	waiter, err := store.Waiter([]string{"q"})
	require.NoError(t, err)
	defer func() { require.NoError(t, waiter.Close()) }()
	limit := time.Duration(0)
	for n := uint64(1); ; n++ {
		reply, err := waiter.Lease(ctx, backend.LeaseRequest{
			Worker: id, Token: fmt.Sprint(id, ".", n), Queues: []string{"q"}, Max: 1, Duration: time.Minute,
		}, limit)
		if ctx.Err() != nil {
			return
		}
		require.NoError(t, err)
		if limit = 5 * time.Second; !reply.NextDue.IsZero() {
			limit = min(limit, reply.NextDue.Sub(reply.Now))
		}
		for _, l := range reply.Leases {
			started()
			time.Sleep(15 * time.Millisecond) // virtual time
			_, err := store.Settle(context.WithoutCancel(ctx), backend.SettleRequest{Worker: id, Call: n, Settlements: []backend.Settlement{
				{Queue: "q", ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeCompleted},
			}})
			require.NoError(t, err)
			limit = 0
		}
	}
}
