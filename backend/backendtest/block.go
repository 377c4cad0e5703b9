package backendtest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// blockedOf asks for which of some keys jobs in queues wait.
func (k *kit) blockedOf(queues []string, keys ...string) []string {
	k.Helper()
	reply, err := k.Sweep(k.ctx, backend.SweepRequest{Queues: queues, Duration: long, Keys: keys})
	require.NoError(k, err)
	return reply.Blocked
}

var blockTests = []test{
	{"a blocked job is set aside until a Lease names its key", func(k *kit) {
		// lesson: unknown kinds wait for a worker that knows them, and do not
		// hold up what is behind them.
		k.enqueueAll("a", "b", "c")
		w := k.worker("w")
		w.settled(w.leaseOne("a"), backend.OutcomeBlocked, backend.StateBlocked, on("kind:new"))
		require.Equal(k, "kind:new", k.get("a").BlockedOn)
		w.leaseOne("b")
		request := w.request(10)
		request.Unblock = []string{"kind:other", "kind:new"}
		require.Equal(k, []string{"a", "c"}, leased(w.send(request).Leases), "before the waiting ones")
		info := k.get("a")
		require.Equal(k, backend.StateRunning, info.State)
		require.Empty(k, info.BlockedOn)
	}},
	{"replies list the keys that jobs are blocked on", func(k *kit) {
		k.enqueueAll("a", "b", "c")
		k.enqueue(job("x", in("other")))
		w := k.worker("w")
		request := w.request(10)
		request.Queues = []string{"q", "other"}
		leases := w.send(request).Leases
		require.Len(k, leases, 4)
		w.settle(
			settlement(leases[0], backend.OutcomeBlocked, on("one")), settlement(leases[1], backend.OutcomeBlocked, on("two")),
			settlement(leases[2], backend.OutcomeBlocked, on("one")), settlement(leases[3], backend.OutcomeBlocked, on("two")),
		)
		require.ElementsMatch(k, []string{"one", "two"}, w.send(w.request(0)).Blocked)
		request = w.request(0)
		request.Queues = []string{"q", "other"}
		require.ElementsMatch(k, []string{"one", "two"}, w.send(request).Blocked)
		require.Equal(k, []string{"two"}, k.blockedOf([]string{"other"}, "one", "two"))
		request = w.request(10)
		request.Unblock = []string{"one"}
		require.ElementsMatch(k, []string{"a", "c"}, leased(w.send(request).Leases))
		require.Equal(k, []string{"two"}, w.send(w.request(0)).Blocked)
	}},
	{"a reply lists a bounded number of keys", func(k *kit) {
		k.enqueueAll(named("a", backend.MaxBlockedKeys+20)...)
		w := k.worker("w")
		var all []backend.Settlement
		for i, l := range w.lease(1000) {
			all = append(all, settlement(l, backend.OutcomeBlocked, on(fmt.Sprint("key", i))))
		}
		w.settle(all...)
		require.Len(k, w.send(w.request(0)).Blocked, backend.MaxBlockedKeys)
	}},
	{"a sweep tells for which of the worker's keys jobs wait, however many others there are", func(k *kit) {
		// lesson: kinds that nobody knows must not hide those that one knows.
		const foreign = 3 * backend.MaxBlockedKeys
		k.enqueueAll(named("a", foreign+1)...)
		k.enqueue(job("x", in("other")))
		w := k.worker("w")
		var all []backend.Settlement
		for i, l := range w.lease(foreign + 1) {
			key := fmt.Sprint("foreign", i)
			if i == foreign {
				key = "mine"
			}
			all = append(all, settlement(l, backend.OutcomeBlocked, on(key)))
		}
		w.settle(all...)
		request := w.request(1)
		request.Queues = []string{"other"}
		w.settle(settlement(w.send(request).Leases[0], backend.OutcomeBlocked, on("mine too")))
		both := []string{"q", "other"}

		require.Empty(k, k.blockedOf(both), "who asks for none is told none")
		require.Empty(k, k.blockedOf(both, "min", "mine ", "unheard of"))
		require.Equal(k, []string{"mine"}, k.blockedOf([]string{"q"}, "unheard of", "mine too", "mine"))
		mine := make([]string, backend.MaxSweepKeys-2)
		for i := range mine {
			mine[i] = fmt.Sprint("unheard of ", i)
		}
		require.ElementsMatch(k, []string{"mine", "mine too"}, k.blockedOf(both, append(mine, "mine", "mine too")...))
		mine = mine[:foreign]
		for i := range mine {
			mine[i] = fmt.Sprint("foreign", i)
		}
		require.ElementsMatch(k, mine, k.blockedOf(both, mine...), "the answer is as long as the question")

		request = w.request(5)
		request.Unblock = []string{"mine"}
		require.Len(k, w.send(request).Leases, 1)
		require.Empty(k, k.blockedOf(both, "mine"), "it runs")
	}},
	{"as many blocked jobs are handed out as were asked for", func(k *kit) {
		k.enqueueAll(named("a", 10)...)
		w := k.worker("w")
		w.settle(settlements(w.lease(10), backend.OutcomeBlocked, on("k"))...)
		for want := 10; want > 0; want -= 5 {
			request := w.request(5)
			request.Unblock = []string{"k"}
			require.Len(k, w.send(request).Leases, 5)
			k.requireCounts(map[backend.State]int64{backend.StateBlocked: int64(want - 5), backend.StateRunning: int64(15 - want)})
		}
		require.Empty(k, w.send(w.request(0)).Blocked)
	}},
	{"keys that begin alike are different keys", func(k *kit) {
		k.enqueueAll("a", "b", "c")
		w := k.worker("w")
		leases := w.lease(3)
		w.settle(
			settlement(leases[0], backend.OutcomeBlocked, on("k")), settlement(leases[1], backend.OutcomeBlocked, on("k:1")),
			settlement(leases[2], backend.OutcomeBlocked, on("k\x01 [é")),
		)
		for key, id := range map[string]string{"k": "a", "k:1": "b", "k\x01 [é": "c"} {
			request := w.request(5)
			request.Unblock = []string{key}
			require.Equal(k, []string{id}, leased(w.send(request).Leases), "key %q", key)
		}
	}},
	{"a paused queue hands out no blocked jobs", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		w.settled(w.leaseOne("a"), backend.OutcomeBlocked, backend.StateBlocked, on("k"))
		require.NoError(k, k.Pause(k.ctx, "q", 0))
		request := w.request(5)
		request.Unblock = []string{"k"}
		require.Empty(k, w.send(request).Leases)
		k.requireState(backend.StateBlocked, "a")
	}},
	{"RunNow lets a blocked job wait without its key", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		w.settled(w.leaseOne("a"), backend.OutcomeBlocked, backend.StateBlocked, on("k"))
		k.acted(k.RunNow, "a", backend.StateWaiting)
		require.Empty(k, k.get("a").BlockedOn)
		require.Empty(k, w.send(w.request(0)).Blocked)
		w.leaseOne("a")
	}},
}
