package backendtest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var cancelTests = []test{
	{"a job that does not run is cancelled at once", func(k *kit) {
		k.enqueueAll("blocked", "waiting")
		w := k.worker("w")
		w.settled(w.leaseOne("blocked"), backend.OutcomeBlocked, backend.StateBlocked)
		k.enqueue(job("scheduled", delay(never)))
		ids := []string{"scheduled", "waiting", "blocked"}
		results, err := k.Cancel(k.ctx, "q", ids)
		require.NoError(k, err)
		for i, id := range ids {
			require.Equal(k, backend.ActResult{ID: id, State: backend.StateCancelled}, results[i])
			require.True(k, k.get(id).KeptUntil.After(time.Now()))
		}
		require.Empty(k, w.lease(10))
		require.Empty(k, w.send(w.request(0)).Blocked)
		k.requireCounts(map[backend.State]int64{backend.StateCancelled: 3})
		require.EqualValues(k, 3, k.info().Cancelled)
	}},
	{"a running job keeps the request with its lease and its outcome decides", func(k *kit) {
		// lesson: a cancel must not lead to a retry.
		w := k.worker("w")
		for outcome, want := range map[backend.Outcome]backend.State{
			backend.OutcomeCompleted: backend.StateCompleted,
			backend.OutcomeRetry:     backend.StateCancelled,
			backend.OutcomeSnoozed:   backend.StateCancelled,
			backend.OutcomeReleased:  backend.StateCancelled,
			backend.OutcomeBlocked:   backend.StateCancelled,
			backend.OutcomeCancelled: backend.StateCancelled,
			backend.OutcomeDead:      backend.StateDead,
		} {
			k.enqueueAll("a")
			lease := w.leaseOne("a")
			require.False(k, w.renew(lease, long, nil).CancelRequested)
			k.acted(k.Cancel, "a", backend.StateRunning)
			k.acted(k.Cancel, "a", backend.StateRunning)
			info := k.get("a")
			require.Equal(k, backend.StateRunning, info.State)
			require.True(k, info.CancelRequested)
			require.True(k, w.renew(lease, long, []byte("progress")).CancelRequested)
			require.True(k, k.get("a").CancelRequested, "progress leaves the request")
			w.settled(lease, outcome, want, after(never), keep(never), with(backend.History{Attempts: 1}))
			info = k.get("a")
			require.Equal(k, want, info.State, "%v", outcome)
			require.False(k, info.CancelRequested)
			require.Equal(k, 1, info.Attempts)
			k.requireCounts(map[backend.State]int64{want: 1})
			require.NoError(k, k.act(k.Delete, "a").Err)
		}
		info := k.info()
		require.Equal(k, []int64{1, 5, 1}, []int64{info.Completed, info.Cancelled, info.Dead})
	}},
	{"a request to cancel does not outlive the lease", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		k.acted(k.Cancel, "a", backend.StateRunning)
		w.settled(lease, backend.OutcomeDead, backend.StateDead)
		k.acted(k.Retry, "a", backend.StateWaiting)
		lease = w.leaseOne("a")
		require.False(k, k.get("a").CancelRequested)
		require.False(k, w.renew(lease, long, nil).CancelRequested)
		w.settled(lease, backend.OutcomeRetry, backend.StateWaiting)
	}},
	{"finished jobs cannot be cancelled and a cancelled one stays so", func(k *kit) {
		k.enqueueAll("completed", "dead", "cancelled")
		w := k.worker("w")
		leases := w.lease(3)
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted, keep(never))
		w.settled(leases[1], backend.OutcomeDead, backend.StateDead)
		w.settled(leases[2], backend.OutcomeCancelled, backend.StateCancelled)
		for _, id := range []string{"completed", "dead"} {
			result := k.act(k.Cancel, id)
			require.ErrorIs(k, result.Err, backend.ErrState)
			require.Equal(k, backend.State(id), result.State)
		}
		k.acted(k.Cancel, "cancelled", backend.StateCancelled)
		require.EqualValues(k, 1, k.info().Cancelled)
	}},
	{"workers that listen hear of it", func(k *kit) {
		ids := named("a", 100)
		k.enqueueAll(ids...)
		require.Len(k, k.worker("w").lease(100), 100)
		var mu sync.Mutex
		heard := make([][]backend.Command, 2)
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return min(len(heard[0]), len(heard[1]))
		}
		ctx, cancel := context.WithCancel(k.ctx)
		defer cancel()
		ended := make(chan error, 2)
		for i := range heard {
			go func() {
				ended <- k.listen(ctx, func(c backend.Command) {
					mu.Lock()
					defer mu.Unlock()
					heard[i] = append(heard[i], c)
				})
			}()
		}
		sent := 0
		// A command is a hint and one may be lost, if only since nobody
		// listens yet.
		k.eventually("both listeners hear a command", func() bool {
			if sent < len(ids) {
				k.acted(k.Cancel, ids[sent], backend.StateRunning)
				sent++
			}
			return count() > 0
		})
		cancel()
		for range heard {
			require.ErrorIs(k, <-ended, context.Canceled)
		}
		for _, commands := range heard {
			for _, c := range commands {
				require.Equal(k, backend.CommandCancel, c.Verb)
				require.Equal(k, "q", c.Queue)
				require.Contains(k, ids[:sent], c.ID)
			}
		}
	}},
}
