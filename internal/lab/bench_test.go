//go:build unix

package lab_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

type ping struct {
	SentAt time.Time `json:"sent_at"`
}

func (ping) Kind() string { return "ping" }

// idle is a System with 100 executors that has nothing to do; started receives
// when each job began.
func idle(b *testing.B) (system *caddis.System, server *redistest.Server, started chan time.Time) {
	server = redistest.Start(b, redistest.Options{})
	store, err := backend.Open("redis://" + server.Addr)
	require.NoError(b, err)
	registry := jobs.NewRegistry()
	started = make(chan time.Time, 1)
	jobs.Handle(registry, func(context.Context, *jobs.Job[ping]) error {
		started <- time.Now()
		return nil
	})
	system, err = caddis.New(caddis.Config{
		Backend: store, Registry: registry, Concurrency: 100, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	require.NoError(b, system.Start(b.Context()))
	b.Cleanup(func() {
		<-system.StopWith(actors.Stop{Urgency: actors.HandBack}).Done()
		require.NoError(b, store.Close())
	})
	return system, server, started
}

func quantiles(b *testing.B, lateness []time.Duration) {
	slices.Sort(lateness)
	at := func(q float64) float64 {
		return float64(lateness[int(q*float64(len(lateness)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.95), "p95-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPickup measures the time from just before an enqueue until the handler
// runs, on an idle System: one job every 20 to 50 ms.
func BenchmarkPickup(b *testing.B) {
	system, _, started := idle(b)
	lateness := make([]time.Duration, 0, b.N)
	for b.Loop() {
		pause(time.Duration(20+rand.IntN(30)) * time.Millisecond)
		sent := time.Now()
		_, err := system.Client().Enqueue(b.Context(), ping{})
		require.NoError(b, err)
		lateness = append(lateness, (<-started).Sub(sent))
	}
	quantiles(b, lateness)
}

// BenchmarkDelayed measures how much later than its time a job starts that was
// delayed by 300 ms, from the return of the enqueue.
func BenchmarkDelayed(b *testing.B) {
	system, _, started := idle(b)
	lateness := make([]time.Duration, 0, b.N)
	for b.Loop() {
		_, err := system.Client().Enqueue(b.Context(), ping{}, jobs.In(300*time.Millisecond))
		sent := time.Now()
		require.NoError(b, err)
		lateness = append(lateness, (<-started).Sub(sent)-300*time.Millisecond)
	}
	quantiles(b, lateness)
}

// BenchmarkIdle shows what an idle System costs: the commands per second that it
// sends to Redis, heartbeats and all, and the CPU time per second of the whole
// process. The commands that scripts call are not counted.
func BenchmarkIdle(b *testing.B) {
	_, server, _ := idle(b)
	client := server.Client()
	defer func() { _ = client.Close() }()
	commands := func() (n float64) {
		text, err := client.InfoMap(b.Context(), "commandstats").Result()
		require.NoError(b, err)
		for _, command := range []string{"evalsha", "blpop", "ping", "publish"} {
			var calls float64
			_, _ = fmt.Sscanf(text["Commandstats"]["cmdstat_"+command], "calls=%f", &calls)
			n += calls
		}
		return n
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	pause(time.Second)
	calls, used, begin := commands(), cpu(), time.Now()
	for b.Loop() {
		pause(20 * time.Second)
	}
	seconds := time.Since(begin).Seconds()
	b.ReportMetric((commands()-calls)/seconds, "commands/s")
	b.ReportMetric(1000*(cpu()-used).Seconds()/seconds, "cpu-ms/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDrain measures a worker on a full queue of jobs that do nothing.
func BenchmarkDrain(b *testing.B) {
	b.ReportAllocs()
	server := redistest.Start(b, redistest.Options{})
	store, err := backend.Open("redis://" + server.Addr)
	require.NoError(b, err)
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(b, err)
	for left := b.N; left > 0; left -= 1000 {
		items := make([]jobs.Item, min(left, 1000))
		for i := range items {
			items[i] = jobs.New(ping{})
		}
		_, err := client.EnqueueMany(b.Context(), items...)
		require.NoError(b, err)
	}
	var ran atomic.Int64
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(context.Context, *jobs.Job[ping]) error {
		ran.Add(1)
		return nil
	})
	system, err := caddis.New(caddis.Config{
		Backend: store, Registry: registry, Concurrency: 50, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	b.ResetTimer()
	require.NoError(b, system.Start(b.Context()))
	for ran.Load() < int64(b.N) {
		pause(time.Millisecond)
	}
	report, err := system.Stop().Wait(b.Context())
	b.StopTimer()
	require.NoError(b, err)
	require.Equal(b, b.N, report.Completed)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	require.NoError(b, store.Close())
}
