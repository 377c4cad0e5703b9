package backendtest

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// generous is a bound that no test meets.
var generous = backend.Retention{Count: 10_000, Age: never, Bytes: 64 << 20}

// unbounded has the largest numbers.
var unbounded = backend.Retention{Count: math.MaxInt, Age: math.MaxInt64, Bytes: math.MaxInt64}

// finish ends jobs one after the other.
func (w *worker) finish(outcome backend.Outcome, want backend.State, ids ...string) {
	w.Helper()
	for _, id := range ids {
		w.enqueueAll(id)
		w.settled(w.leaseOne(id), outcome, want)
		// Jobs of one millisecond have no order.
		time.Sleep(2 * time.Millisecond)
	}
}

var retentionTests = []struct {
	name   string
	policy backend.RetentionPolicy
	run    func(k *kit)
}{
	{"finished jobs are kept up to a count and what is trimmed is counted", backend.RetentionPolicy{
		Completed: backend.Retention{Count: 2, Age: never, Bytes: 64 << 20},
		Cancelled: backend.Retention{Count: 3, Age: never, Bytes: 64 << 20},
		Dead:      backend.Retention{Count: 4, Age: never, Bytes: 64 << 20},
	}, func(k *kit) {
		// lesson: a limit must not trim silently.
		w := k.worker("w")
		trimmed := int64(0)
		for _, c := range []struct {
			outcome backend.Outcome
			state   backend.State
			kept    int
		}{
			{backend.OutcomeCompleted, backend.StateCompleted, 2},
			{backend.OutcomeCancelled, backend.StateCancelled, 3},
			{backend.OutcomeDead, backend.StateDead, 4},
		} {
			ids := named(string(c.state), 6)
			w.finish(c.outcome, c.state, ids...)
			k.sweep(long)
			got := k.page(c.state, 0)
			slices.Sort(got)
			require.Equal(k, ids[6-c.kept:], got, "the youngest are kept")
			k.requireGone(ids[:6-c.kept]...)
			trimmed += int64(6 - c.kept)
			require.Equal(k, trimmed, k.info().Trimmed)
		}
	}},
	{"a finished job that was replaced leaves its place to others", backend.RetentionPolicy{
		Completed: generous, Cancelled: generous,
		Dead: backend.Retention{Count: 3, Age: never, Bytes: 10_000},
	}, func(k *kit) {
		w := k.worker("w")
		kill := func(id string, n backend.NewJob) {
			n.Payload = make([]byte, 2000)
			require.False(k, k.enqueue(n)[0].Existing)
			w.settled(w.leaseOne(id), backend.OutcomeDead, backend.StateDead)
			time.Sleep(2 * time.Millisecond)
		}
		for _, id := range []string{"a", "b", "c"} {
			kill(id, job(id))
		}
		for range 10 { // more than there is room for
			kill("a", anew("a"))
		}
		k.enqueue(anew("b", delay(never)))
		kill("d", job("d"))
		k.sweep(long)
		require.ElementsMatch(k, []string{"c", "a", "d"}, k.page(backend.StateDead, 0))
		require.Zero(k, k.info().Trimmed)
		require.EqualValues(k, 14, k.info().Dead)
	}},
	{"the largest retention keeps", backend.RetentionPolicy{
		Completed: unbounded, Cancelled: unbounded, Dead: unbounded,
	}, func(k *kit) {
		w := k.worker("w")
		for _, final := range finals {
			w.finish(final.outcome, final.state, named(string(final.state), 3)...)
			k.sweep(long)
			require.Len(k, k.page(final.state, 0), 3)
			info := k.get(named(string(final.state), 1)[0])
			require.Greater(k, time.Until(info.KeptUntil), backend.MaxDelay)
		}
		require.Zero(k, k.info().Trimmed)
	}},
	{"the smallest retention forgets", backend.RetentionPolicy{
		Completed: backend.Retention{Age: 1}, Cancelled: backend.Retention{Age: 1}, Dead: backend.Retention{Age: 1},
	}, func(k *kit) {
		w := k.worker("w")
		for _, final := range finals {
			id := string(final.state)
			k.enqueueAll(id)
			w.settled(w.leaseOne(id), final.outcome, final.state)
			k.eventually("it is forgotten", func() bool {
				k.sweep(long)
				return k.info().Counts[final.state] == 0
			})
			k.requireGone(id)
		}
	}},
	{"finished jobs are kept up to a number of bytes", backend.RetentionPolicy{
		Completed: generous, Cancelled: generous,
		Dead: backend.Retention{Count: 10_000, Age: never, Bytes: 10_000},
	}, func(k *kit) {
		// lesson: the store must not be filled up by finished jobs.
		w := k.worker("w")
		ids := named("a", 12)
		for _, id := range ids {
			n := job(id)
			n.Payload = make([]byte, 1000)
			k.enqueue(n)
			w.settled(w.leaseOne(id), backend.OutcomeDead, backend.StateDead,
				with(backend.History{Failures: []backend.Failure{{Attempt: 1, Error: strings.Repeat("x", 1000)}}}))
			time.Sleep(2 * time.Millisecond)
		}
		k.sweep(long)
		got := k.page(backend.StateDead, 0)
		slices.Sort(got)
		require.LessOrEqual(k, len(got), 4, "of 2,000 bytes each, 10,000 bytes hold fewer than five")
		require.NotEmpty(k, got)
		require.Equal(k, ids[len(ids)-len(got):], got, "the youngest are kept")
		require.EqualValues(k, len(ids)-len(got), k.info().Trimmed)
	}},
	{"finished jobs are forgotten after their age while the queue is idle", backend.RetentionPolicy{
		Completed: backend.Retention{Count: 10_000, Age: 300 * time.Millisecond, Bytes: 64 << 20},
		Cancelled: backend.Retention{Count: 10_000, Age: 300 * time.Millisecond, Bytes: 64 << 20},
		Dead:      generous,
	}, func(k *kit) {
		w := k.worker("w")
		w.finish(backend.OutcomeCompleted, backend.StateCompleted, "completed")
		w.finish(backend.OutcomeCancelled, backend.StateCancelled, "cancelled")
		w.finish(backend.OutcomeDead, backend.StateDead, "dead")
		require.WithinDuration(k, time.Now().Add(never), k.get("dead").KeptUntil, soon)
		k.eventually("the two are forgotten", func() bool {
			k.sweep(long)
			counts := k.info().Counts
			return counts[backend.StateCompleted] == 0 && counts[backend.StateCancelled] == 0
		})
		k.requireGone("completed", "cancelled")
		k.requireState(backend.StateDead, "dead")
		require.Zero(k, k.info().Trimmed, "a job whose time is up is not trimmed")
		require.False(k, k.enqueue(job("completed"))[0].Existing)
	}},
	{"a completed job says itself how long it is kept", backend.RetentionPolicy{
		Completed: backend.Retention{Count: 10_000, Age: never, Bytes: 64 << 20}, Cancelled: generous, Dead: generous,
	}, func(k *kit) {
		k.enqueueAll("a", "b", "c")
		w := k.worker("w")
		leases := w.lease(3)
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
		w.settled(leases[1], backend.OutcomeCompleted, backend.StateCompleted, keep(-1))
		w.settled(leases[2], backend.OutcomeCompleted, backend.StateCompleted, keep(2*never))
		k.requireGone("b")
		require.WithinDuration(k, time.Now().Add(never), k.get("a").KeptUntil, soon)
		require.WithinDuration(k, time.Now().Add(2*never), k.get("c").KeptUntil, soon)
	}},
	{"what a retry by hand takes out no longer counts for the bounds", backend.RetentionPolicy{
		Completed: generous, Cancelled: generous,
		Dead: backend.Retention{Count: 2, Age: never, Bytes: 64 << 20},
	}, func(k *kit) {
		w := k.worker("w")
		w.finish(backend.OutcomeDead, backend.StateDead, "a", "b")
		k.acted(k.Retry, "a", backend.StateWaiting)
		w.leaseOne("a")
		w.finish(backend.OutcomeDead, backend.StateDead, "c")
		require.NoError(k, k.act(k.Delete, "b").Err)
		w.finish(backend.OutcomeDead, backend.StateDead, "d")
		k.sweep(long)
		require.ElementsMatch(k, []string{"c", "d"}, k.page(backend.StateDead, 0))
		require.Zero(k, k.info().Trimmed)
	}},
}
