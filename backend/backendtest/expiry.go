package backendtest

import (
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// expire waits until the leases of queue "q" have expired and been taken back,
// by Sweep.
func (k *kit) expire(count int) {
	k.Helper()
	reclaimed := 0
	k.eventually("the leases are taken back", func() bool {
		reclaimed += k.sweep(short)
		return reclaimed >= count
	})
	require.Equal(k, count, reclaimed)
}

var expiryTests = []test{
	{"a Lease tells how many leases it has taken back", func(k *kit) {
		k.enqueueAll("a", "b")
		require.Len(k, k.worker("gone").leaseFor(2, short), 2)
		w := k.worker("w")
		reclaimed := 0
		k.eventually("the leases are taken back", func() bool {
			request := w.request(5)
			request.Duration = short
			reply := w.send(request)
			reclaimed += reply.Reclaimed
			return reclaimed > 0 || len(reply.Leases) > 0
		})
		require.Equal(k, 2, reclaimed)
	}},
	{"a job that was leased ahead is taken back without a crash", func(k *kit) {
		k.enqueueAll("a", "b", "c", "d")
		w := k.worker("w")
		request := w.request(4)
		request.Ahead = 3 // the last three of four
		require.Equal(k, []string{"a", "b", "c", "d"}, leased(w.send(request).Leases))
		leases := w.send(request).Leases
		require.Equal(k, []string{"a", "b", "c", "d"}, leased(leases), "the call is repeated")
		k.acted(k.Cancel, "d", backend.StateRunning)
		w.lapse(leases...)
		k.expire(4)
		require.EqualValues(k, 2, k.info().Crashed, "of the one that was to be cancelled nobody asks any more")
		k.requireState(backend.StateCancelled, "d")
		for i, l := range k.worker("other").lease(10) {
			require.Equal(k, []string{"a", "b", "c"}[i], l.Job.ID)
			require.Equal(k, []int{1, 0, 0}[i], l.Crashes)
			require.Zero(k, l.History.Attempts)
		}
		bad := w.request(1)
		bad.Ahead = 2
		_, err := w.Lease(k.ctx, bad)
		require.ErrorIs(k, err, backend.ErrRejected)
	}},
	{"an expired lease goes to the front and counts a crash by Sweep", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		require.Equal(k, []string{"a"}, leased(w.leaseFor(1, short)))
		k.expire(1)
		info := k.get("a")
		require.Equal(k, backend.StateWaiting, info.State)
		require.Equal(k, 1, info.Crashes)
		require.Zero(k, info.Attempts)
		require.Empty(k, info.Token)
		leases := w.lease(2)
		require.Equal(k, []string{"a", "b"}, leased(leases))
		require.Equal(k, 1, leases[0].Crashes)
		require.Equal(k, 1, leases[0].Attempt(), "a crash is no attempt")
		require.Zero(k, leases[1].Crashes)
		require.EqualValues(k, 1, k.info().Crashed)
	}},
	{"an expired lease goes to the front and counts a crash by Lease", func(k *kit) {
		// lesson: recovery must not wait for a process that starts, or for
		// minutes.
		k.enqueueAll("a", "b")
		gone, w := k.worker("gone"), k.worker("w")
		lease := gone.leaseOne("a")
		require.Equal(k, []string{"b"}, leased(w.leaseFor(1, never)), "a lease does not expire at once")
		gone.lapse(lease)
		var leases []backend.Lease
		k.eventually("the job is leased again", func() bool {
			leases = w.leaseFor(1, short)
			return len(leases) == 1
		})
		require.Equal(k, "a", leases[0].Job.ID)
		require.Equal(k, 1, leases[0].Crashes)
		require.EqualValues(k, 1, k.info().Crashed)
	}},
	{"a lease is not taken back before it expires", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseFor(1, 400*time.Millisecond)[0]
		k.eventually("the lease is taken back", func() bool {
			reply, err := k.Sweep(k.ctx, backend.SweepRequest{Queues: []string{"q"}, Duration: 400 * time.Millisecond})
			require.NoError(k, err)
			if reply.Reclaimed > 0 {
				require.False(k, time.Now().Before(lease.ExpiresAt.Add(-2*time.Millisecond)))
			}
			return reply.Reclaimed > 0
		})
	}},
	{"NextDue of others tells when a lease expires", func(k *kit) {
		k.enqueueAll("a")
		lease := k.worker("w").lease(1)[0]
		other := k.worker("other")
		require.WithinDuration(k, lease.ExpiresAt, other.send(other.request(1)).NextDue, 2*time.Millisecond)
	}},
	{"crashes add up and each expiry keeps the priority", func(k *kit) {
		k.enqueue(job("a"), job("high", priority(1)))
		w := k.worker("w")
		for crash := range 2 {
			leases := w.leaseFor(2, short)
			require.Equal(k, []string{"high", "a"}, leased(leases))
			require.Equal(k, crash, leases[0].Crashes)
			k.expire(2)
		}
		require.Equal(k, 2, k.get("a").Crashes)
		require.EqualValues(k, 4, k.info().Crashed)
	}},
	{"a job that crashes its workers again and again is counted and not ended", func(k *kit) {
		k.enqueue(job("a", func(j *backend.NewJob) { j.MaxCrashes = 1 }))
		w := k.worker("w")
		for range 3 {
			require.Len(k, w.leaseFor(1, short), 1)
			k.expire(1)
		}
		require.Equal(k, 3, k.get("a").Crashes)
		k.requireState(backend.StateWaiting, "a")
	}},
	{"a job that was to be cancelled is cancelled when its lease expires", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		require.Len(k, w.leaseFor(2, short), 2)
		k.acted(k.Cancel, "a", backend.StateRunning)
		k.expire(2)
		k.requireState(backend.StateCancelled, "a")
		k.requireState(backend.StateWaiting, "b")
		require.EqualValues(k, 1, k.info().Cancelled)
		require.Equal(k, []string{"b"}, leased(w.lease(5)))
	}},
	{"an expired lease is taken back in a paused queue too", func(k *kit) {
		k.enqueueAll("a")
		require.Len(k, k.worker("w").leaseFor(1, short), 1)
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		k.expire(1)
		k.requireState(backend.StateWaiting, "a")
	}},
	{"a sweep of no queue finds nothing", func(k *kit) {
		reply, err := k.Sweep(k.ctx, backend.SweepRequest{Duration: long})
		require.NoError(k, err)
		require.Zero(k, reply.Reclaimed)
		require.NoError(k, k.SignOff(k.ctx, "w", nil))
	}},
	{"bad sweeps are rejected", func(k *kit) {
		for what, request := range map[string]backend.SweepRequest{
			"bad queue":     {Queues: []string{"{q}"}},
			"queue twice":   {Queues: []string{"q", "q"}},
			"short lease":   {Duration: backend.MinLease - 1},
			"too many keys": {Keys: named("key", backend.MaxSweepKeys+1)},
			"empty key":     {Keys: []string{"a", ""}},
			"key with NUL":  {Keys: []string{"a\x00"}},
			"long key":      {Keys: []string{strings.Repeat("k", 2*backend.MaxNameLength+1)}},
		} {
			if request.Duration == 0 {
				request.Duration = long
			}
			if request.Queues == nil {
				request.Queues = []string{"q"}
			}
			_, err := k.Sweep(k.ctx, request)
			require.ErrorIs(k, err, backend.ErrRejected, what)
		}
	}},
}

