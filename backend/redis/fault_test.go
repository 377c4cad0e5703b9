package redis_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// cutter dials connections that lose the reply to the next scripts: the request
// is sent and worked off, and then the connection ends.
type cutter struct {
	armed atomic.Int64 // how many replies are still to be lost
	lost  atomic.Int64
}

type cutConn struct {
	net.Conn
	c   *cutter
	mu  sync.Mutex
	cut bool
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &cutConn{Conn: conn, c: c}, err // a connection beside an error, which nobody may use
}

func (c *cutConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if len(p) > 60 && c.c.armed.Load() > 0 && c.c.armed.Add(-1) >= 0 {
		c.mu.Lock()
		c.cut = true
		c.mu.Unlock()
	}
	return n, err
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		c.c.lost.Add(1)
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}

// twice is how many replies have to be lost until the caller hears of it: a call whose
// connection has ended is repeated once, at once.
const twice = 2

// cutting is a store whose replies can be lost.
func cutting(t *testing.T) (*redis.Backend, *cutter) {
	t.Helper()
	store, c, _ := cuttingAt(t)
	return store, c
}

// cuttingAt is cutting, and the server.
func cuttingAt(t *testing.T) (*redis.Backend, *cutter, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t, redistest.Options{})
	c := &cutter{}
	options := server.Options()
	options.Dialer = c.dial
	client := goredis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	store := open(t, client, unhurried)
	// Scripts and queues are known before the first fault.
	_, err := store.Enqueue(context.Background(), ids("warm-", 0, 1))
	require.NoError(t, err)
	finish(t, store, "warm", lease(t, store, "warm", 1), backend.OutcomeReleased)
	finish(t, store, "warmer", lease(t, store, "warmer", 1), backend.OutcomeCompleted)
	_, err = store.Enqueue(context.Background(), fresh(ids("warm-", 1, 1)))
	require.NoError(t, err)
	finish(t, store, "warmest", lease(t, store, "warmest", 1), backend.OutcomeCompleted)
	return store, c, server
}

// fresh has jobs take the common path.
func fresh(jobs []backend.NewJob) []backend.NewJob {
	for i := range jobs {
		jobs[i].Fresh = true
	}
	return jobs
}

// keyed has each of the jobs hold a key of its own.
func keyed(jobs []backend.NewJob) []backend.NewJob {
	for i := range jobs {
		jobs[i].Unique = backend.Unique{Key: backend.Key{byte(i + 1)}, Hold: backend.HoldUntilStarted, Conflict: backend.ConflictReplace}
	}
	return jobs
}

func lease(t testing.TB, store backend.Backend, worker string, n int) []backend.Lease {
	t.Helper()
	reply, err := store.Lease(context.Background(), backend.LeaseRequest{
		Worker: worker, Token: worker + ".0", Queues: []string{"mail"}, Max: n, Duration: 10 * time.Second,
	})
	require.NoError(t, err)
	return reply.Leases
}

func settlementsOf(leases []backend.Lease, outcome backend.Outcome) []backend.Settlement {
	var all []backend.Settlement
	for _, l := range leases {
		all = append(all, backend.Settlement{Queue: "mail", ID: l.Job.ID, Token: l.Token, Outcome: outcome})
	}
	return all
}

func finish(t testing.TB, store backend.Backend, worker string, leases []backend.Lease, outcome backend.Outcome) {
	t.Helper()
	_, err := store.Settle(context.Background(), backend.SettleRequest{Worker: worker, Call: 1, Settlements: settlementsOf(leases, outcome)})
	require.NoError(t, err)
}

