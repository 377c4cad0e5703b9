package backendtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var leaseTests = []test{
	{"bad requests for leases are rejected", func(k *kit) {
		k.enqueueAll("a")
		good := k.worker("w").request(1)
		for what, spoil := range map[string]func(*backend.LeaseRequest){
			"no worker":           func(r *backend.LeaseRequest) { r.Worker = "" },
			"no token":            func(r *backend.LeaseRequest) { r.Token = "" },
			"another's token":     func(r *backend.LeaseRequest) { r.Token = "other.1" },
			"token with NUL":      func(r *backend.LeaseRequest) { r.Token += "\x00" },
			"no queue":            func(r *backend.LeaseRequest) { r.Queues = nil },
			"bad queue":           func(r *backend.LeaseRequest) { r.Queues = []string{"q", "{q}"} },
			"queue twice":         func(r *backend.LeaseRequest) { r.Queues = []string{"q", "q"} },
			"negative max":        func(r *backend.LeaseRequest) { r.Max = -1 },
			"max too high":        func(r *backend.LeaseRequest) { r.Max = backend.MaxBatch + 1 },
			"lease too short":     func(r *backend.LeaseRequest) { r.Duration = backend.MinLease - 1 },
			"lease too long":      func(r *backend.LeaseRequest) { r.Duration = backend.MaxLease + 1 },
			"no length of leases": func(r *backend.LeaseRequest) { r.Duration = 0 },
		} {
			bad := good
			spoil(&bad)
			_, err := k.Lease(k.ctx, bad)
			require.ErrorIs(k, err, backend.ErrRejected, what)
		}
		k.requireState(backend.StateWaiting, "a")
	}},
	{"jobs of one priority are leased in the order of their enqueue", func(k *kit) {
		first, second := named("z", 30), named("a", 30)
		k.enqueueAll(first...)
		k.enqueueAll(second...)
		w := k.worker("w")
		var got []string
		for _, n := range []int{1, 7, 40, 100} {
			got = append(got, leased(w.lease(n))...)
		}
		require.Equal(k, slices.Concat(first, second), got)
	}},
	{"a higher priority always comes first", func(k *kit) {
		var want []string
		for p := backend.PriorityLowest; p <= backend.PriorityHighest; p++ {
			k.enqueue(job(fmt.Sprint("x", p), priority(p)), job(fmt.Sprint("y", p), priority(p)))
			want = append([]string{fmt.Sprint("x", p), fmt.Sprint("y", p)}, want...)
		}
		w := k.worker("w")
		got := leased(w.lease(3))
		k.enqueue(job("late", priority(2)))
		want = slices.Insert(want, 3, "late")
		got = append(got, leased(w.lease(100))...)
		require.Equal(k, want, got)
	}},
	{"a leased job is running under the token of its worker until it expires", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		request := w.request(1)
		reply := w.send(request)
		require.Len(k, reply.Leases, 1)
		require.WithinDuration(k, time.Now(), reply.Now, soon)
		require.WithinDuration(k, reply.Now.Add(long), reply.Leases[0].ExpiresAt, time.Second)
		info := k.get("a")
		require.Equal(k, backend.StateRunning, info.State)
		require.Equal(k, "w", info.LeasedBy)
		require.Equal(k, request.Token, info.Token)
		require.WithinDuration(k, reply.Leases[0].ExpiresAt, info.LeaseExpiresAt, 2*time.Millisecond)
		require.False(k, info.CancelRequested)
		require.Empty(k, k.worker("other").lease(10))
	}},
	{"Max bounds the leases over all queues, which are asked in order", func(k *kit) {
		for _, q := range []string{"one", "two", "three"} {
			k.enqueue(job(q+"-a", in(q)), job(q+"-b", in(q)))
		}
		w := k.worker("w")
		lease := func(n int, queues ...string) backend.LeaseReply {
			request := w.request(n)
			request.Queues = queues
			return w.send(request)
		}
		reply := lease(3, "two", "one", "three")
		require.Equal(k, []string{"two-a", "two-b", "one-a"}, leased(reply.Leases))
		require.True(k, reply.More)
		reply = lease(2, "three", "two")
		require.Equal(k, []string{"three-a", "three-b"}, leased(reply.Leases))
		require.False(k, reply.More, "what waits in a queue that was not asked does not count")
		reply = lease(10, "one", "two", "three")
		require.Equal(k, []string{"one-b"}, leased(reply.Leases))
		require.False(k, reply.More)
	}},
	{"More says whether jobs still wait", func(k *kit) {
		k.enqueueAll("a", "b")
		k.enqueue(job("later", delay(never)))
		w := k.worker("w")
		require.True(k, w.send(w.request(0)).More)
		require.True(k, w.send(w.request(1)).More)
		require.False(k, w.send(w.request(1)).More)
		require.False(k, w.send(w.request(1)).More)
	}},
	{"NextDue is the first of the next due job and the next expiry", func(k *kit) {
		w := k.worker("w")
		require.True(k, w.send(w.request(1)).NextDue.IsZero())
		k.enqueue(job("a", delay(2*time.Hour)), job("b", delay(time.Hour)), job("c", delay(3*time.Hour)))
		reply := w.send(w.request(1))
		require.WithinDuration(k, k.get("b").ScheduledFor, reply.NextDue, 2*time.Millisecond)
		k.enqueueAll("d")
		w.leaseOne("d")
		reply = w.send(w.request(1))
		require.WithinDuration(k, k.get("d").LeaseExpiresAt, reply.NextDue, 2*time.Millisecond)
	}},
	{"a delayed job is leased when it is due and not before", func(k *kit) {
		k.enqueue(job("a", delay(300*time.Millisecond)))
		due := k.get("a").ScheduledFor
		w := k.worker("w")
		k.eventually("the job is leased", func() bool {
			reply := w.send(w.request(1))
			if len(reply.Leases) == 0 {
				require.False(k, reply.Now.After(due.Add(time.Millisecond)), "due at %v, not handed out at %v", due, reply.Now)
				return false
			}
			require.False(k, reply.Now.Before(due.Add(-time.Millisecond)), "due at %v, handed out at %v", due, reply.Now)
			return true
		})
	}},
	{"delayed jobs become due in the order of their times and not of their enqueue", func(k *kit) {
		// lesson: delayed jobs of other queues must not starve.
		k.enqueue(
			job("c", delay(220*time.Millisecond)),
			job("a", delay(100*time.Millisecond)),
			job("b", delay(160*time.Millisecond)),
			job("x", in("other"), delay(100*time.Millisecond)),
		)
		w := k.worker("w")
		time.Sleep(300 * time.Millisecond)
		require.Equal(k, []string{"a", "b", "c"}, leased(w.lease(10)))
		request := w.request(10)
		request.Queues = []string{"other"}
		require.Equal(k, []string{"x"}, leased(w.send(request).Leases))
	}},
	{"a due job keeps its priority", func(k *kit) {
		k.enqueue(job("low", priority(-1)), job("normal"), job("high", priority(1), delay(50*time.Millisecond)))
		time.Sleep(150 * time.Millisecond)
		require.Equal(k, []string{"high", "normal", "low"}, leased(k.worker("w").lease(10)))
	}},
	{"a paused queue hands out nothing and says so", func(k *kit) {
		k.enqueueAll("a")
		k.enqueue(job("b", in("other")))
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		w := k.worker("w")
		request := w.request(10)
		request.Queues = []string{"q", "other"}
		reply := w.send(request)
		require.Equal(k, []string{"b"}, leased(reply.Leases))
		require.Equal(k, []string{"q"}, reply.Paused)
		require.False(k, reply.More, "what waits in a paused queue cannot be leased now")
		require.True(k, k.info().Paused)
		require.NoError(k, k.Resume(k.ctx, "q"))
		require.NoError(k, k.Resume(k.ctx, "q"))
		reply = w.send(w.request(10))
		require.Equal(k, []string{"a"}, leased(reply.Leases))
		require.Empty(k, reply.Paused)
		require.False(k, k.info().Paused)
	}},
	{"a pause for a time ends by itself and says when", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		began := time.Now()
		require.NoError(k, k.Pause(k.ctx, "q", never))
		reply := w.send(w.request(1))
		require.Empty(k, reply.Leases)
		require.Equal(k, []string{"q"}, reply.Paused)
		require.Equal(k, k.info().PausedUntil.UnixMilli(), reply.NextDue.UnixMilli())
		require.WithinDuration(k, began.Add(never), k.info().PausedUntil, soon)
		const d = 300 * time.Millisecond
		began = time.Now()
		require.NoError(k, k.Pause(k.ctx, "q", d))
		k.eventually("the pause is over", func() bool { return len(w.lease(1)) == 1 })
		require.GreaterOrEqual(k, time.Since(began), d-time.Millisecond, "stores count in whole milliseconds")
		info := k.info()
		require.False(k, info.Paused)
		require.Zero(k, info.PausedUntil)
		require.Equal(k, []string{"b"}, leased(w.lease(5)))
	}},
	{"of several pauses the last counts, and Resume ends each", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		require.Zero(k, k.info().PausedUntil)
		require.NoError(k, k.Pause(k.ctx, "q", never))
		require.NotZero(k, k.info().PausedUntil)
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		require.Zero(k, k.info().PausedUntil)
		require.Empty(k, w.lease(1))
		require.NoError(k, k.Pause(k.ctx, "q", never))
		require.NoError(k, k.Resume(k.ctx, "q"))
		require.False(k, k.info().Paused)
		require.Zero(k, k.info().PausedUntil)
		require.Equal(k, []string{"a"}, leased(w.lease(1)))
	}},
	{"a queue may be paused before it holds any job", func(k *kit) {
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		k.enqueueAll("a")
		w := k.worker("w")
		require.Empty(k, w.lease(1))
		require.NoError(k, k.Resume(k.ctx, "q"))
		w.leaseOne("a")
	}},
	{"jobs that run in a paused queue go on", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		leases := w.lease(2)
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		require.False(k, w.renew(leases[0], long, nil).Lost)
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
		w.settled(leases[1], backend.OutcomeReleased, backend.StateWaiting)
		require.Empty(k, w.lease(1))
	}},
}