var fencingTests = []test{
	{"a settlement after expiry and a new lease is stale and changes nothing", func(k *kit) {
		// lesson: a late finisher must not end or release what it no longer
		// holds.
		k.enqueueAll("a")
		late, w := k.worker("late"), k.worker("w")
		old := late.leaseFor(1, short)[0]
		k.expire(1)
		lease := w.leaseOne("a")
		for _, outcome := range outcomes {
			require.Equal(k, backend.SettleResult{Stale: true}, late.settle(settlement(old, outcome, with(backend.History{Attempts: 9})))[0], "%v", outcome)
		}
		require.True(k, late.renew(old, long, []byte("progress")).Lost)
		info := k.get("a")
		require.Equal(k, backend.StateRunning, info.State)
		require.Equal(k, lease.Token, info.Token)
		require.Zero(k, past(info.History), "neither history nor progress")
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
	}},
	{"a settlement after expiry is stale while the job waits again", func(k *kit) {
		k.enqueueAll("a")
		late := k.worker("late")
		old := late.leaseFor(1, short)[0]
		k.expire(1)
		require.True(k, late.settle(settlement(old, backend.OutcomeCompleted))[0].Stale)
		require.True(k, late.renew(old, long, nil).Lost)
		k.requireState(backend.StateWaiting, "a")
		require.Zero(k, k.info().Completed)
	}},
	{"a worker's own earlier token is stale too", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		old := w.leaseOne("a")
		w.settled(old, backend.OutcomeReleased, backend.StateWaiting)
		lease := w.leaseOne("a")
		require.True(k, w.settle(settlement(old, backend.OutcomeDead))[0].Stale)
		require.True(k, w.renew(old, long, nil).Lost)
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
	}},
	{"wrong tokens, ids and queues are stale", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		for what, spoil := range map[string]func(*backend.Settlement){
			"wrong token":    func(s *backend.Settlement) { s.Token = "w.7" },
			"no token":       func(s *backend.Settlement) { s.Token = "" },
			"shorter token":  func(s *backend.Settlement) { s.Token = s.Token[:len(s.Token)-1] },
			"longer token":   func(s *backend.Settlement) { s.Token += "0" },
			"other's token":  func(s *backend.Settlement) { s.Token = "v.1" },
			"unknown id":     func(s *backend.Settlement) { s.ID = "b" },
			"another queue":  func(s *backend.Settlement) { s.Queue = "other" },
			"waiting job id": func(s *backend.Settlement) { s.ID = "c" },
		} {
			bad := settlement(lease, backend.OutcomeCompleted)
			spoil(&bad)
			result := w.settle(bad)[0]
			require.True(k, result.Stale, what)
			require.NoError(k, result.Err, what)
		}
		k.requireState(backend.StateRunning, "a")
	}},
	{"of two settlements of one lease in a call the first counts", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		leases := w.lease(2)
		results := w.settle(
			settlement(leases[0], backend.OutcomeReleased), settlement(leases[0], backend.OutcomeCompleted),
			settlement(leases[1], backend.OutcomeDead), settlement(leases[1], backend.OutcomeReleased),
		)
		require.Equal(k, []backend.SettleResult{
			{State: backend.StateWaiting}, {Stale: true}, {State: backend.StateDead}, {Stale: true},
		}, results)
		require.Equal(k, []string{"a"}, leased(w.lease(5)))
	}},
	{"a settlement of a job that was deleted and enqueued anew is stale", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		old := w.leaseOne("a")
		w.settled(old, backend.OutcomeReleased, backend.StateWaiting)
		require.NoError(k, k.act(k.Delete, "a").Err)
		k.enqueueAll("a")
		require.True(k, w.settle(settlement(old, backend.OutcomeCompleted))[0].Stale)
		k.requireState(backend.StateWaiting, "a")
	}},
}