// lesson: a client library that silently re-sends after a lost reply pops a
// second job and strands the first, or reports "duplicate" for an enqueue that
// succeeded.
func TestAnEnqueueWhoseReplyIsLostStoresOnceAndReportsNoDuplicate(t *testing.T) {
	t.Parallel()
	for name, jobs := range map[string][]backend.NewJob{
		"the common path": fresh(ids("a-", 0, 3)), "ids that others may hold": ids("a-", 0, 3),
		"unique keys": keyed(ids("a-", 0, 3)), "unique keys of fresh jobs": keyed(fresh(ids("a-", 0, 3))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, c := cutting(t)
			c.armed.Store(2)
			receipts, err := store.Enqueue(context.Background(), jobs)
			require.NoError(t, err)
			require.EqualValues(t, 2, c.lost.Load())
			for _, r := range receipts {
				require.False(t, r.Existing, r.ID)
				require.False(t, r.Duplicate() || r.Replaced, r.ID)
				require.Equal(t, backend.StateWaiting, r.State)
			}
			require.Len(t, lease(t, store, "w", 10), 3)
		})
	}
}

func TestALeaseWhoseReplyIsLostHandsOutTheSameJobsAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	store, c := cutting(t)
	_, err := store.Enqueue(ctx, ids("a-", 0, 5))
	require.NoError(t, err)
	c.armed.Store(twice)
	request := backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 2, Duration: 10 * time.Second}
	_, err = store.Lease(ctx, request)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.EqualValues(t, twice, c.lost.Load())
	reply, err := store.Lease(ctx, request)
	require.NoError(t, err)
	require.Len(t, reply.Leases, 2)
	info, err := store.Queue(ctx, "mail")
	require.NoError(t, err)
	require.EqualValues(t, 2, info.Counts[backend.StateRunning])
	require.EqualValues(t, 3, info.Counts[backend.StateWaiting])
}

func TestASettlementWhoseReplyIsLostAnswersTheSameAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, outcome := range []backend.Outcome{
		backend.OutcomeCompleted, backend.OutcomeRetry, backend.OutcomeReleased, backend.OutcomeCancelled, backend.OutcomeDead,
	} {
		t.Run(outcome.String(), func(t *testing.T) {
			t.Parallel()
			store, c := cutting(t)
			_, err := store.Enqueue(ctx, ids("a-", 0, 3))
			require.NoError(t, err)
			request := backend.SettleRequest{Worker: "w", Call: 7, Settlements: settlementsOf(lease(t, store, "w", 3), outcome)}
			c.armed.Store(twice)
			_, err = store.Settle(ctx, request)
			require.ErrorIs(t, err, backend.ErrUnavailable)
			require.EqualValues(t, twice, c.lost.Load())
			before, err := store.Queue(ctx, "mail")
			require.NoError(t, err)
			results, err := store.Settle(ctx, request)
			require.NoError(t, err)
			for _, r := range results {
				require.False(t, r.Stale)
			}
			after, err := store.Queue(ctx, "mail")
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

func TestACallWhoseConnectionEndsIsRepeatedAtOnceWhereThatChangesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	store, c := cutting(t)
	_, err := store.Enqueue(ctx, ids("a-", 0, 6))
	require.NoError(t, err)
	leases := lease(t, store, "w", 4)
	held := backend.Held{Queue: "mail", ID: leases[0].Job.ID, Token: leases[0].Token}
	waits := ids("a-", 5, 1)[0].ID
	lost := int64(0)
	lose := func() { lost++; c.armed.Store(1) }
	for verb, call := range map[string]func() error{
		"renew": func() error {
			_, err := store.Renew(ctx, backend.RenewRequest{Worker: "w", Duration: time.Minute, Leases: []backend.Held{held}})
			return err
		},
		"sweep": func() error {
			_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"mail"}, Duration: time.Minute})
			return err
		},
		"job": func() error { _, err := store.Job(ctx, "mail", waits); return err },
		"jobs": func() error {
			_, err := store.Jobs(ctx, backend.JobsQuery{Queue: "mail", State: backend.StateWaiting})
			return err
		},
		"queues":  func() error { _, err := store.Queues(ctx); return err },
		"workers": func() error { return ask(store) },
		"pause":   func() error { return store.Pause(ctx, "other", 0) },
		"resume":  func() error { return store.Resume(ctx, "other") },
		"check":   func() error { _, err := store.Check(ctx); return err },
		"announce": func() error {
			_, err := store.Announce(ctx, backend.WorkerInfo{ID: "w"}, time.Minute)
			return err
		},
		"lease": func() error {
			request := backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 1, Duration: time.Minute}
			reply, err := store.Lease(ctx, request)
			if err == nil {
				require.Len(t, reply.Leases, 1)
			}
			return err
		},
		"cancel": func() error { _, err := store.Cancel(ctx, "mail", []string{leases[3].Job.ID}); return err },
		"settle": func() error {
			results, err := store.Settle(ctx, backend.SettleRequest{Worker: "w", Call: 2, Settlements: settlementsOf(leases[1:2], backend.OutcomeCompleted)})
			if err == nil {
				require.False(t, results[0].Stale)
			}
			return err
		},
	} {
		lose()
		require.NoError(t, call(), verb)
		require.Equal(t, lost, c.lost.Load(), "%s did not lose its reply", verb)
	}
	info, err := store.Queue(ctx, "mail")
	require.NoError(t, err)
	require.EqualValues(t, 4, info.Counts[backend.StateRunning])
	require.EqualValues(t, 1, info.Counts[backend.StateWaiting])

	lose()
	_, err = store.Delete(ctx, "mail", []string{waits})
	require.ErrorIs(t, err, backend.ErrUnavailable, "a repetition would answer that there is no such job")
	require.Equal(t, lost, c.lost.Load())
}