var repeatTests = []test{
	{"a Lease repeated with its token answers the same jobs and takes no new ones", func(k *kit) {
		// lesson: a call that is sent again after a lost reply must not pop a
		// second job and strand the first.
		k.enqueueAll(named("a", 10)...)
		w := k.worker("w")
		request := w.request(3)
		first := w.send(request)
		for range 3 {
			again := w.send(request)
			require.Equal(k, leased(first.Leases), leased(again.Leases))
			for i := range again.Leases {
				require.Equal(k, stored(first.Leases[i].Job), stored(again.Leases[i].Job))
			}
			require.True(k, again.More)
		}
		request.Max = 0
		require.Equal(k, leased(first.Leases), leased(w.send(request).Leases), "with Max 0 too")
		k.requireCounts(map[backend.State]int64{backend.StateRunning: 3, backend.StateWaiting: 7})
	}},
	{"a repeated Lease leaves out what is no longer held", func(k *kit) {
		k.enqueueAll("a", "b", "c", "d")
		w := k.worker("w")
		request := w.request(3)
		leases := w.send(request).Leases
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
		w.settled(leases[2], backend.OutcomeReleased, backend.StateWaiting)
		require.Equal(k, []string{"b"}, leased(w.send(request).Leases))
		require.Equal(k, []string{"c", "d"}, leased(k.worker("other").lease(5)))
		require.Equal(k, []string{"b"}, leased(w.send(request).Leases))
	}},
	{"a Lease that found nothing takes nothing when it is repeated", func(k *kit) {
		w := k.worker("w")
		request := w.request(5)
		require.Empty(k, w.send(request).Leases)
		k.enqueueAll("a")
		reply := w.send(request)
		require.Empty(k, reply.Leases)
		require.True(k, reply.More)
		w.leaseOne("a")
	}},
	{"a Lease over several queues is repeated as one", func(k *kit) {
		k.enqueue(job("a", in("one")))
		w := k.worker("w")
		request := w.request(5)
		request.Queues = []string{"one", "two"}
		require.Equal(k, []string{"a"}, leased(w.send(request).Leases))
		k.enqueue(job("b", in("two")))
		require.Equal(k, []string{"a"}, leased(w.send(request).Leases))
	}},
	{"workers repeat their calls independently of each other", func(k *kit) {
		k.enqueueAll("a", "b")
		one, two := k.worker("one"), k.worker("two")
		first, second := one.request(1), two.request(1)
		require.Equal(k, []string{"a"}, leased(one.send(first).Leases))
		require.Equal(k, []string{"b"}, leased(two.send(second).Leases))
		require.Equal(k, []string{"a"}, leased(one.send(first).Leases))
		require.Equal(k, []string{"b"}, leased(two.send(second).Leases))
	}},
	{"a Settle repeated with its call number answers the same and counts once", func(k *kit) {
		k.enqueueAll("a", "b", "c", "d", "e")
		w := k.worker("w")
		leases := w.lease(5)
		stale := leases[4]
		stale.Token = "w.other"
		request := w.settleRequest(
			settlement(leases[0], backend.OutcomeCompleted, keep(never)),
			settlement(leases[1], backend.OutcomeRetry, after(never)),
			settlement(leases[2], backend.OutcomeDead),
			settlement(leases[3], backend.OutcomeReleased),
			settlement(stale, backend.OutcomeDead),
		)
		want := []backend.SettleResult{
			{State: backend.StateCompleted}, {State: backend.StateScheduled},
			{State: backend.StateDead}, {State: backend.StateWaiting}, {Stale: true},
		}
		require.Equal(k, want, w.sendSettle(request))
		other := k.worker("other")
		other.settle()
		other.leaseOne("d")
		for range 3 {
			require.Equal(k, want, w.sendSettle(request))
		}
		k.requireState(backend.StateRunning, "d", "e")
		info := k.info()
		require.Equal(k, []int64{1, 1, 0, 1, 0}, []int64{info.Completed, info.Failed, info.Cancelled, info.Dead, info.Crashed})
	}},
	{"the same settlements under a new call number are stale", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted, keep(never))
		require.True(k, w.settle(settlement(lease, backend.OutcomeCompleted))[0].Stale)
		require.EqualValues(k, 1, k.info().Completed)
	}},
}
