package backendtest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// limitBesideTests are about limits beside waiters, pauses, pages, unique keys and schedules.
var limitBesideTests = []test{
	{"of a rate nobody is left lying if one of a higher priority is parked in front of him", func(k *kit) {
		w := k.worker("w")
		const per = 100 * time.Millisecond
		api := limited(backend.Limit{Class: "api", Rule: backend.LimitRule{Rate: 1, Per: per}})
		k.enqueue(job("a", api), job("b", api))
		require.Equal(k, []string{"a"}, leased(w.lease(5)))
		taken := time.Now()
		k.eventually("a token has come", func() bool { return time.Since(taken) > per })
		k.enqueue(job("c", api, priority(1)), job("d", api, priority(1)))
		require.Equal(k, []string{"c"}, leased(w.lease(5)), "d is parked in front of b, which this lease looks at, too")
		for _, id := range []string{"d", "b"} {
			k.eventually("the next one is handed out", func() bool {
				reply := w.send(w.request(5))
				require.False(k, len(reply.Leases) == 0 && reply.NextDue.Sub(reply.Now) > per+time.Millisecond, "it is told when, to the millisecond")
				return len(reply.Leases) > 0 && reply.Leases[0].Job.ID == id
			})
		}
	}},
	{"what waits for work learns that there is room", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 2), slots(1, "acme"))
		lease := w.leaseOne("a00000")
		require.Empty(k, w.lease(5))
		for i, free := range []func(){
			func() { w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted) },
			func() { k.setLimit("tenant", &backend.LimitRule{Slots: 2}) },
		} {
			name := fmt.Sprint("w", i)
			waiter, err := k.Waiter([]string{"q"})
			require.NoError(k, err)
			v := k.worker(name)
			answers := make(chan backend.LeaseReply, 1)
			go func() {
				for {
					reply, err := waiter.Lease(k.ctx, v.request(1), patience)
					if err != nil || len(reply.Leases) > 0 {
						answers <- reply
						return
					}
				}
			}()
			free()
			select {
			case reply := <-answers:
				require.Len(k, reply.Leases, 1)
			case <-time.After(patience):
				require.Fail(k, "nobody was woken")
			}
			require.NoError(k, waiter.Close())
			k.setLimit("tenant", nil)
			k.allLimited([]string{name}, slots(1, "acme"))
			require.Empty(k, w.lease(5))
		}
	}},
	{"a paused queue hands out nothing that was parked", func(k *kit) {
		w := k.worker("w")
		k.allLimited(named("a", 2), slots(1, "acme"))
		lease := w.leaseOne("a00000")
		require.Empty(k, w.lease(5))
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		require.Empty(k, w.lease(5))
		waiter, err := k.Waiter([]string{"q"})
		require.NoError(k, err)
		defer func() { require.NoError(k, waiter.Close()) }()
		_, err = waiter.Lease(k.ctx, w.request(5), 0) // a bell of before
		require.NoError(k, err)
		time.AfterFunc(10*time.Millisecond, func() { _ = k.Resume(k.ctx, "q") })
		began := time.Now()
		reply, err := waiter.Lease(k.ctx, w.request(5), patience)
		require.NoError(k, err)
		require.Equal(k, []string{"a00001"}, leased(reply.Leases))
		require.Less(k, time.Since(began), soon)
	}},
	{"many parked jobs are listed in pages and come out one after the other", func(k *kit) {
		w := k.worker("w")
		const n = 1200
		k.allLimited(named("a", n), slots(1, "acme"))
		k.enqueueAll("plain")
		k.eventually("those without room are parked", func() bool {
			w.lease(2)
			return k.info().Counts[backend.StateWaiting] == 0
		})
		require.Equal(k, int64(n-1), k.info().Counts[backend.StateBlocked])
		seen := map[string]bool{}
		query := backend.JobsQuery{Queue: "q", State: backend.StateBlocked, Limit: 500}
		for {
			page, err := k.Jobs(k.ctx, query)
			require.NoError(k, err)
			for _, j := range page.Jobs {
				seen[j.ID] = true
			}
			if query.Cursor = page.Next; page.Next == "" {
				break
			}
		}
		require.Len(k, seen, n-1)
		require.Equal(k, n-1, k.limit("tenant", "acme", fmt.Sprintf("a%05d", n-1)).Place)
	}},
	{"a unique job that takes the place of a parked one is parked in its stead", func(k *kit) {
		w := k.worker("w")
		k.allLimited([]string{"first"}, slots(1, "acme"))
		lease := w.leaseOne("first")
		k.enqueue(job("a", limited(slots(1, "acme")), unique(1)))
		require.Equal(k, "a", k.enqueue(job("b", limited(slots(1, "acme")), unique(1, replacingOther)))[0].Holder)
		require.Empty(k, w.lease(5))
		k.enqueueAll("plain")
		w.settled(w.leaseOne("plain"), backend.OutcomeCompleted, backend.StateCompleted)
		r := k.enqueue(job("c", limited(slots(1, "acme")), unique(1, replacingOther)))[0]
		require.Equal(k, backend.Receipt{Queue: "q", ID: "c", State: backend.StateWaiting, Holder: "a", Replaced: true}, r, "also once it is parked")
		require.Empty(k, w.lease(5))
		require.Equal(k, 1, k.limit("tenant", "acme", "a").Place)
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		require.Equal(k, "payload of c", string(w.leaseOne("a").Job.Payload))
		k.meets(job("d", limited(slots(1, "acme")), unique(1, replacingOther)), "a", backend.StateRunning)
	}},
	{"of a key one job runs and the newest waits, if it is unique until the start and has a slot", func(k *kit) {
		w := k.worker("w")
		newest := func(id string) backend.Receipt {
			return k.enqueue(job(id, limited(slots(1, "acme")), unique(1, untilStarted, replacingOther)))[0]
		}
		newest("a")
		lease := w.leaseOne("a")
		for i, id := range named("b", 5) {
			require.Equal(k, i > 0, newest(id).Replaced)
			require.Empty(k, w.lease(5))
		}
		k.requireCounts(map[backend.State]int64{backend.StateRunning: 1, backend.StateBlocked: 1})
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
		require.Equal(k, "payload of b00004", string(w.leaseOne("b00000").Job.Payload))
	}},
	{"a tick enqueues a limited job, or skips it where it is refused", func(k *kit) {
		s, err := k.PutSchedule(k.ctx, backend.Schedule{Queue: "q", Name: "s", Spec: []byte("spec"), Next: longAgo})
		require.NoError(k, err)
		for i, want := range []backend.TickOutcome{backend.TickEnqueued, backend.TickSkipped} {
			at := longAgo.Add(time.Duration(i) * time.Hour)
			n := job(backend.TickID("s", at), limited(slots(1, "acme", backend.SlotOnceEnqueued)))
			reply, err := k.Tick(k.ctx, []backend.Tick{{Queue: "q", Name: "s", Version: s.Version, At: at, Next: at.Add(time.Hour), Job: &n, Overlap: backend.OverlapAllow}})
			require.NoError(k, err)
			require.Equal(k, want, reply.Results[0].Outcome)
			s = reply.Results[0].Schedule
		}
		require.Equal(k, 1, k.limit("tenant", "acme", "").Held)
	}},
}
