package backendtest

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// key is a unique key.
func key(n byte) backend.Key { return backend.Key{n} }

// unique has a job hold a key until it has finished, unless options say otherwise.
func unique(n byte, options ...func(*backend.Unique)) func(*backend.NewJob) {
	return func(j *backend.NewJob) {
		j.Unique = backend.Unique{Key: key(n), Hold: backend.HoldUntilFinished}
		for _, option := range options {
			option(&j.Unique)
		}
	}
}

func untilStarted(u *backend.Unique)   { u.Hold = backend.HoldUntilStarted }
func replacingOther(u *backend.Unique) { u.Conflict = backend.ConflictReplace }

func forTime(d time.Duration) func(*backend.Unique) {
	return func(u *backend.Unique) { u.Hold, u.For = backend.HoldForTime, d }
}

// stores requires that a job is stored and holds its key.
func (k *kit) stores(j backend.NewJob) {
	k.Helper()
	r := k.enqueue(j)[0]
	require.Equal(k, j.ID, r.Holder)
	require.False(k, r.Existing)
	require.False(k, r.Duplicate())
	require.False(k, r.Replaced)
}

// meets requires that another job holds the key of a new one, which is not stored.
func (k *kit) meets(j backend.NewJob, holder string, state backend.State) {
	k.Helper()
	require.Equal(k, backend.Receipt{Queue: "q", ID: j.ID, State: state, Holder: holder}, k.enqueue(j)[0])
	k.requireGone(j.ID)
}

