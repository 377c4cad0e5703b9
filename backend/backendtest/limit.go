package backendtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// limited has a job count against limits.
func limited(limits ...backend.Limit) func(*backend.NewJob) {
	return func(j *backend.NewJob) { j.Limits = limits }
}

// slots is a limit by slots.
func slots(n int, key string, hold ...backend.SlotHold) backend.Limit {
	l := backend.Limit{Class: "tenant", Key: key, Rule: backend.LimitRule{Slots: n}}
	for _, h := range hold {
		l.Hold = h
	}
	return l
}

// rate is a limit by so many tokens in a period that is longer than a test, of which as many
// are there at the start.
func rate(n int) backend.Limit {
	return backend.Limit{Class: "api", Rule: backend.LimitRule{Rate: n, Per: time.Duration(n) * never, Burst: n}}
}

// allLimited enqueues jobs with the same limits.
func (k *kit) allLimited(ids []string, limits ...backend.Limit) {
	k.Helper()
	jobs := make([]backend.NewJob, len(ids))
	for i, id := range ids {
		jobs[i] = job(id, limited(limits...))
	}
	k.enqueue(jobs...)
}

func (k *kit) limit(class, key, id string) backend.LimitInfo {
	k.Helper()
	info, err := k.Limit(k.ctx, backend.LimitQuery{Queue: "q", Class: class, Key: key, Job: id})
	require.NoError(k, err)
	return info
}

// requireFree requires that nobody has a slot and nobody is parked.
func (k *kit) requireFree(class, key string) {
	k.Helper()
	info := k.limit(class, key, "")
	require.Zero(k, info.Held)
	require.Empty(k, info.Holders)
	require.Zero(k, info.Parked)
}

func (k *kit) setLimit(class string, rule *backend.LimitRule) {
	k.Helper()
	require.NoError(k, k.SetLimit(k.ctx, "q", class, rule))
}

