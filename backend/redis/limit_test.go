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

// counted has each of the jobs count against two limits: four at a time, and a rate of which
// there are ten tokens, and no more come.
func counted(jobs []backend.NewJob, hold backend.SlotHold) []backend.NewJob {
	for i := range jobs {
		jobs[i].Limits = []backend.Limit{
			{Class: "tenant", Key: "acme", Hold: hold, Rule: backend.LimitRule{Slots: 4}},
			{Class: "api", Rule: backend.LimitRule{Rate: 1, Per: time.Hour, Burst: 10}},
		}
	}
	return jobs
}

// standing tells how many have a slot and are parked, and how many tokens are spent.
func standing(t *testing.T, store *redis.Backend, client goredis.Cmdable) (held, parked, spent int) {
	t.Helper()
	ctx := context.Background()
	tenant, err := store.Limit(ctx, backend.LimitQuery{Queue: "mail", Class: "tenant", Key: "acme"})
	require.NoError(t, err)
	for full := range mapOf(t, client) {
		spent = int((full - time.Duration(tenant.Now.UnixMicro())*time.Microsecond).Round(time.Hour) / time.Hour)
	}
	return tenant.Held, tenant.Parked, spent
}

// mapOf is when buckets are full.
func mapOf(t *testing.T, client goredis.Cmdable) map[time.Duration]bool {
	t.Helper()
	ctx := context.Background()
	keys, err := client.Keys(ctx, "*:rates").Result()
	require.NoError(t, err)
	full := map[time.Duration]bool{}
	for _, key := range keys {
		for _, z := range client.ZRangeWithScores(ctx, key, 0, -1).Val() {
			full[time.Duration(z.Score)*time.Microsecond] = true
		}
	}
	return full
}

func directly(t *testing.T, server *redistest.Server) *goredis.Client {
	t.Helper()
	client := goredis.NewClient(server.Options())
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestALostReplyCountsNoLimitTwice(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, hold := range map[string]backend.SlotHold{
		"while running": backend.SlotWhileRunning, "until finished": backend.SlotUntilFinished, "once enqueued": backend.SlotOnceEnqueued,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, c, server := cuttingAt(t)
			client := directly(t, server)
			c.armed.Store(2)
			receipts, err := store.Enqueue(ctx, counted(fresh(ids("a-", 0, 4)), hold))
			require.NoError(t, err)
			require.EqualValues(t, 2, c.lost.Load())
			for _, r := range receipts {
				require.Equal(t, backend.StateWaiting, r.State)
				require.False(t, r.Existing)
			}
			if hold == backend.SlotOnceEnqueued {
				c.armed.Store(1)
				_, err = store.Enqueue(ctx, counted(fresh(ids("b-", 0, 1)), hold))
				require.ErrorIs(t, err, backend.ErrLimited)
			}

			request := backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 3, Duration: 10 * time.Second}
			c.armed.Store(twice)
			_, err = store.Lease(ctx, request)
			require.ErrorIs(t, err, backend.ErrUnavailable)
			reply, err := store.Lease(ctx, request)
			require.NoError(t, err)
			require.Len(t, reply.Leases, 3)
			_, _, spent := standing(t, store, client)
			require.Equal(t, 3, spent)

			// Handed back, with a lost reply: the tokens come back once.
			settle := backend.SettleRequest{Worker: "w", Call: 7, Settlements: settlementsOf(reply.Leases[:2], backend.OutcomeReleased)}
			c.armed.Store(twice)
			_, err = store.Settle(ctx, settle)
			require.ErrorIs(t, err, backend.ErrUnavailable)
			_, err = store.Settle(ctx, settle)
			require.NoError(t, err)
			_, _, spent = standing(t, store, client)
			require.Equal(t, 1, spent)

			settle = backend.SettleRequest{Worker: "w", Call: 8, Settlements: settlementsOf(reply.Leases[2:], backend.OutcomeCompleted)}
			c.armed.Store(twice)
			_, err = store.Settle(ctx, settle)
			require.ErrorIs(t, err, backend.ErrUnavailable)
			results, err := store.Settle(ctx, settle)
			require.NoError(t, err)
			require.Equal(t, backend.StateCompleted, results[0].State)
			finish(t, store, "v", lease(t, store, "v", 10), backend.OutcomeDead)
			held, parked, spent := standing(t, store, client)
			require.Equal(t, [3]int{0, 0, 4}, [3]int{held, parked, spent})
		})
	}
}

