package backendtest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// inEachState leaves one job in each state; its id is the state's name.
func inEachState(k *kit, w *worker) {
	k.Helper()
	for _, state := range []backend.State{
		backend.StateBlocked, backend.StateCompleted, backend.StateCancelled, backend.StateDead, backend.StateRunning,
	} {
		k.enqueueAll(string(state))
		lease := w.leaseOne(string(state))
		switch state {
		case backend.StateBlocked:
			w.settled(lease, backend.OutcomeBlocked, state)
		case backend.StateCompleted:
			w.settled(lease, backend.OutcomeCompleted, state, keep(never))
		case backend.StateCancelled:
			w.settled(lease, backend.OutcomeCancelled, state)
		case backend.StateDead:
			w.settled(lease, backend.OutcomeDead, state)
		}
	}
	k.enqueueAll(string(backend.StateWaiting))
	k.enqueue(job(string(backend.StateScheduled), delay(never)))
}

var operateTests = []test{
	{"verbs act in the states that allow them and only there", func(k *kit) {
		type verb = func(context.Context, string, []string) ([]backend.ActResult, error)
		for name, c := range map[string]struct {
			verb    verb
			allowed map[backend.State]backend.State
		}{
			"retry": {k.Retry, map[backend.State]backend.State{
				backend.StateDead: backend.StateWaiting, backend.StateCancelled: backend.StateWaiting,
			}},
			"run now": {k.RunNow, map[backend.State]backend.State{
				backend.StateScheduled: backend.StateWaiting, backend.StateBlocked: backend.StateWaiting,
				backend.StateWaiting: backend.StateWaiting,
			}},
			"delete": {k.Delete, map[backend.State]backend.State{
				backend.StateScheduled: "", backend.StateWaiting: "", backend.StateBlocked: "",
				backend.StateCompleted: "", backend.StateCancelled: "", backend.StateDead: "",
			}},
		} {
			w := k.worker(name[:3])
			inEachState(k, w)
			var ids []string
			for _, s := range backend.States {
				ids = append(ids, string(s))
			}
			ids = append(ids, "nobody")
			results, err := c.verb(k.ctx, "q", ids)
			require.NoError(k, err)
			require.Len(k, results, len(ids))
			for i, s := range backend.States {
				want, allowed := c.allowed[s]
				require.Equal(k, string(s), results[i].ID)
				if !allowed {
					require.ErrorIs(k, results[i].Err, backend.ErrState, "%s %s", name, s)
					require.Equal(k, s, results[i].State, "%s %s", name, s)
					k.requireState(s, string(s))
					continue
				}
				require.NoError(k, results[i].Err, "%s %s", name, s)
				require.Equal(k, want, results[i].State, "%s %s", name, s)
				if want == "" {
					k.requireGone(string(s))
				} else {
					k.requireState(want, string(s))
				}
			}
			require.ErrorIs(k, results[len(ids)-1].Err, backend.ErrNotFound)
			// Empty the queue for the next verb.
			w.settled(backend.Lease{Job: backend.Job{Queue: "q", ID: "running"}, Token: k.get("running").Token},
				backend.OutcomeCompleted, backend.StateCompleted)
			_, err = k.Delete(k.ctx, "q", ids)
			require.NoError(k, err)
			k.requireCounts(nil)
		}
	}},
	{"verbs on a queue that is not there find nothing and bad names are rejected", func(k *kit) {
		for _, verb := range []func(context.Context, string, []string) ([]backend.ActResult, error){k.Cancel, k.Retry, k.Delete, k.RunNow} {
			results, err := verb(k.ctx, "nowhere", []string{"a", "b"})
			require.NoError(k, err)
			require.Len(k, results, 2)
			require.ErrorIs(k, results[0].Err, backend.ErrNotFound)
			require.ErrorIs(k, results[1].Err, backend.ErrNotFound)
			_, err = verb(k.ctx, "{q}", []string{"a"})
			require.ErrorIs(k, err, backend.ErrRejected)
			_, err = verb(k.ctx, "q", make([]string, backend.MaxBatch+1))
			require.ErrorIs(k, err, backend.ErrRejected)
			results, err = verb(k.ctx, "q", nil)
			require.NoError(k, err)
			require.Empty(k, results)
		}
		require.ErrorIs(k, k.Pause(k.ctx, "{q}", 0), backend.ErrRejected)
		require.ErrorIs(k, k.Pause(k.ctx, "q", -1), backend.ErrRejected)
		require.ErrorIs(k, k.Pause(k.ctx, "q", backend.MaxDelay+1), backend.ErrRejected)
		require.ErrorIs(k, k.Resume(k.ctx, "{q}"), backend.ErrRejected)
	}},
	{"a verb takes one id twice", func(k *kit) {
		k.enqueueAll("a")
		results, err := k.Delete(k.ctx, "q", []string{"a", "a"})
		require.NoError(k, err)
		require.NoError(k, results[0].Err)
		require.ErrorIs(k, results[1].Err, backend.ErrNotFound)
		k.enqueueAll("a")
		require.Equal(k, []string{"a"}, leased(k.worker("w").lease(5)))
	}},
	{"a retry by hand gives all attempts and crashes back and keeps the failures", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		require.Len(k, w.leaseFor(1, short), 1)
		k.expire(1)
		lease := w.leaseOne("a")
		require.Equal(k, 1, lease.Crashes)
		history := someHistory(k)
		w.settled(lease, backend.OutcomeDead, backend.StateDead, with(history))
		require.Equal(k, 1, k.get("a").Crashes)
		k.acted(k.Retry, "a", backend.StateWaiting)
		info := k.get("a")
		require.Zero(k, info.Crashes)
		require.Zero(k, info.Attempts)
		require.Equal(k, past(history).Failures, past(info.History).Failures)
		leases := w.lease(2)
		require.Equal(k, []string{"b", "a"}, leased(leases), "behind those that wait")
		require.Equal(k, 1, leases[1].Attempt())
		require.Zero(k, leases[1].Crashes)
		require.EqualValues(k, 1, k.info().Dead, "what happened is still counted")
	}},
	{"RunNow lets a scheduled job wait once", func(k *kit) {
		const due = 2 * time.Second // long enough not to come between the calls
		k.enqueue(job("a", delay(due)), job("b", delay(never)))
		k.acted(k.RunNow, "b", backend.StateWaiting)
		k.acted(k.RunNow, "a", backend.StateWaiting)
		k.acted(k.RunNow, "a", backend.StateWaiting)
		w := k.worker("w")
		require.Equal(k, []string{"b", "a"}, leased(w.lease(5)))
		time.Sleep(due + 100*time.Millisecond)
		require.Empty(k, w.lease(5), "the first due time has no effect any more")
	}},
	{"an id that was deleted in any state may be enqueued anew and runs once", func(k *kit) {
		// lesson: what is left of a deleted job must neither run nor hide the
		// new one.
		w := k.worker("w")
		for _, state := range backend.States {
			if state == backend.StateRunning {
				continue
			}
			for _, again := range []func(*backend.NewJob){
				func(*backend.NewJob) {}, priority(2), priority(-2), delay(100 * time.Millisecond),
			} {
				inEachState(k, w)
				id := string(state)
				require.NoError(k, k.act(k.Delete, id).Err)
				receipt := k.enqueue(job(id, again))[0]
				require.False(k, receipt.Existing, "%s", state)
				runs := 0
				k.eventually("the job runs", func() bool {
					request := w.request(10)
					request.Unblock = []string{"key"}
					leases := w.send(request).Leases
					for _, l := range leases {
						if l.Job.ID == id {
							runs++
							require.Zero(k, past(l.History))
						}
					}
					w.settle(settlements(leases, backend.OutcomeCompleted)...)
					return runs > 0
				})
				require.Equal(k, 1, runs, "%s", state)
				require.Empty(k, w.lease(10))
				w.settle(backend.Settlement{Queue: "q", ID: "running", Token: k.get("running").Token, Outcome: backend.OutcomeCompleted})
				for _, s := range backend.States {
					k.act(k.Delete, string(s))
				}
				k.requireCounts(nil)
			}
		}
	}},
	{"an id deleted and enqueued again and again is leased once", func(k *kit) {
		w := k.worker("w")
		k.enqueueAll("front")
		for i := range 20 {
			k.enqueue(job("a", priority(i%3)))
			require.NoError(k, k.act(k.Delete, "a").Err)
		}
		k.enqueueAll("b", "a", "c")
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 4})
		require.Equal(k, []string{"front", "b", "a", "c"}, leased(w.lease(100)))
	}},
	{"deleting most of many waiting jobs leaves the others in order", func(k *kit) {
		ids := named("a", 2000)
		k.enqueueAll(ids...)
		var rest, doomed []string
		for i, id := range ids {
			if i%400 == 399 {
				rest = append(rest, id)
			} else {
				doomed = append(doomed, id)
			}
		}
		results, err := k.Delete(k.ctx, "q", doomed)
		require.NoError(k, err)
		for _, r := range results {
			require.NoError(k, r.Err)
		}
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: int64(len(rest))})
		w := k.worker("w")
		var got []string
		k.eventually("the rest is leased", func() bool {
			got = append(got, leased(w.lease(2))...)
			return len(got) >= len(rest)
		})
		require.Equal(k, rest, got)
	}},
}