var limitTests = []test{
	{"a limit holds within one lease and over several; the others are parked and come in order", func(k *kit) {
		// lesson: limits checked before and counted after; a limit of 2 let 6 run. A lease of
		// many must respect a limit within the batch too.
		w := k.worker("w")
		k.allLimited(named("a", 6), slots(2, "acme"))
		leases := w.lease(10)
		require.Equal(k, []string{"a00000", "a00001"}, leased(leases))
		k.requireCounts(map[backend.State]int64{backend.StateRunning: 2, backend.StateBlocked: 4})
		require.Empty(k, k.worker("v").lease(10))
		info := k.limit("tenant", "acme", "a00004")
		require.Equal(k, 2, info.Held)
		require.Equal(k, []string{"a00000", "a00001"}, info.Holders)
		require.Equal(k, 4, info.Parked)
		require.Equal(k, 3, info.Place)
		for i := range 4 {
			w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
			more := w.lease(10)
			require.Equal(k, []string{fmt.Sprintf("a%05d", i+2)}, leased(more))
			leases = append(leases[1:], more...)
		}
		w.settle(settlements(leases, backend.OutcomeCompleted)...)
		k.requireFree("tenant", "acme")
		k.requireCounts(nil)
	}},
	{"what has no room does not stand in the way, and says what it waits for", func(k *kit) {
		// lesson: a limited key that blocks the unrelated jobs behind it.
		w := k.worker("w")
		k.allLimited(named("a", 3), slots(1, "acme"))
		k.enqueueAll("plain")
		k.allLimited([]string{"b"}, slots(1, "other"))
		require.Equal(k, []string{"a00000", "plain", "b"}, leased(w.lease(10)))
		info := k.get("a00001")
		require.Equal(k, backend.StateBlocked, info.State)
		class, key, ok := backend.PairOf(info.BlockedOn)
		require.Equal(k, []any{"tenant", "acme", true}, []any{class, key, ok})
		require.Equal(k, []backend.Limit{slots(1, "acme")}, info.Limits)
		reply := w.send(w.request(10))
		require.Empty(k, reply.Blocked, "a limit is nothing that a worker can unblock")
		require.False(k, reply.More)
	}},
	{"a lease takes no more than it asked for, of parked and waiting ones together", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 3), slots(1, "acme"))
		k.allLimited(named("b", 3), slots(1, "other"))
		leases := w.lease(5)
		require.Len(k, leases, 2)
		k.enqueueAll("plain", "plainer")
		w.settle(settlements(leases, backend.OutcomeCompleted)...)
		got := []string{}
		for range 4 {
			reply := w.send(w.request(1))
			require.Len(k, reply.Leases, 1)
			require.Equal(k, len(got) < 3, reply.More)
			got = append(got, leased(reply.Leases)...)
		}
		require.Equal(k, []string{"a00001", "b00001", "plain", "plainer"}, got)
	}},
	{"all ways in which a job stops running free its slot in the same step", func(k *kit) {
		// lesson: a lock counter that leaks until nothing runs.
		w := k.worker("w")
		for i, end := range []struct {
			outcome backend.Outcome
			state   backend.State
			options []func(*backend.Settlement)
		}{
			{backend.OutcomeCompleted, backend.StateCompleted, nil},
			{backend.OutcomeCompleted, backend.StateCompleted, []func(*backend.Settlement){keep(never)}},
			{backend.OutcomeRetry, backend.StateScheduled, []func(*backend.Settlement){after(never)}},
			{backend.OutcomeSnoozed, backend.StateScheduled, []func(*backend.Settlement){after(never)}},
			{backend.OutcomeBlocked, backend.StateBlocked, nil},
			{backend.OutcomeCancelled, backend.StateCancelled, nil},
			{backend.OutcomeDead, backend.StateDead, nil},
		} {
			ids := named(fmt.Sprint("job", i, "-"), 2)
			k.allLimited(ids, slots(1, "acme"))
			first := w.leaseOne(ids[0])
			require.Empty(k, w.lease(5))
			w.settled(first, end.outcome, end.state, end.options...)
			w.settled(w.leaseOne(ids[1]), backend.OutcomeCompleted, backend.StateCompleted)
			k.requireFree("tenant", "acme")
		}
	}},
	{"what comes back is parked before the others if its slot is taken, handed back or as its lease expired", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 4), slots(1, "acme"))
		lease := w.leaseOne("a00000")
		require.Empty(k, w.lease(5))
		w.settled(lease, backend.OutcomeReleased, backend.StateWaiting)
		lease = w.leaseOne("a00001")
		require.Empty(k, w.lease(5))
		require.Equal(k, 1, k.limit("tenant", "acme", "a00000").Place)
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)

		require.Equal(k, []string{"a00000"}, leased(w.leaseFor(5, short)))
		k.eventually("the lease expires", func() bool { return k.sweep(short) == 1 })
		lease = w.leaseOne("a00002")
		require.Empty(k, w.lease(5))
		require.Equal(k, 1, k.limit("tenant", "acme", "a00000").Place)
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		w.leaseOne("a00000")
	}},
	{"an expired lease frees the slot", func(k *kit) {
		// lesson: a concurrency slot that leaks with its worker.
		w := k.worker("w")
		k.allLimited(named("a", 3), slots(2, "acme"))
		require.Len(k, w.leaseFor(5, short), 2)
		k.acted(k.Cancel, "a00000", backend.StateRunning)
		k.eventually("the leases expire", func() bool { return k.sweep(short) > 0 || k.limit("tenant", "acme", "").Held == 0 })
		k.eventually("both", func() bool { k.sweep(short); return k.limit("tenant", "acme", "").Held == 0 })
		k.requireState(backend.StateCancelled, "a00000")
		require.Len(k, w.lease(5), 2)
		require.Equal(k, 2, k.limit("tenant", "acme", "").Held)
	}},
	{"to cancel or delete a parked job leaves the others their places", func(k *kit) {
		w := k.worker("w")
		for _, verb := range []func(context.Context, string, []string) ([]backend.ActResult, error){k.Cancel, k.Delete} {
			k.allLimited(named("a", 4), slots(1, "acme"))
			lease := w.leaseOne("a00000")
			require.Empty(k, w.lease(5))
			require.NoError(k, k.act(verb, "a00001").Err)
			info := k.limit("tenant", "acme", "a00003")
			require.Equal(k, [2]int{2, 2}, [2]int{info.Parked, info.Place})
			w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
			w.settled(w.leaseOne("a00002"), backend.OutcomeCompleted, backend.StateCompleted)
			w.settled(w.leaseOne("a00003"), backend.OutcomeCompleted, backend.StateCompleted)
			k.requireFree("tenant", "acme")
			_, err := k.Delete(k.ctx, "q", named("a", 4))
			require.NoError(k, err)
		}
	}},
	{"a running job that is to be cancelled keeps its slot until it has ended", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 2), slots(1, "acme"))
		lease := w.leaseOne("a00000")
		k.acted(k.Cancel, "a00000", backend.StateRunning)
		require.Empty(k, w.lease(5))
		w.settled(lease, backend.OutcomeReleased, backend.StateCancelled)
		w.leaseOne("a00001")
	}},
	{"a lease that is repeated after a lost reply does not count again", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 4), slots(2, "acme"), rate(3))
		request := w.request(10)
		first := w.send(request).Leases
		require.Len(k, first, 2)
		for range 2 {
			require.Equal(k, leased(first), leased(w.send(request).Leases))
			require.Equal(k, 2, k.limit("tenant", "acme", "").Held)
		}
		settle := w.settleRequest(settlements(first, backend.OutcomeCompleted)...)
		for range 2 {
			w.sendSettle(settle)
			require.Zero(k, k.limit("tenant", "acme", "").Held)
		}
		require.Len(k, w.lease(10), 1, "one token is left")
	}},
	{"a stale settlement frees nothing", func(k *kit) {
		// lesson: a late finisher that releases a slot it no longer owns: a limit of 1 ran 11.
		w, v := k.worker("w"), k.worker("v")
		k.allLimited(named("a", 3), slots(1, "acme"))
		late := w.leaseFor(1, short)[0]
		k.eventually("the lease expires", func() bool { return k.sweep(short) == 1 })
		v.leaseOne("a00000")
		require.True(k, w.settle(settlement(late, backend.OutcomeCompleted))[0].Stale)
		require.Empty(k, v.lease(5))
		require.Equal(k, 1, k.limit("tenant", "acme", "").Held)
	}},
	{"of several limits each counts, and a job that waits for one takes no slot of the other", func(k *kit) {
		w := k.worker("w")
		both := []backend.Limit{slots(1, "acme"), {Class: "all", Rule: backend.LimitRule{Slots: 2}}}
		k.allLimited(named("a", 2), both...)
		k.allLimited(named("b", 2), slots(1, "other"), both[1])
		k.allLimited(named("c", 2), slots(1, "third"), both[1])
		leases := w.lease(10)
		require.Equal(k, []string{"a00000", "b00000"}, leased(leases))
		require.Equal(k, 2, k.limit("all", "", "").Held)
		require.Zero(k, k.limit("tenant", "third", "").Held)
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
		require.Len(k, w.lease(10), 1)
		require.Equal(k, 2, k.limit("all", "", "").Held)
		seen := 2
		for running := w.id; running != ""; {
			all, err := k.Jobs(k.ctx, backend.JobsQuery{Queue: "q", State: backend.StateRunning})
			require.NoError(k, err)
			for _, j := range all.Jobs {
				w.settled(backend.Lease{Job: j.Job, Token: j.Token}, backend.OutcomeCompleted, backend.StateCompleted)
				seen++
			}
			if len(w.lease(10)) == 0 {
				running = ""
			}
		}
		require.Equal(k, 2+5, seen)
		k.requireFree("all", "")
	}},
	{"higher priorities go first, in the queue as among the parked ones", func(k *kit) {
		w := k.worker("w")
		k.allLimited([]string{"first"}, slots(1, "acme"))
		lease := w.leaseOne("first")
		k.enqueue(job("low", priority(-1), limited(slots(1, "acme"))), job("high", priority(1), limited(slots(1, "acme"))))
		require.Empty(k, w.lease(5))
		k.enqueue(job("plain"), job("higher", priority(2), limited(slots(1, "acme"))))
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		leases := w.lease(5)
		require.Equal(k, []string{"higher", "plain"}, leased(leases))
		for _, next := range []string{"high", "low"} {
			w.settle(settlements(leases, backend.OutcomeCompleted)...)
			leases = w.lease(5)
			require.Equal(k, []string{next}, leased(leases))
		}
	}},
	{"of limited jobs none is leased ahead", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 3), slots(3, "acme"))
		request := w.request(3)
		request.Ahead = 2
		require.Equal(k, []string{"a00000"}, leased(w.send(request).Leases))
		request = w.request(2)
		request.Ahead = 2
		reply := w.send(request)
		require.Empty(k, reply.Leases)
		require.False(k, reply.More, "nothing for who has no place")
		require.Equal(k, []string{"a00001", "a00002"}, leased(w.lease(5)))
	}},
	{"RunNow lets a parked job wait, and not run without room", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 3), slots(1, "acme"))
		lease := w.leaseOne("a00000")
		require.Empty(k, w.lease(5))
		k.acted(k.RunNow, "a00001", backend.StateWaiting)
		require.Empty(k, w.lease(5))
		require.Equal(k, 1, k.limit("tenant", "acme", "a00001").Place, "it keeps its place")
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		w.leaseOne("a00001")
	}},
	{"a job of an unknown kind and a limited one are blocked for two reasons", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 2), slots(1, "acme"), rate(2))
		w.settled(w.leaseOne("a00000"), backend.OutcomeBlocked, backend.StateBlocked, on("kind:new"))
		w.leaseOne("a00001")
		request := w.request(5)
		request.Unblock = []string{"kind:new"}
		require.Empty(k, w.send(request).Leases, "there is no slot")
		require.Equal(k, 1, k.limit("tenant", "acme", "a00000").Place)
	}},
	{"what is unblocked is handed out before what is parked", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 3), slots(1, "acme"))
		lease := w.leaseOne("a00000")
		require.Empty(k, w.lease(5))
		w.settled(lease, backend.OutcomeBlocked, backend.StateBlocked, on("kind:new"))
		request := w.request(5)
		request.Unblock = []string{"kind:new"}
		require.Equal(k, []string{"a00000"}, leased(w.send(request).Leases))
		require.Equal(k, 1, k.limit("tenant", "acme", "a00001").Place)
	}},
	{"tokens are spent by each attempt and returned by what was not run", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 5), rate(2))
		leases := w.lease(5)
		require.Equal(k, []string{"a00000", "a00001"}, leased(leases))
		info := k.limit("api", "", "")
		require.False(k, info.NextToken.IsZero())
		require.False(k, w.send(w.request(5)).NextDue.IsZero())
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
		require.Empty(k, w.lease(5), "to end gives no token back")
		w.settled(leases[1], backend.OutcomeReleased, backend.StateWaiting)
		w.settled(w.lease(5)[0], backend.OutcomeRetry, backend.StateWaiting)
		require.Empty(k, w.lease(5), "an attempt that failed has cost its token")
		k.requireCounts(map[backend.State]int64{backend.StateBlocked: 4})
	}},
	{"a rate lets through as many as come in the time, evenly, and who waits is woken for each", func(k *kit) {
		w := k.worker("w")
		const per = 20 * time.Millisecond
		k.allLimited(named("a", 8), backend.Limit{Class: "api", Rule: backend.LimitRule{Rate: 1, Per: per}})
		waiter, err := k.Waiter([]string{"q"})
		require.NoError(k, err)
		defer func() { require.NoError(k, waiter.Close()) }()
		var got []string
		var first, last time.Time
		due := time.Time{}
		for start := time.Now(); len(got) < 8; {
			require.Less(k, time.Since(start), patience)
			limit := soon
			if !due.IsZero() {
				limit = min(limit, time.Until(due))
			}
			reply, err := waiter.Lease(k.ctx, w.request(5), limit)
			require.NoError(k, err)
			due = time.Time{}
			if !reply.NextDue.IsZero() {
				due = time.Now().Add(reply.NextDue.Sub(reply.Now))
			}
			require.LessOrEqual(k, len(reply.Leases), 1)
			if len(reply.Leases) > 0 {
				if first.IsZero() {
					first = reply.Now
				}
				last = reply.Now
				w.settle(settlements(reply.Leases, backend.OutcomeCompleted)...)
			}
			got = append(got, leased(reply.Leases)...)
		}
		require.Equal(k, named("a", 8), got)
		require.GreaterOrEqual(k, last.Sub(first)+2*time.Millisecond, 7*per, "no faster than the rate")
	}},
	{"what costs more waits until its tokens have come, and what costs less does not pass it", func(k *kit) {
		w := k.worker("w")
		cheap, dear := rate(3), rate(3)
		dear.Cost = 2
		k.enqueue(job("a", limited(dear)), job("b", limited(dear)), job("c", limited(cheap)))
		require.Equal(k, []string{"a"}, leased(w.lease(5)))
		require.Equal(k, 2, k.limit("api", "", "c").Place)
		k.acted(k.Cancel, "b", backend.StateCancelled)
		require.Equal(k, []string{"c"}, leased(w.lease(5)), "what it waited behind is gone")
	}},
	{"a slot until the end is kept while the job is tried again: jobs of a key go in order", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 3), slots(1, "acme", backend.SlotUntilFinished))
		k.allLimited([]string{"b"}, slots(1, "other", backend.SlotUntilFinished))
		leases := w.lease(5)
		require.Equal(k, []string{"a00000", "b"}, leased(leases))
		w.settled(leases[0], backend.OutcomeRetry, backend.StateScheduled, after(never))
		require.Empty(k, w.lease(5))
		k.acted(k.RunNow, "a00000", backend.StateWaiting)
		w.settled(w.leaseOne("a00000"), backend.OutcomeReleased, backend.StateWaiting)
		w.settled(w.leaseOne("a00000"), backend.OutcomeDead, backend.StateDead)
		w.settled(w.leaseOne("a00001"), backend.OutcomeSnoozed, backend.StateScheduled, after(never))
		require.Empty(k, w.lease(5))
		require.NoError(k, k.act(k.Delete, "a00001").Err)
		w.settled(w.leaseOne("a00002"), backend.OutcomeCompleted, backend.StateCompleted)
		w.settled(leases[1], backend.OutcomeCompleted, backend.StateCompleted)
		k.requireFree("tenant", "acme")
		k.acted(k.Retry, "a00000", backend.StateWaiting)
		k.allLimited([]string{"c"}, slots(1, "acme", backend.SlotUntilFinished))
		w.leaseOne("a00000")
		require.Empty(k, w.lease(5), "one that is retried by hand counts again")
	}},
	{"the order of a key holds while its first job waits for another limit", func(k *kit) {
		w := k.worker("w")
		account := slots(1, "acme", backend.SlotUntilFinished)
		busy := backend.Limit{Class: "all", Rule: backend.LimitRule{Slots: 1}}
		k.allLimited([]string{"busy"}, busy)
		k.allLimited([]string{"a"}, account, busy)
		k.allLimited([]string{"b"}, account)
		lease := w.leaseOne("busy")
		require.Empty(k, w.lease(5))
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		lease = w.leaseOne("a")
		require.Empty(k, w.lease(5))
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		w.leaseOne("b")
	}},
	{"where a job is to be refused, the enqueue says so and nothing is stored", func(k *kit) {
		w := k.worker("w")
		refusing := slots(2, "acme", backend.SlotOnceEnqueued)
		k.allLimited(named("a", 2), refusing)
		receipts, err := k.Enqueue(k.ctx, []backend.NewJob{job("b", limited(refusing)), job("plain")})
		require.ErrorIs(k, err, backend.ErrLimited)
		require.ErrorIs(k, receipts[0].Err, backend.ErrLimited)
		require.ErrorContains(k, receipts[0].Err, `"tenant" for "acme"`)
		require.NoError(k, receipts[1].Err)
		k.requireGone("b")
		require.True(k, k.enqueue(job("a00000", limited(refusing)))[0].Existing, "what is held already is not refused")
		require.Equal(k, 2, k.limit("tenant", "acme", "").Held)
		leases := w.lease(2)
		require.Len(k, leases, 2)
		w.settled(leases[0], backend.OutcomeRetry, backend.StateScheduled, after(never))
		_, err = k.Enqueue(k.ctx, []backend.NewJob{job("b", limited(refusing))})
		require.ErrorIs(k, err, backend.ErrLimited)
		w.settled(leases[1], backend.OutcomeCompleted, backend.StateCompleted)
		k.allLimited([]string{"b"}, refusing)
		for _, id := range []string{"b", "a00000"} {
			require.NoError(k, k.act(k.Delete, id).Err)
		}
		k.requireFree("tenant", "acme")

		spending := rate(2)
		spending.Hold = backend.SlotOnceEnqueued
		k.allLimited(named("c", 2), spending)
		_, err = k.Enqueue(k.ctx, []backend.NewJob{job("d", limited(spending))})
		require.ErrorIs(k, err, backend.ErrLimited)
		require.Len(k, w.lease(5), 3)
	}},
	{"of many that enqueue at once as many are stored as there is room for", func(k *kit) {
		var group sync.WaitGroup
		errs := make([]error, 20)
		for i, id := range named("a", len(errs)) {
			group.Go(func() {
				_, errs[i] = k.Enqueue(k.ctx, []backend.NewJob{job(id, limited(slots(3, "acme", backend.SlotOnceEnqueued)))})
			})
		}
		group.Wait()
		stored := 0
		for _, err := range errs {
			if err == nil {
				stored++
			} else {
				require.ErrorIs(k, err, backend.ErrLimited)
			}
		}
		require.Equal(k, 3, stored)
	}},
	{"a rule that is set counts at once, more than what the programs say, until it is taken back", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 6), slots(1, "acme"))
		k.allLimited(named("b", 3), slots(1, "other"))
		require.Equal(k, []string{"a00000", "b00000"}, leased(w.lease(10)))
		k.setLimit("tenant", &backend.LimitRule{Slots: 3})
		info := k.limit("tenant", "acme", "")
		require.Equal(k, [2]int{3, 1}, [2]int{info.Rule.Slots, info.Code.Slots})
		require.Equal(k, 3, info.Fleet.Slots)
		leases := w.lease(10)
		require.Len(k, leases, 4)
		k.setLimit("tenant", &backend.LimitRule{Slots: 2})
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
		require.LessOrEqual(k, len(w.lease(10)), 1, "those that run go on, and more come when there is room")
		k.setLimit("tenant", nil)
		require.Nil(k, k.limit("tenant", "acme", "").Fleet)
		k.allLimited([]string{"c"}, slots(0, "third"))
		require.NotEmpty(k, w.lease(10), "the job that was stored last says that there is no limit")
		k.eventually("all are leased", func() bool { w.lease(10); return k.info().Counts[backend.StateBlocked] == 0 })
	}},
	{"a rate that is raised counts for those that are parked by the one before", func(k *kit) {
		w := k.worker("w")
		costly := rate(1)
		costly.Cost = 5
		k.allLimited([]string{"a"}, costly)
		k.allLimited([]string{"b"}, rate(1))
		k.allLimited([]string{"c"}, costly)
		require.Equal(k, []string{"a"}, leased(w.lease(10)))
		require.Empty(k, w.lease(10))
		k.setLimit("api", &backend.LimitRule{Rate: 1000, Per: time.Second, Burst: 1})
		var got []string
		k.eventually("all are leased", func() bool {
			got = append(got, leased(w.lease(10))...)
			return len(got) == 2
		})
		require.Equal(k, []string{"b", "c"}, got)
	}},
	{"what is wrong with a limit is rejected", func(k *kit) {
		for want, limits := range map[string][]backend.Limit{
			"no name":                  {{}},
			"are allowed":              {{Class: "a/b"}},
			"control character":        {{Class: "a", Key: "a\nb"}},
			"is not UTF-8":             {{Class: "a", Key: "a\xff"}},
			"take a hash":              {{Class: "a", Key: strings.Repeat("k", 101)}},
			"slots; give":              {{Class: "a", Rule: backend.LimitRule{Slots: -1}}},
			"without a rate":           {{Class: "a", Rule: backend.LimitRule{Burst: 2}}},
			"give a period":            {{Class: "a", Rule: backend.LimitRule{Rate: 2}}},
			"one per microsecond":      {{Class: "a", Rule: backend.LimitRule{Rate: 2, Per: time.Microsecond}}},
			"would take longer":        {{Class: "a", Rule: backend.LimitRule{Rate: 1, Per: 100 * 24 * time.Hour, Burst: 1000}}},
			"a cost of -1":             {{Class: "a", Cost: -1}},
			"given twice":              {{Class: "a"}, {Class: "a"}},
			"a job has at most 4":      {{Class: "a"}, {Class: "b"}, {Class: "c"}, {Class: "d"}, {Class: "e"}},
			"of a slot is none":        {{Class: "a", Hold: 9}},
			"it has to be the first":   {{Class: "a"}, {Class: "b", Hold: backend.SlotUntilFinished}},
			"tokens at 1 per 2400h0m0": {{Class: "a", Cost: 1000, Rule: backend.LimitRule{Rate: 1, Per: 100 * 24 * time.Hour}}},
		} {
			_, err := k.Enqueue(k.ctx, []backend.NewJob{job("a", limited(limits...))})
			require.ErrorIs(k, err, backend.ErrRejected, want)
			require.ErrorContains(k, err, want)
		}
		require.ErrorIs(k, k.SetLimit(k.ctx, "q", "a", &backend.LimitRule{Slots: -1}), backend.ErrRejected)
		require.ErrorIs(k, k.SetLimit(k.ctx, "q", "", nil), backend.ErrRejected)
		_, err := k.Limit(k.ctx, backend.LimitQuery{Queue: "q", Class: "unheard-of"})
		require.ErrorIs(k, err, backend.ErrNotFound)
		require.NotErrorIs(k, err, backend.ErrUnavailable)
		w := k.worker("w")
		k.enqueueAll("a")
		lease := w.leaseOne("a")
		require.ErrorIs(k, w.settle(settlement(lease, backend.OutcomeBlocked, on("limit:a/b")))[0].Err, backend.ErrRejected)
		request := w.request(1)
		request.Unblock = []string{"limit:tenant/acme"}
		_, err = k.Lease(k.ctx, request)
		require.ErrorIs(k, err, backend.ErrRejected)
	}},
}