var uniqueTests = []test{
	{"a key is held until its job has finished, however that ends", func(k *kit) {
		// lesson: a unique lock is neither shorter than the job nor outlives it.
		w := k.worker("w")
		for _, end := range []struct {
			outcome backend.Outcome
			state   backend.State
			keep    time.Duration
		}{
			{backend.OutcomeCompleted, backend.StateCompleted, -1},
			{backend.OutcomeCompleted, backend.StateCompleted, never},
			{backend.OutcomeCancelled, backend.StateCancelled, 0},
			{backend.OutcomeDead, backend.StateDead, 0},
		} {
			id := string(end.state) + end.keep.String()
			k.stores(job(id, unique(1)))
			k.meets(job("other", unique(1)), id, backend.StateWaiting)
			lease := w.leaseOne(id)
			k.meets(job("other", unique(1)), id, backend.StateRunning)
			w.settled(lease, backend.OutcomeRetry, backend.StateScheduled, after(never))
			k.meets(job("other", unique(1)), id, backend.StateScheduled)
			k.acted(k.RunNow, id, backend.StateWaiting)
			w.settled(w.leaseOne(id), backend.OutcomeReleased, backend.StateWaiting)
			k.meets(job("other", unique(1)), id, backend.StateWaiting)
			w.settled(w.leaseOne(id), end.outcome, end.state, keep(end.keep))
		}
		k.stores(job("last", unique(1)))
	}},
	{"a key that is held until the start is free from the first lease on, and not taken again", func(k *kit) {
		w := k.worker("w")
		k.stores(job("a", unique(1, untilStarted)))
		k.meets(job("b", unique(1, untilStarted)), "a", backend.StateWaiting)
		lease := w.leaseOne("a")
		k.stores(job("b", unique(1, untilStarted)))
		w.settled(lease, backend.OutcomeRetry, backend.StateWaiting)
		k.meets(job("c", unique(1, untilStarted)), "b", backend.StateWaiting)
		w.settled(w.leaseOne("b"), backend.OutcomeReleased, backend.StateWaiting)
		k.stores(job("c", unique(1, untilStarted)))
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 3})
	}},
	{"the same id twice and the same key twice are two answers", func(k *kit) {
		// lesson: an enqueue that succeeded must not be reported as a duplicate.
		k.stores(job("a", unique(1)))
		again := k.enqueue(job("a", unique(1)))[0]
		require.Equal(k, backend.Receipt{Queue: "q", ID: "a", State: backend.StateWaiting, Existing: true}, again)
		require.False(k, again.Duplicate())
		other := k.enqueue(job("b", unique(1)))[0]
		require.True(k, other.Duplicate())
		require.False(k, other.Existing)
	}},
	{"a job without a key, and one of another key or queue, meets no hold", func(k *kit) {
		k.stores(job("a", unique(1)))
		k.stores(job("b", unique(2)))
		require.Empty(k, k.enqueue(job("c"))[0].Holder)
		require.Equal(k, "d", k.enqueue(job("d", unique(1), in("other")))[0].Holder)
	}},
	{"one that replaces takes the place, with payload, delay and priority, while that has not started", func(k *kit) {
		w := k.worker("w")
		k.enqueueAll("before")
		k.stores(job("a", unique(1, replacingOther), delay(never)))
		r := k.enqueue(job("b", unique(1, replacingOther), priority(1)))[0]
		require.Equal(k, backend.Receipt{Queue: "q", ID: "b", State: backend.StateWaiting, Holder: "a", Replaced: true}, r)
		k.requireGone("b")
		require.Equal(k, "payload of b", string(k.get("a").Payload))
		require.Equal(k, 1, k.get("a").Priority)
		r = k.enqueue(job("c", unique(1, replacingOther), delay(never)))[0]
		require.Equal(k, backend.StateScheduled, r.State)
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 1, backend.StateScheduled: 1})
		require.Equal(k, []string{"before"}, leased(w.lease(5)))
		r = k.enqueue(job("d", unique(1, replacingOther)))[0]
		require.True(k, r.Replaced)
		lease := w.leaseOne("a")
		require.Equal(k, "payload of d", string(lease.Job.Payload))
		k.meets(job("e", unique(1, replacingOther)), "a", backend.StateRunning)
		w.settled(lease, backend.OutcomeRetry, backend.StateWaiting)
		k.meets(job("e", unique(1, replacingOther)), "a", backend.StateWaiting)
		require.Equal(k, "payload of d", string(w.leaseOne("a").Job.Payload))
	}},
	{"a waiting job that is replaced is handed out once", func(k *kit) {
		k.stores(job("a", unique(1, replacingOther)))
		k.enqueueAll("b")
		for range 50 {
			require.True(k, k.enqueue(job("c", unique(1, replacingOther)))[0].Replaced)
		}
		require.Equal(k, []string{"b", "a"}, leased(k.worker("w").lease(10)))
		k.requireCounts(map[backend.State]int64{backend.StateRunning: 2})
	}},
	{"a key that is held for a time is free after it, whatever has become of its job", func(k *kit) {
		w := k.worker("w")
		k.stores(job("a", unique(1, forTime(300*time.Millisecond))))
		w.settled(w.leaseOne("a"), backend.OutcomeCompleted, backend.StateCompleted, keep(-1))
		r := k.enqueue(job("b", unique(1, forTime(never))))[0]
		if !r.Duplicate() { // a busy machine may come too late
			return
		}
		require.Equal(k, "a", r.Holder)
		require.Empty(k, r.State, "its job is forgotten")
		k.eventually("the key is free", func() bool {
			k.sweep(long)
			return k.enqueue(job("b", unique(1, forTime(never))))[0].Holder == "b"
		})
		w.settled(w.leaseOne("b"), backend.OutcomeDead, backend.StateDead)
		k.requireState(backend.StateDead, "b")
		require.Equal(k, "b", k.enqueue(job("c", unique(1)))[0].Holder)
	}},
	{"to cancel or delete a job frees its key in the same step", func(k *kit) {
		w := k.worker("w")
		for _, verb := range []func(context.Context, string, []string) ([]backend.ActResult, error){k.Cancel, k.Delete} {
			k.stores(job("a", unique(1)))
			require.NoError(k, k.act(verb, "a").Err)
			k.stores(job("b", unique(1), delay(never)))
			require.NoError(k, k.act(verb, "b").Err)
			k.stores(job("c", unique(1)))
			w.settled(w.leaseOne("c"), backend.OutcomeBlocked, backend.StateBlocked)
			require.NoError(k, k.act(verb, "c").Err)
			k.stores(job("d", unique(2, forTime(never))))
			require.NoError(k, k.act(k.Delete, "d").Err)
			k.stores(job("e", unique(2)))
			require.NoError(k, k.act(k.Delete, "e").Err)
			_, err := k.Delete(k.ctx, "q", []string{"a", "b", "c"})
			require.NoError(k, err)
		}
	}},
	{"a running job that is to be cancelled keeps its key until it is, also by the end of its lease", func(k *kit) {
		// lesson: a lock that leaks when a worker vanishes.
		w := k.worker("w")
		k.stores(job("a", unique(1)))
		require.Len(k, w.leaseFor(1, short), 1)
		k.acted(k.Cancel, "a", backend.StateRunning)
		k.eventually("the lease expires", func() bool { return k.sweep(short) == 1 })
		k.requireState(backend.StateCancelled, "a")
		k.stores(job("b", unique(1)))
		require.Len(k, w.leaseFor(1, short), 1)
		k.eventually("the lease expires", func() bool { return k.sweep(short) == 1 })
		k.meets(job("c", unique(1)), "b", backend.StateWaiting)
		w.settled(w.leaseOne("b"), backend.OutcomeCompleted, backend.StateCompleted)
		k.stores(job("c", unique(1)))
	}},
	{"a job that is retried by hand holds no key any more", func(k *kit) {
		w := k.worker("w")
		k.stores(job("a", unique(1)))
		w.settled(w.leaseOne("a"), backend.OutcomeDead, backend.StateDead)
		k.stores(job("b", unique(1)))
		k.acted(k.Retry, "a", backend.StateWaiting)
		k.meets(job("c", unique(1)), "b", backend.StateWaiting)
		leases := w.lease(2)
		require.Len(k, leases, 2)
		for _, l := range leases {
			if l.Job.ID == "a" {
				w.settled(l, backend.OutcomeCompleted, backend.StateCompleted)
			}
		}
		k.meets(job("c", unique(1)), "b", backend.StateRunning)
	}},
	{"of a batch the first of a key is stored", func(k *kit) {
		receipts := k.enqueue(job("a", unique(1)), job("plain"), job("b", unique(1)), job("c", unique(2)), job("c", unique(3)), job("d", unique(2, replacingOther)))
		holders := make([]string, len(receipts))
		for i, r := range receipts {
			holders[i] = r.Holder
		}
		require.Equal(k, []string{"a", "", "a", "c", "", "c"}, holders)
		require.True(k, receipts[4].Existing)
		require.True(k, receipts[5].Replaced)
		require.Equal(k, "payload of d", string(k.get("c").Payload))
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 3})
	}},
	{"of many that enqueue a key at once one is stored", func(k *kit) {
		var group sync.WaitGroup
		receipts := make([]backend.Receipt, 50)
		for i, id := range named("a", len(receipts)) {
			group.Go(func() {
				if all, err := k.Enqueue(k.ctx, []backend.NewJob{job(id, unique(1))}); err == nil {
					receipts[i] = all[0]
				}
			})
		}
		group.Wait()
		stored := 0
		for _, r := range receipts {
			require.Equal(k, receipts[0].Holder, r.Holder)
			require.NotEmpty(k, r.Holder)
			if !r.Duplicate() {
				stored++
			}
		}
		require.Equal(k, 1, stored)
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 1})
	}},
	{"a tick whose key another job holds is skipped", func(k *kit) {
		k.stores(job("a", unique(1)))
		s, err := k.PutSchedule(k.ctx, backend.Schedule{Queue: "q", Name: "s", Spec: []byte("spec"), Next: longAgo})
		require.NoError(k, err)
		tick := func(at, next time.Time) backend.TickResult {
			n := job(backend.TickID("s", at), unique(1))
			reply, err := k.Tick(k.ctx, []backend.Tick{{Queue: "q", Name: "s", Version: s.Version, At: at, Next: next, Job: &n, Overlap: backend.OverlapAllow}})
			require.NoError(k, err)
			require.NoError(k, reply.Results[0].Err)
			s = reply.Results[0].Schedule
			return reply.Results[0]
		}
		result := tick(longAgo, longAgo.Add(time.Hour))
		require.Equal(k, backend.TickSkipped, result.Outcome)
		require.EqualValues(k, 1, result.Schedule.Skipped)
		require.Empty(k, result.Schedule.LastJob)
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 1})
		k.acted(k.Cancel, "a", backend.StateCancelled)
		require.Equal(k, backend.TickEnqueued, tick(longAgo.Add(time.Hour), longAgo.Add(2*time.Hour)).Outcome)
		k.meets(job("b", unique(1)), backend.TickID("s", longAgo.Add(time.Hour)), backend.StateWaiting)
	}},
	{"what is wrong with a key is rejected", func(k *kit) {
		for _, u := range []backend.Unique{
			{Hold: backend.HoldUntilFinished}, {Key: key(1)}, {Key: key(1), Hold: 9},
			{Key: key(1), Hold: backend.HoldForTime}, {Key: key(1), Hold: backend.HoldUntilStarted, For: time.Hour},
			{Key: key(1), Hold: backend.HoldUntilFinished, Conflict: 9},
		} {
			n := job("a")
			n.Unique = u
			_, err := k.Enqueue(k.ctx, []backend.NewJob{n})
			require.ErrorIs(k, err, backend.ErrRejected, "%+v", u)
		}
	}},
}
