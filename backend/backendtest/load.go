package backendtest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var loadTests = []test{
	{"the largest batch passes through every verb", func(k *kit) {
		// lesson: a script that unpacks more than about 8,000 values fails half
		// way.
		ids := named("a", backend.MaxBatch)
		k.enqueueAll(ids...)
		for _, r := range k.enqueue(job(ids[0]), job(ids[backend.MaxBatch-1])) {
			require.True(k, r.Existing)
		}
		w := k.worker("w")
		request := w.request(backend.MaxBatch)
		leases := w.send(request).Leases
		require.Equal(k, ids, leased(leases))
		require.Len(k, w.send(request).Leases, backend.MaxBatch)
		held := make([]backend.Held, len(leases))
		for i, l := range leases {
			held[i] = backend.Held{Queue: "q", ID: l.Job.ID, Token: l.Token, Progress: []byte("x")}
		}
		renewed, err := k.Renew(k.ctx, backend.RenewRequest{Worker: "w", Duration: long, Leases: held})
		require.NoError(k, err)
		for _, r := range renewed {
			require.Equal(k, backend.RenewResult{}, r)
		}
		w.settle(settlements(leases, backend.OutcomeReleased)...)
		leases = w.lease(backend.MaxBatch)
		require.Equal(k, ids, leased(leases), "released in order")
		w.settle(settlements(leases, backend.OutcomeRetry, after(never))...)
		k.requireCounts(map[backend.State]int64{backend.StateScheduled: backend.MaxBatch})
		verbs := []struct {
			act  func() ([]backend.ActResult, error)
			want backend.State
		}{
			{func() ([]backend.ActResult, error) { return k.RunNow(k.ctx, "q", ids) }, backend.StateWaiting},
			{func() ([]backend.ActResult, error) { return k.Cancel(k.ctx, "q", ids) }, backend.StateCancelled},
			{func() ([]backend.ActResult, error) { return k.Retry(k.ctx, "q", ids) }, backend.StateWaiting},
			{func() ([]backend.ActResult, error) { return k.Delete(k.ctx, "q", ids) }, ""},
		}
		for _, v := range verbs {
			results, err := v.act()
			require.NoError(k, err)
			require.Len(k, results, backend.MaxBatch)
			for _, r := range results {
				require.NoError(k, r.Err)
				require.Equal(k, v.want, r.State)
			}
		}
		k.requireCounts(nil)
		require.Empty(k, w.lease(1))
	}},
	{"many workers and producers hand each job out once and complete it once", func(k *kit) {
		const workers, producers, each, batch = 8, 4, 500, 20
		var done atomic.Int64
		var mu sync.Mutex
		runs := map[string]int{}
		failures := make(chan error, workers+producers)
		var group sync.WaitGroup
		for p := range producers {
			group.Go(func() {
				for i := 0; i < each; i += batch {
					jobs := make([]backend.NewJob, batch)
					for n := range jobs {
						jobs[n] = job(fmt.Sprintf("%d-%d", p, i+n), priority((i+n)%5-2))
					}
					for range 2 { // the second time as if the reply had been lost
						if _, err := k.Enqueue(k.ctx, jobs); err != nil {
							failures <- err
							return
						}
					}
				}
			})
		}
		for n := range workers {
			w, waiter := k.worker(fmt.Sprint("worker-", n)), k.waiter()
			group.Go(func() {
				for start := time.Now(); done.Load() < producers*each; {
					if time.Since(start) > patience {
						failures <- fmt.Errorf("only %d jobs were completed in time", done.Load())
						return
					}
					reply, err := w.Lease(k.ctx, w.request(1+n*3))
					if err == nil && len(reply.Leases) == 0 {
						reply, err = waiter.Lease(k.ctx, w.request(1+n*3), 100*time.Millisecond)
					}
					if err != nil {
						failures <- err
						return
					}
					if len(reply.Leases) == 0 {
						continue
					}
					outcome := backend.OutcomeCompleted
					if w.tokens%7 == 0 {
						outcome = backend.OutcomeReleased
					}
					// Kept, so that a repeated enqueue finds them.
					results, err := w.Settle(k.ctx, w.settleRequest(settlements(reply.Leases, outcome, keep(never))...))
					if err != nil {
						failures <- err
						return
					}
					for i, r := range results {
						if r.Stale || r.Err != nil {
							failures <- fmt.Errorf("job %q of %s: %+v", reply.Leases[i].Job.ID, w.id, r)
							return
						}
					}
					if outcome == backend.OutcomeCompleted {
						mu.Lock()
						for _, l := range reply.Leases {
							runs[l.Job.ID]++
						}
						mu.Unlock()
						done.Add(int64(len(reply.Leases)))
					}
				}
			})
		}
		group.Wait()
		close(failures)
		for err := range failures {
			require.NoError(k, err)
		}
		require.Len(k, runs, producers*each)
		for id, n := range runs {
			require.Equal(k, 1, n, "runs of %q", id)
		}
		info := k.info()
		require.EqualValues(k, producers*each, info.Completed)
		require.Zero(k, info.Crashed)
		k.requireCounts(map[backend.State]int64{backend.StateCompleted: producers * each})
	}},
}
