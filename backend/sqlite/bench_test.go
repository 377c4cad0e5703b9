package sqlite_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// batch is how many jobs one call of the benchmarks moves.
const batch = 50

// The benchmarks count jobs, not calls: ns/op is the time of one job.

func BenchmarkEnqueueInBatches(b *testing.B) {
	store := at(b, filepath.Join(b.TempDir(), "jobs.db"))
	jobs := make([]backend.NewJob, 1000)
	for n := 0; n < b.N; n += len(jobs) {
		for i := range jobs {
			jobs[i] = benchJob(n + i)
		}
		_, err := store.Enqueue(b.Context(), jobs)
		require.NoError(b, err)
	}
}

func BenchmarkEnqueueBySixteenProducers(b *testing.B) {
	store := at(b, filepath.Join(b.TempDir(), "jobs.db"))
	var next atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := store.Enqueue(b.Context(), []backend.NewJob{benchJob(int(next.Add(1)))})
			require.NoError(b, err)
		}
	})
}

func BenchmarkLeaseAndSettle(b *testing.B) {
	store := at(b, filepath.Join(b.TempDir(), "jobs.db"))
	for n := 0; n < b.N; n += backend.MaxBatch {
		jobs := make([]backend.NewJob, min(backend.MaxBatch, b.N-n))
		for i := range jobs {
			jobs[i] = benchJob(n + i)
		}
		_, err := store.Enqueue(b.Context(), jobs)
		require.NoError(b, err)
	}
	w := &worker{TB: b, store: store, id: "w"}
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		w.settle(w.lease(batch, time.Minute), backend.OutcomeCompleted)
	}
}

func benchJob(n int) backend.NewJob {
	return backend.NewJob{
		Job:   backend.Job{ID: fmt.Sprintf("01HZZZZZZZ%016d", n), Queue: "q", Kind: "noop", Payload: make([]byte, 100)},
		Fresh: true,
	}
}

func BenchmarkEnqueueByOneProducer(b *testing.B) {
	store := at(b, filepath.Join(b.TempDir(), "jobs.db"))
	for n := range b.N {
		_, err := store.Enqueue(b.Context(), []backend.NewJob{benchJob(n)})
		require.NoError(b, err)
	}
}