// lesson: a lock that leaks. What is told of a limit would hide it, so this one counts.
func TestNothingIsLeftOfLimitsWhoseJobsAreOver(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := directly(t, server)
	store := open(t, client, unhurried)
	for i, hold := range []backend.SlotHold{backend.SlotWhileRunning, backend.SlotUntilFinished, backend.SlotOnceEnqueued} {
		jobs := counted(fresh(ids([]string{"a-", "b-", "c-"}[i], 0, 4)), hold)
		for k := range jobs {
			jobs[k].Limits[1].Rule = backend.LimitRule{Rate: 1000, Per: time.Second, Burst: 100}
		}
		_, err := store.Enqueue(ctx, jobs)
		require.NoError(t, err)
		worker := []string{"u", "v", "w"}[i]
		leases := lease(t, store, worker, 2)
		require.Len(t, leases, 2)
		finish(t, store, worker, leases, backend.OutcomeCompleted)
		_, err = store.Cancel(ctx, "mail", []string{jobs[2].ID})
		require.NoError(t, err)
		_, err = store.Delete(ctx, "mail", []string{jobs[2].ID, jobs[3].ID})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: 10 * time.Second})
		require.NoError(t, err)
		var left []string
		for _, what := range []string{"limited", "slots", "ready", "rates", "blocked*"} {
			left = append(left, client.Keys(ctx, "*:"+what).Val()...)
		}
		return len(left) == 0
	}, 10*time.Second, 10*time.Millisecond)
}

// lesson: a slot that leaks until nothing runs. A program of an older version knows nothing of
// slots, and settles jobs that have some.
func TestASlotWhoseJobDoesNotRunAnyMoreIsFreedBySweeps(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := directly(t, server)
	store := open(t, client, unhurried)
	_, err := store.Enqueue(ctx, counted(fresh(ids("a-", 0, 300)), backend.SlotWhileRunning))
	require.NoError(t, err)
	require.NoError(t, store.SetLimit(ctx, "mail", "tenant", &backend.LimitRule{Slots: 210}))
	require.NoError(t, store.SetLimit(ctx, "mail", "api", &backend.LimitRule{}))
	leases := lease(t, store, "w", 210)
	require.Len(t, leases, 210)
	key := func(what string) string {
		keys, err := client.Keys(ctx, "*:"+what).Result()
		require.NoError(t, err)
		require.Len(t, keys, 1)
		return keys[0]
	}
	jobs, running, expiries, limited := key("jobs"), key("running"), key("leases"), key("limited")
	for i, l := range leases[:205] {
		require.NoError(t, client.HDel(ctx, running, l.Job.ID).Err())
		require.NoError(t, client.ZRem(ctx, expiries, l.Job.ID).Err())
		if i%2 == 0 {
			require.NoError(t, client.HDel(ctx, jobs, l.Job.ID).Err())
		}
	}
	for range 6 { // 100 slots in each, and each job has two
		_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: 10 * time.Second})
		require.NoError(t, err)
	}
	info, err := store.Limit(ctx, backend.LimitQuery{Queue: "mail", Class: "tenant", Key: "acme"})
	require.NoError(t, err)
	require.Equal(t, 5, info.Held)
	require.Len(t, lease(t, store, "v", 300), 90)

	finish(t, store, "v", lease(t, store, "v", 300), backend.OutcomeCompleted)
	require.NoError(t, client.Del(ctx, jobs).Err())
	require.Eventually(t, func() bool {
		_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: 10 * time.Second})
		require.NoError(t, err)
		return client.Exists(ctx, limited).Val() == 0
	}, 10*time.Second, time.Millisecond)
}

// lesson: Lua writes numbers of 16 digits with 14.
func TestTokensAreCountedToTheMicrosecond(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := directly(t, server)
	store := open(t, client, unhurried)
	const n = 1000
	jobs := fresh(ids("a-", 0, n))
	for i := range jobs { // one token in each 7 µs, all at once
		jobs[i].Limits = []backend.Limit{{Class: "api", Rule: backend.LimitRule{Rate: 1, Per: 7 * time.Microsecond, Burst: n}}}
	}
	_, err := store.Enqueue(ctx, jobs)
	require.NoError(t, err)
	before, err := client.Time(ctx).Result()
	require.NoError(t, err)
	require.Len(t, lease(t, store, "w", n-500), n-500)
	for full := range mapOf(t, client) {
		spent := full - time.Duration(before.UnixMicro())*time.Microsecond
		require.GreaterOrEqual(t, spent, (n-500)*7*time.Microsecond)
	}
	require.Len(t, mapOf(t, client), 1)
}

