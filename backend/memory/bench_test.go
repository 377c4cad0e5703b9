package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

// batch is how many jobs one call of the benchmarks moves.
const batch = 50

// The benchmarks count jobs, not calls: ns/op is the cost of one job.

func BenchmarkEnqueue(b *testing.B) {
	store, jobs := benchStore(b), benchJobs(batch)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%100_000 == 0 {
			store = benchStore(b)
		}
		jobs[n%batch].ID = fmt.Sprint("job-", n)
		if n%batch == batch-1 {
			_, err := store.Enqueue(b.Context(), jobs)
			require.NoError(b, err)
		}
	}
}

func BenchmarkLeaseAndSettle(b *testing.B) {
	store := benchStore(b)
	b.ReportAllocs()
	settlements := make([]backend.Settlement, 0, batch)
	for n := 0; n < b.N; n += batch {
		if n%backend.MaxBatch == 0 {
			b.StopTimer()
			_, err := store.Enqueue(b.Context(), benchJobsFrom(n, backend.MaxBatch))
			require.NoError(b, err)
			b.StartTimer()
		}
		reply, err := store.Lease(b.Context(), backend.LeaseRequest{
			Worker: "w", Token: fmt.Sprint("w.", n), Queues: []string{"q"}, Max: batch, Duration: time.Minute,
		})
		require.NoError(b, err)
		settlements = settlements[:0]
		for i := range reply.Leases {
			l := &reply.Leases[i]
			settlements = append(settlements, backend.Settlement{
				Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeCompleted,
			})
		}
		_, err = store.Settle(b.Context(), backend.SettleRequest{Worker: "w", Call: uint64(n) + 1, Settlements: settlements})
		require.NoError(b, err)
	}
}

func benchStore(b *testing.B) *memory.Backend {
	store, err := memory.New(memory.Config{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, store.Close()) })
	return store
}

func benchJobs(count int) []backend.NewJob { return benchJobsFrom(0, count) }

func benchJobsFrom(first, count int) []backend.NewJob {
	jobs := make([]backend.NewJob, count)
	for i := range jobs {
		jobs[i].Job = backend.Job{ID: fmt.Sprint("job-", first+i), Queue: "q", Kind: "noop", Payload: make([]byte, 100)}
	}
	return jobs
}
