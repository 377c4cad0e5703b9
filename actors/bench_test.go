package actors_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// BenchmarkDrain measures the whole tree on the memory backend: jobs that do
// nothing, from the first lease to the last acknowledgement.
func BenchmarkDrain(b *testing.B) {
	for _, concurrency := range []int{10, 50, 200} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			b.ReportAllocs()
			m, err := memory.New(memory.Config{})
			require.NoError(b, err)
			defer func() { _ = m.Close() }()
			c := client(b, m)
			for left := b.N; left > 0; left -= 1000 {
				items := make([]jobs.Item, min(left, 1000))
				for i := range items {
					items[i] = jobs.New(task{N: i})
				}
				_, err := c.EnqueueMany(context.Background(), items...)
				require.NoError(b, err)
			}
			var ran atomic.Int64
			all := make(chan struct{})
			registry := jobs.NewRegistry()
			jobs.Handle(registry, func(context.Context, *jobs.Job[task]) error {
				if ran.Add(1) == int64(b.N) {
					close(all)
				}
				return nil
			})
			b.ResetTimer()
			w, err := actors.Spawn(quietSystem(), actors.Config{
				Backend: m, Registry: registry, Concurrency: concurrency, Logger: discard(),
			})
			require.NoError(b, err)
			<-all
			w.Stop(actors.Stop{})
			<-w.Done()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

// BenchmarkIdleExecutors tells what 10,000 executors cost that have nothing to do,
// and how long they take to start and to stop.
func BenchmarkIdleExecutors(b *testing.B) {
	const executors = 10_000
	system := quietSystem()
	for b.Loop() {
		m, err := memory.New(memory.Config{})
		require.NoError(b, err)
		registry := jobs.NewRegistry()
		jobs.Handle(registry, noop)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		began := time.Now()
		w, err := actors.Spawn(system, actors.Config{
			Backend: m, Registry: registry, Concurrency: executors, Logger: discard(),
		})
		require.NoError(b, err)
		for w.Status().State != actors.StateRunning {
			runtime.Gosched()
		}
		_, err = client(b, m).Enqueue(context.Background(), task{})
		require.NoError(b, err)
		for w.Status().Counts.Completed == 0 {
			runtime.Gosched()
		}
		b.ReportMetric(float64(time.Since(began).Microseconds())/1000, "ms-to-first-job")
		pause(3 * time.Second) // until the dispatcher's goroutines have ended
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/executors, "B/executor")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
		stopped := time.Now()
		w.Stop(actors.Stop{})
		<-w.Done()
		b.ReportMetric(float64(time.Since(stopped).Microseconds())/1000, "ms-to-stop")
		require.NoError(b, m.Close())
	}
}