func TestTheScriptCacheMayBeFlushed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{DefaultShards: 3})
	_, err := store.Enqueue(ctx, ids("a-", 0, 30))
	require.NoError(t, err)
	require.NoError(t, client.ScriptFlush(ctx).Err())
	leases := lease(t, store, "w", 30) // a pipeline of three
	require.Len(t, leases, 30)
	require.NoError(t, client.ScriptFlush(ctx).Err())
	finish(t, store, "w", leases, backend.OutcomeCompleted)
}

func TestAnEnqueueFailsFastWhileTheServerIsAwayAndRecovers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, client := standalone(t, redistest.Options{AppendFsync: "always"})
	store := open(t, client, redis.Config{})
	_, err := store.Enqueue(ctx, ids("a-", 0, 1))
	require.NoError(t, err)

	server.Stop()
	start := begin()
	_, err = store.Enqueue(ctx, ids("b-", 0, 1))
	require.ErrorIs(t, err, backend.ErrUnavailable)
	start.within(t, redis.DefaultTimeout+500*time.Millisecond, "an enqueue while the server is away")

	server.Restart()
	_, err = store.Enqueue(ctx, ids("c-", 0, 1))
	require.NoError(t, err)

	server.Pause()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	start = begin()
	_, err = store.Enqueue(short, ids("d-", 0, 1))
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	start.within(t, 500*time.Millisecond, "an enqueue whose context ends after 100 ms")
	_, err = store.Enqueue(ctx, ids("e-", 0, 1))
	require.ErrorIs(t, err, backend.ErrUnavailable)
	start.within(t, 3*time.Second, "with one that waits for the store")
	server.Continue()
	require.Eventually(t, func() bool {
		_, err := store.Enqueue(ctx, ids("f-", 0, 1))
		return err == nil
	}, patience, time.Millisecond)
}