func TestWhereAQueueHasShardsJobsLieInThatOfTheirKey(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{DefaultShards: 7})
	limit := backend.Limit{Class: "tenant", Key: "acme", Rule: backend.LimitRule{Slots: 2}}
	jobs := ids("a-", 0, 10)
	for i := range jobs {
		jobs[i].ID = backend.KeyedID(jobs[i].ID, backend.LimitKey("acme"))
		jobs[i].Limits = []backend.Limit{limit}
	}
	_, err := store.Enqueue(ctx, jobs)
	require.NoError(t, err)
	require.Len(t, lease(t, store, "w", 10), 2)
	info, err := store.Limit(ctx, backend.LimitQuery{Queue: "mail", Class: "tenant", Key: "acme", Job: jobs[9].ID})
	require.NoError(t, err)
	require.Equal(t, [3]int{2, 8, 8}, [3]int{info.Held, info.Parked, info.Place})
	require.NoError(t, store.SetLimit(ctx, "mail", "tenant", &backend.LimitRule{Slots: 5}))
	require.Len(t, lease(t, store, "v", 10), 3)

	for says, wrong := range map[string]func(n *backend.NewJob){
		"give it a key":    func(n *backend.NewJob) { n.Limits = []backend.Limit{{Class: "all"}} },
		"are two keys":     func(n *backend.NewJob) { n.Limits = []backend.Limit{limit, {Class: "b", Key: "other"}} },
		"leave the id out": func(n *backend.NewJob) { n.ID = "of my own" },
		"would have to be in two: ": func(n *backend.NewJob) {
			n.Unique = backend.Unique{Key: backend.Key{1}, Hold: backend.HoldUntilFinished}
		},
	} {
		n := jobs[0]
		n.ID = backend.KeyedID("b", backend.LimitKey("acme"))
		wrong(&n)
		_, err := store.Enqueue(ctx, []backend.NewJob{n})
		require.ErrorIs(t, err, backend.ErrRejected)
		require.ErrorContains(t, err, says)
	}
}

// A lease opens the common path beside jobs that are parked or run. What has one of them wait,
// or be looked at, closes it, and it stays so until that one was leased and counted.
func TestAJobWithLimitsIsCountedAlthoughTheCommonPathWasOpen(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	ctx := context.Background()
	limited := func(id string, delay time.Duration) []backend.NewJob {
		return []backend.NewJob{{Delay: delay, Job: backend.Job{ID: id, Queue: "mail", Kind: "k", Limits: []backend.Limit{{Class: "c", Rule: backend.LimitRule{Slots: 1}}}}}}
	}
	for event, story := range map[string]struct {
		before func(k *common) // what is there when the path opens
		happen func(k *common)
		held   int // slots in the end, if not 1
	}{
		"a retry": {
			before: func(k *common) { k.leased(limited("a", 0)) },
			happen: func(k *common) { k.settle("a", backend.OutcomeRetry) },
		},
		"a hand-back": {
			before: func(k *common) { k.leased(limited("a", 0)) },
			happen: func(k *common) { k.settle("a", backend.OutcomeReleased) },
		},
		"a job that is due": {
			before: func(k *common) { k.enqueue(limited("a", time.Hour)) },
			happen: func(k *common) { k.due("a") },
		},
		"a job that is due, which an enqueue finds out": {
			before: func(k *common) { k.enqueue(limited("a", time.Hour)) },
			happen: func(k *common) { k.due("a"); k.enqueue(ids("plain-", 0, 1)) },
		},
		"a job that is to run now": {
			before: func(k *common) { k.enqueue(limited("a", time.Hour)) },
			happen: func(k *common) { k.do(k.RunNow(ctx, "mail", []string{"a"})) },
		},
		"the end of a lease": {
			before: func(k *common) { k.leased(limited("a", 0)) },
			happen: func(k *common) {
				require.NoError(k, k.client.ZAddXX(ctx, k.base+"leases", goredis.Z{Score: 1, Member: "a"}).Err())
				require.NoError(k, k.client.HDel(ctx, k.base+"meta", "beat", "grace").Err())
			},
		},
		"a slot that is freed": {
			before: func(k *common) { k.leased(limited("b", 0)); k.enqueue(limited("a", 0)) },
			happen: func(k *common) { k.settle("b", backend.OutcomeCompleted) },
		},
		"a limit that is raised": {
			before: func(k *common) { k.leased(limited("b", 0)); k.enqueue(limited("a", 0)) },
			happen: func(k *common) { require.NoError(k, k.SetLimit(ctx, "mail", "c", &backend.LimitRule{Slots: 2})) },
			held:   2,
		},
		"a new job": {
			before: func(k *common) { k.leased(limited("b", 0)); k.enqueue(limited("parked", 0)) },
			happen: func(k *common) {
				require.NoError(k, k.SetLimit(ctx, "mail", "c", &backend.LimitRule{Slots: 3}))
				k.leaseOf("parked")
				k.enqueue(limited("a", 0))
			},
			held: 3,
		},
	} {
		for name, between := range map[string]func(*common){
			"": func(*common) {}, ", and a look whether it may be open": func(k *common) { k.lease(0) },
		} {
			t.Run(event+name, func(t *testing.T) {
				t.Parallel()
				k := openCommon(t, server)
				story.before(k)
				k.open()
				story.happen(k)
				between(k)
				k.leaseOf("a")
				require.Equal(t, max(1, story.held), k.held())
			})
		}
	}
}

