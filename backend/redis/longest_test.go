package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// yardstick is a script that takes about 20 ms where the machine has nothing else to do.
const yardstick = `for i = 1, 100000 do redis.call('HSTRLEN', KEYS[1], 'none') end`

// slowlog has the server keep what took over 50 us: of everything, commands within scripts would drive the scripts out.
var slowlog = []string{"--slowlog-log-slower-than", "50", "--slowlog-max-len", "1000"}

// longest is the time of the longest script that f had the server run.
func longest(t *testing.T, client *goredis.Client, f func()) (took time.Duration) {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, client.Do(ctx, "slowlog", "reset").Err())
	f()
	logs, err := client.SlowLogGet(ctx, 1000).Result()
	require.NoError(t, err)
	for _, l := range logs {
		took = max(took, l.Duration)
	}
	return took
}

// lesson: a page of 50 jobs of 4 MiB held up everybody for 8.5 s, a page of waiting
// jobs after 100,000 deletes for 12.9 s.
func TestNoVerbHoldsUpTheServerForLong(t *testing.T) {
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{Args: slowlog})
	store := open(t, client, redis.Config{Timeout: 30 * time.Second})
	require.NoError(t, store.Pause(ctx, "mail", 0))

	// A third of 60,000 are deleted, the last of them are enqueued again, and large jobs follow.
	const jobs, deleted, again, huge = 60_000, 20_000, 500, 24
	for n := 0; n < jobs; n += 1000 {
		_, err := store.Enqueue(ctx, ids("a-", n, 1000))
		require.NoError(t, err)
	}
	name := func(n int) string { return ids("a-", n, 1)[0].ID }
	names := func(from, n int) (all []string) {
		for i := range n {
			all = append(all, name(from+i))
		}
		return all
	}
	for n := 0; n < deleted; n += 1000 {
		_, err := store.Delete(ctx, "mail", names(n, 1000))
		require.NoError(t, err)
	}
	_, err := store.Enqueue(ctx, ids("a-", deleted-again, again))
	require.NoError(t, err)
	for n := range huge {
		job := ids("huge-", n, 1)
		job[0].Payload, job[0].Priority = payload(backend.MaxPayload), 1
		_, err := store.Enqueue(ctx, job)
		require.NoError(t, err)
	}

	page := func(state backend.State) func() {
		return func() {
			query := backend.JobsQuery{Queue: "mail", State: state, Limit: backend.MaxPage}
			for range 40 {
				page, err := store.Jobs(ctx, query)
				require.NoError(t, err)
				if query.Cursor = page.Next; query.Cursor == "" {
					return
				}
			}
		}
	}
	turn, at, acted := 0, deleted, 0
	some := func(n int) []string { at += n; return names(at-n, n) }
	acting := func(verb func(context.Context, string, []string) ([]backend.ActResult, error), ids []string) {
		_, err := verb(ctx, "mail", ids)
		require.NoError(t, err)
	}
	lease := func(n int) []backend.Lease {
		turn++
		reply, err := store.Lease(ctx, backend.LeaseRequest{
			Worker: "w", Token: fmt.Sprint("w.", turn), Queues: []string{"mail"}, Max: n, Duration: time.Hour,
		})
		require.NoError(t, err)
		return reply.Leases
	}
	settle := func(leases []backend.Lease, outcome backend.Outcome) {
		turn++
		_, err := store.Settle(ctx, backend.SettleRequest{
			Worker: "w", Call: uint64(turn), Settlements: settlementsOf(leases, outcome),
		})
		require.NoError(t, err)
	}
	for _, step := range []struct {
		name string
		run  func()
	}{
		{"page of waiting jobs", page(backend.StateWaiting)},
		{"queue", func() { _, err := store.Queue(ctx, "mail"); require.NoError(t, err) }},
		{"cancel", func() { acting(store.Cancel, some(1000)) }},
		{"retry", func() { acting(store.Retry, names(at-1000, 1000)) }},
		{"enqueue", func() { _, err := store.Enqueue(ctx, ids("a-", at, 1000)); require.NoError(t, err) }},
		{"resume", func() { require.NoError(t, store.Resume(ctx, "mail")) }},
		{"lease and release of large jobs", func() { settle(lease(huge), backend.OutcomeReleased) }},
		{"large jobs end as dead", func() {
			for range huge / 6 {
				settle(lease(2), backend.OutcomeDead)
			}
		}},
		{"page of dead jobs", page(backend.StateDead)},
		{"retry, cancel and delete of large jobs", func() {
			var large []string
			for range huge / 3 { // others in each turn
				large = append(large, ids("huge-", acted, 1)[0].ID)
				acted++
			}
			acting(store.Retry, large)
			acting(store.Cancel, large)
			acting(store.Delete, large)
		}},
		{"lease and completion", func() { settle(lease(1000), backend.OutcomeCompleted) }},
		{"sweep", func() {
			_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: time.Hour})
			require.NoError(t, err)
		}},
	} {
		quick(t, client, step.name, step.run)
	}
}