func TestALeaseIsNotReclaimedRightAfterTheServerWasAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{})
	const duration = time.Second
	_, err := store.Enqueue(ctx, ids("a-", 0, 1))
	require.NoError(t, err)
	reply, err := store.Lease(ctx, backend.LeaseRequest{Worker: "holder", Token: "holder.1", Queues: []string{"mail"}, Max: 1, Duration: duration})
	require.NoError(t, err)
	require.Len(t, reply.Leases, 1)

	server.Pause()
	<-time.After(duration + 300*time.Millisecond)
	server.Continue()
	other := backend.LeaseRequest{Worker: "other", Token: "other.1", Queues: []string{"mail"}, Max: 1, Duration: duration}
	reply, err = store.Lease(ctx, other)
	require.NoError(t, err)
	require.Empty(t, reply.Leases, "its holder had no chance to renew")
	require.True(t, reply.NextDue.After(reply.Now), "the grace has an end that is known")

	results, err := store.Renew(ctx, backend.RenewRequest{Worker: "holder", Duration: duration, Leases: []backend.Held{{Queue: "mail", ID: ids("a-", 0, 1)[0].ID, Token: "holder.1"}}})
	require.NoError(t, err)
	require.False(t, results[0].Lost)

	// Now the holder is gone while the other worker's beats go on.
	renewed := begin()
	for n := 2; len(reply.Leases) == 0; n++ {
		require.Less(t, time.Since(renewed.began), patience)
		<-time.After(100 * time.Millisecond)
		other.Token = "other." + time.Duration(n).String()
		reply, err = store.Lease(ctx, other)
		require.NoError(t, err)
	}
	renewed.within(t, duration+2*time.Second, "until a job is taken back whose holder is gone")
	require.Equal(t, 1, reply.Leases[0].Crashes)
}

func TestJobsSurviveASentinelFailover(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	group := redistest.StartSentinel(t, redistest.Options{})
	client := group.Client()
	t.Cleanup(func() { _ = client.Close() })
	store := open(t, client, redis.Config{})
	var err error
	require.Eventually(t, func() bool {
		_, err = store.Enqueue(ctx, ids("a-", 0, 10))
		return err == nil
	}, patience, 10*time.Millisecond)
	require.NoError(t, client.Wait(ctx, 1, 5*time.Second).Err())
	group.Failover()
	var reply backend.LeaseReply
	require.Eventually(t, func() bool {
		reply, err = store.Lease(ctx, backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 20, Duration: 10 * time.Second})
		return err == nil
	}, patience, 10*time.Millisecond)
	require.Len(t, reply.Leases, 10)
}

// lesson: what FLUSHALL took from running workers was counted, and nothing was said.
func TestAStoreThatWasEmptiedIsSpokenOfAndUsedOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	handled := make(chan string, 10)
	var workers []*redis.Backend
	for range 2 {
		workers = append(workers, open(t, client, redis.Config{Namespace: "emptied", Logger: slog.New(noted{handled})}))
	}
	announce := func() {
		for i, w := range workers {
			_, err := w.Announce(ctx, backend.WorkerInfo{ID: fmt.Sprint("w", i)}, time.Minute)
			require.NoError(t, err)
		}
	}
	_, err := workers[0].Enqueue(ctx, ids("a-", 0, 3))
	require.NoError(t, err)
	leases := lease(t, workers[0], "w0", 2)
	announce()
	announce()
	require.Empty(t, handled)
	require.NoError(t, client.FlushAll(ctx).Err())
	announce()
	for range workers {
		require.Contains(t, <-handled, "has lost its jobs")
	}
	announce()
	require.Empty(t, handled, "it is said once")
	results, err := workers[0].Settle(ctx, backend.SettleRequest{Worker: "w0", Call: 1, Settlements: settlementsOf(leases, backend.OutcomeCompleted)})
	require.NoError(t, err)
	require.True(t, results[0].Stale && results[1].Stale)
	_, err = workers[0].Enqueue(ctx, ids("b-", 0, 1))
	require.NoError(t, err)
	queues, err := workers[1].Queues(ctx)
	require.NoError(t, err)
	require.Len(t, queues, 1, "the queue is in the directory again")
}

// noted is a handler of logs that hands on what is said.
type noted struct{ handled chan<- string }

func (noted) Enabled(context.Context, slog.Level) bool { return true }
func (h noted) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h noted) WithGroup(string) slog.Handler          { return h }
func (h noted) Handle(_ context.Context, r slog.Record) error {
	h.handled <- r.Message
	return nil
}
