package backendtest

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// saved is a history with a checkpoint.
func saved(checkpoint string) backend.History {
	return backend.History{Attempts: 1, Checkpoint: []byte(checkpoint), Failures: []backend.Failure{{Attempt: 1, At: pastInstant, Error: "error"}}}
}

func (w *worker) saveHistory(l backend.Lease, h backend.History) error {
	return w.SaveHistory(w.ctx, backend.Held{Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token}, h)
}

var saveHistoryTests = []test{
	{"a history that is saved shows at once and is there for whoever leases the job next", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		lease := w.leaseOne("a")
		require.NoError(k, w.saveHistory(lease, saved("\x00page 7\xff")))
		info := k.get("a")
		require.Equal(k, backend.StateRunning, info.State)
		require.Equal(k, saved("\x00page 7\xff"), info.History)
		require.Equal(k, lease.Token, info.Token)
		require.NoError(k, w.saveHistory(lease, saved("page 8")))
		require.NoError(k, w.saveHistory(lease, saved("page 8")), "again, after a lost reply")
		w.settled(lease, backend.OutcomeReleased, backend.StateWaiting)
		lease = w.leaseOne("a")
		require.Equal(k, saved("page 8"), lease.History, "it was handed back")
		w.settled(lease, backend.OutcomeRetry, backend.StateWaiting, with(saved("page 9")))
		w.settled(w.leaseOne("b"), backend.OutcomeCompleted, backend.StateCompleted)
		require.Equal(k, saved("page 9"), w.leaseOne("a").History, "its settlement had a history")
	}},
	{"a history that was saved outlives the lease", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		require.NoError(k, w.saveHistory(lease, saved("page 7")))
		w.lapse(lease)
		k.eventually("the lease expires", func() bool { return k.sweep(short) > 0 })
		lease = k.worker("v").leaseOne("a")
		require.Equal(k, saved("page 7"), lease.History)
		require.Equal(k, 1, lease.Crashes)
		v := k.worker("v")
		require.NoError(k, v.saveHistory(lease, saved("page 8")))
		require.Equal(k, 1, k.get("a").Crashes, "crashes are the store's")
	}},
	{"progress and the saved history keep out of each other's way", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		w.renew(lease, long, []byte("10%"))
		h := saved("page 1")
		h.Progress = []byte("of no interest")
		require.NoError(k, w.saveHistory(lease, h))
		require.Equal(k, "10%", string(k.get("a").Progress))
		w.renew(lease, long, []byte("20%"))
		require.Equal(k, "page 1", string(k.get("a").Checkpoint))
		w.settled(lease, backend.OutcomeReleased, backend.StateWaiting)
		lease = w.leaseOne("a")
		require.NoError(k, w.saveHistory(lease, saved("page 2")))
		info := k.get("a")
		require.Equal(k, "20%", string(info.Progress))
		require.Equal(k, "page 2", string(info.Checkpoint))
	}},
	{"who does not hold the job any more saves nothing", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		first := w.leaseOne("a")
		w.settled(first, backend.OutcomeReleased, backend.StateWaiting)
		require.ErrorIs(k, w.saveHistory(first, saved("late")), backend.ErrState, "it waits")
		second := w.leaseOne("a")
		require.ErrorIs(k, w.saveHistory(first, saved("late")), backend.ErrState, "the token is an old one")
		prefix := second
		prefix.Token = second.Token[:len(second.Token)-1]
		require.ErrorIs(k, w.saveHistory(prefix, saved("late")), backend.ErrState)
		require.Equal(k, backend.History{}, k.get("a").History)
		w.settled(second, backend.OutcomeCompleted, backend.StateCompleted, keep(never))
		require.ErrorIs(k, w.saveHistory(second, saved("late")), backend.ErrState, "it has finished")
		require.Equal(k, backend.History{}, k.get("a").History)
		for _, held := range []backend.Held{{Queue: "q", ID: "nobody", Token: "w.1"}, {Queue: "no-queue", ID: "a", Token: "w.1"}} {
			require.ErrorIs(k, k.SaveHistory(k.ctx, held, saved("late")), backend.ErrState)
		}
	}},
	{"what a handler logged is kept with the job, within its bounds", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		h := saved("page 7")
		for range backend.MaxLogs {
			h.Logs = append(h.Logs, backend.LogRecord{At: pastInstant, Level: "INFO", Text: "msg=\"a line\" n=1"})
		}
		w.settled(lease, backend.OutcomeRetry, backend.StateWaiting, with(h))
		require.Equal(k, h, k.get("a").History)
		lease = w.leaseOne("a")
		require.Equal(k, h, lease.History)
		many, large := h, h
		many.Logs = append(slices.Clone(h.Logs), h.Logs[0])
		large.Logs = []backend.LogRecord{{At: pastInstant, Text: string(slices.Repeat([]byte("x"), backend.MaxLogBytes+1))}}
		for _, h := range []backend.History{many, large} {
			require.ErrorIs(k, w.saveHistory(lease, h), backend.ErrRejected)
			require.ErrorIs(k, w.settle(settlement(lease, backend.OutcomeRetry, with(h)))[0].Err, backend.ErrRejected)
		}
		h.Logs = nil
		w.settled(lease, backend.OutcomeDead, backend.StateDead, with(h))
		require.Equal(k, h, k.get("a").History)
	}},
	{"a checkpoint goes with its job", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		require.NoError(k, w.saveHistory(lease, saved("page 7")))
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		k.requireGone("a")
		k.enqueueAll("a")
		require.Equal(k, backend.History{}, w.leaseOne("a").History)
	}},
	{"the largest checkpoints come back, and larger ones are rejected", func(k *kit) {
		ids := named("job-", 20)
		k.enqueueAll(ids...)
		w := k.worker("w")
		large := string(slices.Repeat([]byte("x"), backend.MaxCheckpoint))
		leases := w.lease(len(ids))
		for _, l := range leases {
			require.NoError(k, w.saveHistory(l, saved(large)))
		}
		require.ErrorIs(k, w.saveHistory(leases[0], saved(large+"x")), backend.ErrRejected)
		for _, r := range w.settle(settlements(leases, backend.OutcomeReleased)...) {
			require.Equal(k, backend.StateWaiting, r.State)
		}
		for left := len(ids); left > 0; {
			some := w.lease(left)
			require.NotEmpty(k, some)
			for _, l := range some {
				require.Equal(k, large, string(l.History.Checkpoint))
			}
			left -= len(some)
		}
	}},
}