// common is a store whose common path is looked at.
type common struct {
	*testing.T
	*redis.Backend
	client *goredis.Client
	base   string // of the keys of the queue
	calls  uint64
	tokens map[string]string
}

func openCommon(t *testing.T, server *redistest.Server) *common {
	namespace := strings.ReplaceAll(t.Name(), "/", "-")
	k := &common{T: t, client: directly(t, server), base: namespace + ":{mail}:", tokens: map[string]string{}}
	var err error
	k.Backend, err = redis.New(k.client, redis.Config{Namespace: namespace})
	require.NoError(t, err)
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func (k *common) do(results []backend.ActResult, err error) {
	k.Helper()
	require.NoError(k, err)
	require.NoError(k, results[0].Err)
}

func (k *common) enqueue(jobs []backend.NewJob) {
	k.Helper()
	_, err := k.Enqueue(context.Background(), jobs)
	require.NoError(k, err)
}

func (k *common) lease(n int) []backend.Lease {
	k.Helper()
	k.calls++
	reply, err := k.Lease(context.Background(), backend.LeaseRequest{
		Worker: "w", Token: fmt.Sprint("w.", k.calls), Queues: []string{"mail"}, Max: n, Duration: time.Hour,
	})
	require.NoError(k, err)
	for _, l := range reply.Leases {
		k.tokens[l.Job.ID] = l.Token
	}
	return reply.Leases
}

// leaseOf wants a job to be handed out, and no other.
func (k *common) leaseOf(id string) {
	k.Helper()
	leases := k.lease(1)
	require.Len(k, leases, 1)
	require.Equal(k, id, leases[0].Job.ID)
}

func (k *common) leased(jobs []backend.NewJob) { k.enqueue(jobs); k.leaseOf(jobs[0].ID) }

func (k *common) settle(id string, outcome backend.Outcome) {
	k.Helper()
	k.calls++
	results, err := k.Settle(context.Background(), backend.SettleRequest{Worker: "w", Call: k.calls, Settlements: []backend.Settlement{
		{Queue: "mail", ID: id, Token: k.tokens[id], Outcome: outcome},
	}})
	require.NoError(k, err)
	require.False(k, results[0].Stale)
}

// open has a lease find out that the common path may be taken.
func (k *common) open() {
	k.Helper()
	require.Empty(k, k.lease(1))
	require.NotZero(k, k.client.HExists(context.Background(), k.base+"meta", "common").Val(), "the path is closed")
}

// due has the time of a job come, which the common path knows of.
func (k *common) due(id string) {
	k.Helper()
	ctx := context.Background()
	require.NoError(k, k.client.ZAddXX(ctx, k.base+"scheduled", goredis.Z{Score: 10, Member: id}).Err()) // 1 ms, level 2
	require.NoError(k, k.client.HSet(ctx, k.base+"meta", "common", 1, "due", 1).Err())
}

func (k *common) held() int {
	k.Helper()
	info, err := k.Limit(context.Background(), backend.LimitQuery{Queue: "mail", Class: "c"})
	require.NoError(k, err)
	return info.Held
}
