package redis_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

func payload(n int) []byte { return []byte(strings.Repeat("x", n)) }

// ids makes ids of the length of a ULID.
func ids(prefix string, from, n int) []backend.NewJob {
	jobs := make([]backend.NewJob, n)
	for i := range jobs {
		jobs[i] = backend.NewJob{Job: backend.Job{
			ID: fmt.Sprintf("%s%024d", prefix, from+i), Queue: "mail", Kind: "welcome", Payload: payload(100),
		}}
	}
	return jobs
}

// serverTime is how many microseconds the server spent in scripts.
func serverTime(t testing.TB, client *goredis.Client) float64 {
	t.Helper()
	stats, err := client.Info(context.Background(), "commandstats").Result()
	require.NoError(t, err)
	total := 0.0
	for line := range strings.Lines(stats) {
		if strings.HasPrefix(line, "cmdstat_eval") {
			var calls, usec int
			_, fields, _ := strings.Cut(line, ":")
			_, err := fmt.Sscanf(fields, "calls=%d,usec=%d", &calls, &usec)
			require.NoError(t, err)
			total += float64(usec)
		}
	}
	return total
}

func BenchmarkEnqueue(b *testing.B) {
	ctx := context.Background()
	_, client := standalone(b, redistest.Options{})
	for _, batch := range []int{1, 10, 100} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			store := open(b, client, redis.Config{})
			before, n := serverTime(b, client), 0
			for b.Loop() {
				_, err := store.Enqueue(ctx, fresh(ids("a-", n, batch)))
				require.NoError(b, err)
				n += batch
			}
			b.ReportMetric((serverTime(b, client)-before)/float64(n), "server-µs/job")
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "jobs/s")
			require.NoError(b, client.FlushAll(ctx).Err())
		})
	}
	b.Run("producers=16", func(b *testing.B) {
		store := open(b, client, redis.Config{})
		before := serverTime(b, client)
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			prefix := fmt.Sprintf("%d-", namespaces.Add(1))
			for n := 0; pb.Next(); n++ {
				_, err := store.Enqueue(ctx, fresh(ids(prefix, n, 1)))
				require.NoError(b, err)
			}
		})
		b.ReportMetric((serverTime(b, client)-before)/float64(b.N), "server-µs/job")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		require.NoError(b, client.FlushAll(ctx).Err())
	})
}

func BenchmarkLeaseAndSettle(b *testing.B) {
	ctx := context.Background()
	_, client := standalone(b, redistest.Options{})
	for _, batch := range []int{1, 10, 50, 100} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			store := open(b, client, redis.Config{})
			settle := backend.SettleRequest{Worker: "w"}
			var spent float64
			done, stored := 0, 0
			for b.Loop() {
				if done == stored {
					b.StopTimer()
					for range 10 {
						_, err := store.Enqueue(ctx, ids("a-", stored, 1000))
						require.NoError(b, err)
						stored += 1000
					}
					spent -= serverTime(b, client)
					b.StartTimer()
				}
				settle.Call++
				reply, err := store.Lease(ctx, backend.LeaseRequest{
					Worker: "w", Token: fmt.Sprint("w.", settle.Call), Queues: []string{"mail"}, Max: batch, Duration: 15 * time.Second,
				})
				require.NoError(b, err)
				require.Len(b, reply.Leases, batch)
				settle.Settlements = settle.Settlements[:0]
				for i := range reply.Leases {
					settle.Settlements = append(settle.Settlements, backend.Settlement{
						Queue: "mail", ID: reply.Leases[i].Job.ID, Token: reply.Leases[i].Token, Outcome: backend.OutcomeCompleted,
					})
				}
				_, err = store.Settle(ctx, settle)
				require.NoError(b, err)
				done += batch
				if done == stored {
					b.StopTimer()
					spent += serverTime(b, client)
					b.StartTimer()
				}
			}
			if done != stored {
				spent += serverTime(b, client)
			}
			b.ReportMetric(spent/float64(done), "server-µs/job")
			b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "jobs/s")
			require.NoError(b, client.FlushAll(ctx).Err())
		})
	}
	b.Run("empty lease", func(b *testing.B) {
		store := open(b, client, redis.Config{})
		before, n := serverTime(b, client), 0
		for b.Loop() {
			n++
			_, err := store.Lease(ctx, backend.LeaseRequest{
				Worker: "w", Token: fmt.Sprint("w.", n), Queues: []string{"mail"}, Max: 50, Duration: 15 * time.Second,
			})
			require.NoError(b, err)
		}
		b.ReportMetric((serverTime(b, client)-before)/float64(n), "server-µs/call")
	})
}
