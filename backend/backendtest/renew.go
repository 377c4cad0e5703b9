package backendtest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var renewTests = []test{
	{"a renewed lease holds for longer than it was given for", func(k *kit) {
		// lesson: a fixed visibility timeout runs long jobs twice.
		k.enqueueAll("a", "b")
		w := k.worker("w")
		leases := w.leaseFor(2, 500*time.Millisecond)
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			require.False(k, w.renew(leases[0], 2*time.Second, nil).Lost)
		}
		k.eventually("the lease that was not renewed is taken back", func() bool {
			require.False(k, w.renew(leases[0], 2*time.Second, nil).Lost)
			k.sweep(500 * time.Millisecond)
			return k.get("b").State == backend.StateWaiting
		})
		require.Equal(k, []string{"b"}, leased(w.lease(5)))
		require.Equal(k, leases[0].Token, k.get("a").Token)
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
	}},
	{"renewal counts from now and shows", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		require.Equal(k, backend.RenewResult{}, w.renew(lease, 2*time.Hour, nil))
		require.WithinDuration(k, time.Now().Add(2*time.Hour), k.get("a").LeaseExpiresAt, soon)
		require.Equal(k, backend.RenewResult{}, w.renew(lease, long, nil))
		require.WithinDuration(k, time.Now().Add(long), k.get("a").LeaseExpiresAt, soon)
	}},
	{"a renewal answers for each lease in order", func(k *kit) {
		k.enqueueAll("a", "b", "c")
		k.enqueue(job("x", in("other")))
		w := k.worker("w")
		request := w.request(10)
		request.Queues = []string{"q", "other"}
		leases := w.send(request).Leases
		w.settled(leases[1], backend.OutcomeDead, backend.StateDead)
		k.acted(k.Cancel, "c", backend.StateRunning)
		var held []backend.Held
		for _, l := range []backend.Lease{leases[3], leases[2], leases[1], leases[0]} {
			held = append(held, backend.Held{Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token})
		}
		held = append(held, backend.Held{Queue: "q", ID: "nobody", Token: "w.1"}, backend.Held{Queue: "no-queue", ID: "a", Token: "w.1"})
		results, err := k.Renew(k.ctx, backend.RenewRequest{Worker: "w", Duration: long, Leases: held})
		require.NoError(k, err)
		require.Equal(k, []backend.RenewResult{{}, {CancelRequested: true}, {Lost: true}, {}, {Lost: true}, {Lost: true}}, results)
	}},
	{"progress shows while the job runs and stays when it is handed back", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		w.renew(lease, long, []byte("10\x00%"))
		require.Equal(k, "10\x00%", string(k.get("a").Progress))
		w.renew(lease, long, nil)
		require.Equal(k, "10\x00%", string(k.get("a").Progress), "none leaves what is stored")
		w.renew(lease, long, []byte("90%"))
		require.Equal(k, "90%", string(k.get("a").Progress))
		w.settled(lease, backend.OutcomeReleased, backend.StateWaiting)
		require.Equal(k, "90%", string(k.get("a").Progress))
		require.Equal(k, "90%", string(w.leaseOne("a").History.Progress))
	}},
	{"bad renewals are rejected", func(k *kit) {
		for what, request := range map[string]backend.RenewRequest{
			"too short": {Worker: "w", Duration: backend.MinLease - 1},
			"too long":  {Worker: "w", Duration: backend.MaxLease + 1},
			"no worker": {Duration: long},
			"too many":  {Worker: "w", Duration: long, Leases: make([]backend.Held, backend.MaxBatch+1)},
		} {
			_, err := k.Renew(k.ctx, request)
			require.ErrorIs(k, err, backend.ErrRejected, what)
		}
	}},
}