func TestLimitsAndLanesDoNotHoldUpTheServerForLong(t *testing.T) {
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{Args: slowlog})
	store := open(t, client, redis.Config{Timeout: 30 * time.Second})
	for _, c := range []struct {
		name string
		mark func(n int, job *backend.NewJob)
	}{
		{"a-lane-each", func(n int, job *backend.NewJob) { job.Lane = backend.Lane{Key: fmt.Sprint(n)} }},
		{"ten-lanes", func(n int, job *backend.NewJob) { job.Lane = backend.Lane{Key: fmt.Sprint(n % 10)} }},
		{"a-limit-each", func(n int, job *backend.NewJob) {
			job.Limits = []backend.Limit{{Class: "c", Key: fmt.Sprint(n), Rule: backend.LimitRule{Slots: 1}}}
		}},
		{"a-limit-of-500", func(n int, job *backend.NewJob) {
			job.Limits = []backend.Limit{{Class: "d", Rule: backend.LimitRule{Slots: 500}}}
		}},
	} {
		turn := 0
		var leases []backend.Lease
		fill := func() {
			turn++
			jobs := ids(fmt.Sprint(turn, "-"), 0, 1000)
			for n := range jobs {
				jobs[n].Queue = c.name
				c.mark(n, &jobs[n])
			}
			_, err := store.Enqueue(ctx, jobs)
			require.NoError(t, err)
		}
		quick(t, client, c.name+": enqueue", fill)
		for _, outcome := range []backend.Outcome{backend.OutcomeRetry, backend.OutcomeReleased, backend.OutcomeCompleted} {
			quick(t, client, fmt.Sprint(c.name, ": lease and ", outcome), func() {
				if outcome == backend.OutcomeCompleted {
					fill()
				}
				turn++
				reply, err := store.Lease(ctx, backend.LeaseRequest{
					Worker: "w", Token: fmt.Sprint("w.", turn), Queues: []string{c.name}, Max: 1000, Duration: time.Hour,
				})
				require.NoError(t, err)
				require.NotEmpty(t, reply.Leases)
				leases = reply.Leases
				settlements := settlementsOf(leases, outcome)
				for n := range settlements {
					settlements[n].Queue = c.name
				}
				_, err = store.Settle(ctx, backend.SettleRequest{Worker: "w", Call: uint64(turn), Settlements: settlements})
				require.NoError(t, err)
			})
		}
	}
}

// quick requires that no script of f is longer than the yardstick. The least of some turns is
// what the machine did not delay, more of them where it is busy.
func quick(t *testing.T, client *goredis.Client, name string, f func()) {
	t.Helper()
	took, measure := time.Hour, time.Hour
	for turn := 0; turn < 3 || turn < 12 && took >= measure; turn++ {
		took = min(took, longest(t, client, f))
		measure = min(measure, longest(t, client, func() {
			require.NoError(t, ignoreNil(client.Eval(context.Background(), yardstick, []string{"none"}).Err()))
		}))
	}
	t.Logf("%-40s %8s, yardstick %s", name, took, measure)
	require.Less(t, took, measure, name)
}

func ignoreNil(err error) error {
	if err == goredis.Nil {
		return nil
	}
	return err
}
