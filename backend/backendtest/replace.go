package backendtest

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func replacing(j *backend.NewJob) { j.ReplaceFinished = true }

// anew is a job of the same id that replaces a finished one.
func anew(id string, options ...func(*backend.NewJob)) backend.NewJob {
	n := job(id, append(options, replacing)...)
	n.Payload = []byte("anew")
	return n
}

var finals = []struct {
	outcome backend.Outcome
	state   backend.State
}{
	{backend.OutcomeCompleted, backend.StateCompleted},
	{backend.OutcomeCancelled, backend.StateCancelled},
	{backend.OutcomeDead, backend.StateDead},
}

var replaceTests = []test{
	{"a finished job gives way to one that replaces it", func(k *kit) {
		// lesson: an id that a dead job holds must not swallow new work.
		w := k.worker("w")
		for _, final := range finals {
			id := string(final.state)
			k.enqueueAll(id)
			w.settled(w.leaseOne(id), final.outcome, final.state, keep(never),
				with(backend.History{Attempts: 1, Result: []byte("done"), Failures: []backend.Failure{{Attempt: 1, Error: "it failed"}}}))
			before := k.info()

			receipt := k.enqueue(anew(id, priority(1)))[0]

			require.Equal(k, backend.Receipt{Queue: "q", ID: id, State: backend.StateWaiting}, receipt)
			info := k.get(id)
			require.Equal(k, "anew", string(info.Payload))
			require.Equal(k, 1, info.Priority)
			require.Equal(k, backend.StateWaiting, info.State)
			require.Zero(k, past(info.History), "its history is forgotten")
			require.Zero(k, info.Crashes)
			require.True(k, info.KeptUntil.IsZero())
			require.Empty(k, k.page(final.state, 10))
			k.requireCounts(map[backend.State]int64{backend.StateWaiting: 1})
			after := k.info()
			after.Counts, after.OldestWaiting = before.Counts, before.OldestWaiting
			require.Equal(k, before, after, "what happened in the queue stays counted, and nothing is trimmed")
			w.settled(w.leaseOne(id), backend.OutcomeCompleted, backend.StateCompleted)
			k.requireGone(id)
		}
	}},
	{"what replaces a finished job may be delayed", func(k *kit) {
		k.enqueueAll("a")
		k.acted(k.Cancel, "a", backend.StateCancelled)
		require.Equal(k, backend.StateScheduled, k.enqueue(anew("a", delay(never)))[0].State)
		k.requireCounts(map[backend.State]int64{backend.StateScheduled: 1})
		w := k.worker("w")
		require.Empty(k, w.lease(5))
		k.acted(k.RunNow, "a", backend.StateWaiting)
		require.Equal(k, "anew", string(w.leaseOne("a").Job.Payload))
	}},
	{"a job that has not finished is not replaced", func(k *kit) {
		w := k.worker("w")
		unchanged := func(want backend.State) {
			k.Helper()
			receipt := k.enqueue(anew("a"))[0]
			require.True(k, receipt.Existing)
			require.Equal(k, want, receipt.State)
			require.Equal(k, "payload of a", string(k.get("a").Payload))
			k.requireCounts(map[backend.State]int64{want: 1})
		}
		k.enqueue(job("a", delay(never)))
		unchanged(backend.StateScheduled)
		k.acted(k.RunNow, "a", backend.StateWaiting)
		unchanged(backend.StateWaiting)
		lease := w.leaseOne("a")
		unchanged(backend.StateRunning)
		w.settled(lease, backend.OutcomeBlocked, backend.StateBlocked)
		unchanged(backend.StateBlocked)
	}},
	{"of two in a batch that replace one job the first does", func(k *kit) {
		k.enqueueAll("a", "b")
		w := k.worker("w")
		w.settle(settlements(w.lease(2), backend.OutcomeDead)...)
		receipts := k.enqueue(anew("a", delay(never)), anew("a"), job("b"), anew("b"), anew("c"), anew("c"))
		for i, want := range []backend.Receipt{
			{ID: "a", State: backend.StateScheduled},
			{ID: "a", State: backend.StateScheduled, Existing: true},
			{ID: "b", State: backend.StateDead, Existing: true},
			{ID: "b", State: backend.StateWaiting},
			{ID: "c", State: backend.StateWaiting},
			{ID: "c", State: backend.StateWaiting, Existing: true},
		} {
			want.Queue = "q"
			require.Equal(k, want, receipts[i], "receipt %d", i)
		}
		k.requireCounts(map[backend.State]int64{backend.StateScheduled: 1, backend.StateWaiting: 2})
	}},
	{"a large batch replaces finished jobs and keeps its order", func(k *kit) {
		ids := named("a", 3000)
		k.enqueueAll(ids...)
		_, err := k.Cancel(k.ctx, "q", ids[:2000])
		require.NoError(k, err)
		batch := make([]backend.NewJob, len(ids))
		for i, id := range ids {
			batch[i] = anew(id)
		}
		for i, r := range k.enqueue(batch...) {
			require.Equal(k, i >= 2000, r.Existing, r.ID)
			require.Equal(k, backend.StateWaiting, r.State)
		}
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 3000})
		require.Equal(k, append(ids[2000:], ids[:2000]...), leased(k.worker("w").lease(5000)))
	}},
	{"a job that is replaced again and again is kept once", func(k *kit) {
		k.enqueueAll("kept", "a")
		k.acted(k.Cancel, "kept", backend.StateCancelled)
		k.acted(k.Cancel, "a", backend.StateCancelled)
		for i := range 50 {
			require.False(k, k.enqueue(anew("a"))[0].Existing)
			k.acted(k.Cancel, "a", backend.StateCancelled)
			require.ElementsMatch(k, []string{"kept", "a"}, k.page(backend.StateCancelled, 1), fmt.Sprint("round ", i))
		}
		require.EqualValues(k, 52, k.info().Cancelled)
		require.Zero(k, k.info().Trimmed)
	}},
}
