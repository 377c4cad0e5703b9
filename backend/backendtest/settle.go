package backendtest

import (
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// outcomes lists all outcomes.
var outcomes = []backend.Outcome{
	backend.OutcomeCompleted, backend.OutcomeRetry, backend.OutcomeSnoozed, backend.OutcomeReleased,
	backend.OutcomeBlocked, backend.OutcomeCancelled, backend.OutcomeDead,
}

// someHistory has something in each field.
func someHistory(k *kit) backend.History {
	at := k.get("a").EnqueuedAt
	return backend.History{
		Attempts: 2, Snoozes: 1,
		Failures: []backend.Failure{
			{Attempt: 1, At: at, Worker: "w", Error: "first \"error\"\n", Stack: "stack"},
			{Attempt: 2, At: at.Add(time.Millisecond), Worker: "w", Error: "zweiter Fehler: ü"},
		},
		Result: []byte("\x00result\xff"), Progress: []byte("\x00half\xff"), Worker: "w",
		StartedAt: at, FinishedAt: at.Add(time.Second),
	}
}

var settleTests = []test{
	{"bad requests to settle are rejected", func(k *kit) {
		_, err := k.Settle(k.ctx, backend.SettleRequest{Call: 1})
		require.ErrorIs(k, err, backend.ErrRejected, "no worker")
		_, err = k.Settle(k.ctx, backend.SettleRequest{Worker: "w"})
		require.ErrorIs(k, err, backend.ErrRejected, "no call number")
		_, err = k.Settle(k.ctx, backend.SettleRequest{Worker: "w", Call: 1, Settlements: make([]backend.Settlement, backend.MaxBatch+1)})
		require.ErrorIs(k, err, backend.ErrRejected, "too many")
	}},
	{"a bad settlement is an error of its own and does not hold up the others", func(k *kit) {
		// lesson: one poisoned message must not stop the others.
		for what, spoil := range map[string]func(*backend.Settlement){
			"no outcome":        func(s *backend.Settlement) { s.Outcome = 0 },
			"unknown outcome":   func(s *backend.Settlement) { s.Outcome = 99 },
			"negative delay":    func(s *backend.Settlement) { s.Outcome, s.Delay = backend.OutcomeRetry, -1 },
			"too long a delay":  func(s *backend.Settlement) { s.Outcome, s.Delay = backend.OutcomeRetry, backend.MaxDelay+1 },
			"blocked on no key": func(s *backend.Settlement) { s.Outcome, s.Key = backend.OutcomeBlocked, "" },
			"key with NUL":      func(s *backend.Settlement) { s.Outcome, s.Key = backend.OutcomeBlocked, "a\x00" },
		} {
			w := k.worker(strings.ReplaceAll(what, " ", "-"))
			k.enqueueAll("a", "b", "c")
			leases := w.lease(3)
			all := settlements(leases, backend.OutcomeCompleted)
			spoil(&all[1])
			results := w.settle(all...)
			require.Equal(k, backend.SettleResult{State: backend.StateCompleted}, results[0], what)
			require.Equal(k, backend.SettleResult{State: backend.StateCompleted}, results[2], what)
			require.ErrorIs(k, results[1].Err, backend.ErrRejected, what)
			require.False(k, results[1].Stale, what)
			k.requireState(backend.StateRunning, "b")
			w.settled(leases[1], backend.OutcomeCompleted, backend.StateCompleted)
		}
	}},
	{"each outcome leads to its state", func(k *kit) {
		w := k.worker("w")
		for _, c := range []struct {
			outcome backend.Outcome
			delay   time.Duration
			want    backend.State
		}{
			{backend.OutcomeCompleted, 0, backend.StateCompleted},
			{backend.OutcomeRetry, never, backend.StateScheduled},
			{backend.OutcomeRetry, 0, backend.StateWaiting},
			{backend.OutcomeSnoozed, never, backend.StateScheduled},
			{backend.OutcomeSnoozed, 0, backend.StateWaiting},
			{backend.OutcomeReleased, 0, backend.StateWaiting},
			{backend.OutcomeBlocked, 0, backend.StateBlocked},
			{backend.OutcomeCancelled, 0, backend.StateCancelled},
			{backend.OutcomeDead, 0, backend.StateDead},
		} {
			k.enqueueAll("a")
			lease := w.leaseOne("a")
			before := time.Now()
			w.settled(lease, c.outcome, c.want, after(c.delay), keep(never))
			info := k.get("a")
			require.Equal(k, c.want, info.State, "%v", c.outcome)
			require.Empty(k, info.Token)
			require.Empty(k, info.LeasedBy)
			require.True(k, info.LeaseExpiresAt.IsZero())
			require.Equal(k, c.want == backend.StateScheduled, !info.ScheduledFor.IsZero())
			if c.want == backend.StateScheduled {
				require.WithinRange(k, info.ScheduledFor, before.Add(never-soon), time.Now().Add(never+soon))
			}
			if c.want.Final() {
				require.True(k, info.KeptUntil.After(time.Now()), "%v", c.outcome)
			}
			k.requireCounts(map[backend.State]int64{c.want: 1})
			require.NoError(k, k.act(k.Delete, "a").Err)
		}
		info := k.info()
		require.Equal(k, []int64{1, 2, 1, 1, 0}, []int64{info.Completed, info.Failed, info.Cancelled, info.Dead, info.Crashed})
	}},
	{"a job put off runs again when it is due", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		leases := w.lease(2)
		for _, result := range w.settle( // at one instant, however slow the machine
			settlement(leases[0], backend.OutcomeRetry, after(200*time.Millisecond)),
			settlement(leases[1], backend.OutcomeSnoozed, after(100*time.Millisecond)),
		) {
			require.Equal(k, backend.SettleResult{State: backend.StateScheduled}, result)
		}
		time.Sleep(300 * time.Millisecond)
		require.Equal(k, []string{"b", "a"}, leased(w.lease(2)))
	}},
	{"a retry without delay waits behind the others", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		w.settled(w.leaseOne("a"), backend.OutcomeRetry, backend.StateWaiting)
		require.Equal(k, []string{"b", "a"}, leased(w.lease(2)))
	}},
	{"released jobs go to the front in the order of their batch", func(k *kit) {
		ids := named("a", 200)
		k.enqueueAll(ids...)
		w := k.worker("w")
		leases := w.lease(150)
		w.settled(leases[149], backend.OutcomeReleased, backend.StateWaiting)
		for _, result := range w.settle(settlements(leases[:149], backend.OutcomeReleased)...) {
			require.Equal(k, backend.SettleResult{State: backend.StateWaiting}, result)
		}
		again := w.lease(300)
		require.Equal(k, ids, leased(again))
		require.Equal(k, 1, again[0].Attempt(), "a release is no attempt")
		require.Zero(k, again[0].Crashes)
		require.Zero(k, k.info().Failed)
	}},
	{"released jobs keep their priorities", func(k *kit) {
		k.enqueue(job("low", priority(-2)), job("high", priority(2)), job("normal"), job("next"))
		w := k.worker("w")
		leases := w.lease(3)
		require.Equal(k, []string{"high", "normal", "next"}, leased(leases))
		w.settle(settlements([]backend.Lease{leases[2], leases[0], leases[1]}, backend.OutcomeReleased)...)
		require.Equal(k, []string{"high", "next", "normal", "low"}, leased(w.lease(9)))
	}},
	{"released jobs of several queues go back to their own", func(k *kit) {
		k.enqueue(job("a", in("one")), job("x", in("two")), job("b", in("one")), job("y", in("two")))
		w := k.worker("w")
		request := w.request(10)
		request.Queues = []string{"one", "two"}
		leases := w.send(request).Leases
		require.Equal(k, []string{"a", "b", "x", "y"}, leased(leases))
		w.settle(settlements([]backend.Lease{leases[0], leases[2], leases[1], leases[3]}, backend.OutcomeReleased)...)
		request = w.request(10)
		request.Queues = []string{"two", "one"}
		require.Equal(k, []string{"x", "y", "a", "b"}, leased(w.send(request).Leases))
	}},
	{"a history replaces the one before and none leaves it", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		history := someHistory(k)
		w.settled(w.leaseOne("a"), backend.OutcomeRetry, backend.StateWaiting, with(history))
		require.Equal(k, past(history), past(k.get("a").History))
		lease := w.leaseOne("a")
		require.Equal(k, past(history), past(lease.History))
		require.Equal(k, 3, lease.Attempt())
		w.settled(lease, backend.OutcomeReleased, backend.StateWaiting)
		lease = w.leaseOne("a")
		require.Equal(k, past(history), past(lease.History), "a settlement without a history leaves it")
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted, keep(never), with(backend.History{Attempts: 3, Result: []byte("done")}))
		require.Equal(k, backend.History{Attempts: 3, Result: []byte("done")}, past(k.get("a").History))
	}},
	{"a history that its worker changes afterwards is not changed in the store", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		history := someHistory(k)
		w.settled(w.leaseOne("a"), backend.OutcomeRetry, backend.StateWaiting, with(history))
		history.Failures[0].Error = "changed"
		copy(history.Result, "CHANGED")
		lease := w.leaseOne("a")
		require.Equal(k, "first \"error\"\n", lease.History.Failures[0].Error)
		require.Equal(k, "\x00result\xff", string(lease.History.Result))
		lease.History.Failures[0].Error = "changed"
		require.Equal(k, "first \"error\"\n", k.get("a").Failures[0].Error)
	}},
	{"a completed job is forgotten at once unless it asks to be kept", func(k *kit) {
		k.enqueueAll("a", "b", "c")
		w := k.worker("w")
		leases := w.lease(3)
		results := w.settle(
			settlement(leases[0], backend.OutcomeCompleted),
			settlement(leases[1], backend.OutcomeCompleted, keep(-1)),
			settlement(leases[2], backend.OutcomeCompleted, keep(time.Hour)),
		)
		for _, r := range results {
			require.Equal(k, backend.SettleResult{State: backend.StateCompleted}, r)
		}
		k.requireGone("a", "b")
		require.WithinDuration(k, time.Now().Add(time.Hour), k.get("c").KeptUntil, soon)
		info := k.info()
		require.EqualValues(k, 3, info.Completed)
		require.Zero(k, info.Trimmed)
	}},
	{"a kept job is forgotten when its time is up", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		leases := w.lease(2)
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted, keep(200*time.Millisecond))
		w.settled(leases[1], backend.OutcomeCompleted, backend.StateCompleted, keep(never))
		k.eventually("the job is forgotten", func() bool {
			k.sweep(long)
			return k.info().Counts[backend.StateCompleted] == 1
		})
		k.requireGone("a")
		k.requireState(backend.StateCompleted, "b")
		require.Zero(k, k.info().Trimmed, "a job whose time is up is not trimmed")
	}},
	{"settlements of several queues and many outcomes come in one call", func(k *kit) {
		w := k.worker("w")
		var queues []string
		for q := range 5 {
			queues = append(queues, fmt.Sprint("q", q))
			for _, id := range named("j", len(outcomes)) {
				k.enqueue(job(id, in(queues[q])))
			}
		}
		request := w.request(1000)
		request.Queues = queues
		leases := w.send(request).Leases
		require.Len(k, leases, 5*len(outcomes))
		var all []backend.Settlement
		for i, l := range leases {
			all = append(all, settlement(l, outcomes[(i*3)%len(outcomes)], after(never), keep(never)))
		}
		states := map[backend.State]int64{}
		for i, r := range w.settle(all...) {
			require.NoError(k, r.Err)
			info, err := k.Job(k.ctx, all[i].Queue, all[i].ID)
			require.NoError(k, err)
			require.Equal(k, info.State, r.State)
			states[r.State]++
		}
		require.Equal(k, map[backend.State]int64{
			backend.StateCompleted: 5, backend.StateScheduled: 10, backend.StateWaiting: 5,
			backend.StateBlocked: 5, backend.StateCancelled: 5, backend.StateDead: 5,
		}, states)
	}},
}
