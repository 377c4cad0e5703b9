package backendtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// list reads the pages of a query to the last. A page may come short, so only the
// cursor says that none follows.
func (k *kit) list(query backend.JobsQuery) []backend.JobInfo {
	k.Helper()
	var all []backend.JobInfo
	for pages := 0; ; pages++ {
		page, err := k.Jobs(k.ctx, query)
		require.NoError(k, err)
		if query.Limit > 0 {
			require.LessOrEqual(k, len(page.Jobs), query.Limit)
		}
		size := 0
		for _, j := range page.Jobs {
			require.Equal(k, query.State, j.State)
			require.Equal(k, query.Queue, j.Queue)
			size += len(j.Payload) + len(j.Progress) + len(j.Result)
		}
		require.True(k, len(page.Jobs) <= 1 || size <= backend.MaxPageBytes, "%d bytes in a page of %d jobs", size, len(page.Jobs))
		all = append(all, page.Jobs...)
		if page.Next == "" {
			return all
		}
		require.Less(k, pages, 10_000, "the pages do not end")
		query.Cursor = page.Next
	}
}

// page lists the ids of queue "q" in a state, by pages of a size.
func (k *kit) page(state backend.State, limit int) []string {
	k.Helper()
	var ids []string
	for _, j := range k.list(backend.JobsQuery{Queue: "q", State: state, Limit: limit}) {
		ids = append(ids, j.ID)
	}
	return ids
}

var inspectTests = []test{
	{"the names of the queues are those that ever held a job or were named by a worker", func(k *kit) {
		names, err := k.QueueNames(k.ctx)
		require.NoError(k, err)
		require.Empty(k, names)
		k.enqueue(job("a", in("mail.b")), job("b", in("mail.a")))
		_, err = k.Sweep(k.ctx, backend.SweepRequest{Queues: []string{"idle"}, Duration: long})
		require.NoError(k, err)
		names, err = k.QueueNames(k.ctx)
		require.NoError(k, err)
		require.Equal(k, []string{"idle", "mail.a", "mail.b"}, names)
	}},
	{"pages list all jobs of each state once", func(k *kit) {
		w := k.worker("w")
		want := map[backend.State][]string{}
		for _, c := range []struct {
			state   backend.State
			outcome backend.Outcome
		}{
			{backend.StateCompleted, backend.OutcomeCompleted}, {backend.StateCancelled, backend.OutcomeCancelled},
			{backend.StateDead, backend.OutcomeDead}, {backend.StateBlocked, backend.OutcomeBlocked}, {backend.StateRunning, 0},
		} {
			ids := named(string(c.state), 23)
			want[c.state] = ids
			k.enqueueAll(ids...)
			leases := w.lease(100)
			require.Len(k, leases, 23)
			var all []backend.Settlement
			for i, l := range leases {
				if c.outcome != 0 {
					all = append(all, settlement(l, c.outcome, keep(never), on(fmt.Sprint("key", i%4))))
				}
			}
			w.settle(all...)
		}
		for i, id := range named("waiting", 23) {
			k.enqueue(job(id, priority(i%5-2)))
			want[backend.StateWaiting] = append(want[backend.StateWaiting], id)
		}
		for i, id := range named("scheduled", 23) {
			k.enqueue(job(id, delay(never+time.Duration(i*7%23)*time.Minute)))
			want[backend.StateScheduled] = append(want[backend.StateScheduled], id)
		}
		for _, state := range backend.States {
			for _, limit := range []int{0, 1, 5, 23, 1000} {
				got := k.page(state, limit)
				slices.Sort(got)
				require.Equal(k, want[state], got, "%s jobs by pages of %d", state, limit)
			}
		}
	}},
	{"pages skip what was deleted", func(k *kit) {
		k.enqueueAll(named("a", 20)...)
		want := []string{}
		for i, id := range named("a", 20) {
			if i%3 == 0 {
				want = append(want, id)
			} else {
				require.NoError(k, k.act(k.Delete, id).Err)
			}
		}
		for _, limit := range []int{1, 4, 100} {
			got := k.page(backend.StateWaiting, limit)
			slices.Sort(got)
			require.Equal(k, want, got)
		}
	}},
	{"paging goes on when the job at the cursor has gone", func(k *kit) {
		k.enqueueAll(named("a", 10)...)
		page, err := k.Jobs(k.ctx, backend.JobsQuery{Queue: "q", State: backend.StateWaiting, Limit: 4})
		require.NoError(k, err)
		require.Len(k, page.Jobs, 4)
		require.NoError(k, k.act(k.Delete, page.Jobs[3].ID).Err)
		rest := k.list(backend.JobsQuery{Queue: "q", State: backend.StateWaiting, Limit: 10, Cursor: page.Next})
		require.GreaterOrEqual(k, len(rest), 5)
	}},
	{"pages of large jobs come short and list all", func(k *kit) {
		// lesson: a page of jobs must not hold up the store that others wait for.
		var ids []string
		for i, size := range []int{10, backend.MaxPayload, 1 << 20, 1 << 20, 0, 3 << 20, 20} {
			n := job(named("a", 7)[i])
			n.Payload = make([]byte, size)
			k.enqueue(n)
			ids = append(ids, n.ID)
		}
		for _, limit := range []int{1, 3, 50} {
			require.ElementsMatch(k, ids, k.page(backend.StateWaiting, limit))
		}
		w := k.worker("w")
		var leases []backend.Lease
		for range ids { // one by one, as others use the store meanwhile
			leases = append(leases, w.lease(1)...)
		}
		require.Len(k, leases, len(ids))
		for _, l := range leases {
			w.renew(l, long, make([]byte, 600<<10))
		}
		require.ElementsMatch(k, ids, k.page(backend.StateRunning, 50), "with their histories")
		for _, l := range leases {
			w.settled(l, backend.OutcomeDead, backend.StateDead)
		}
		require.ElementsMatch(k, ids, k.page(backend.StateDead, 50))
	}},
	{"pages pass over many deleted jobs and list the others", func(k *kit) {
		// Deleted jobs that are still in their line must cost a page no more than
		// others do.
		ids := named("a", 20_000)
		k.enqueueAll(ids[:10_000]...)
		k.enqueueAll(ids[10_000:]...)
		for _, some := range [][]string{ids[1:10_000], ids[10_001:19_999]} {
			_, err := k.Delete(k.ctx, "q", some)
			require.NoError(k, err)
		}
		require.ElementsMatch(k, []string{ids[0], ids[10_000], ids[19_999]}, k.page(backend.StateWaiting, 50))
		pages := 0
		for query := (backend.JobsQuery{Queue: "q", State: backend.StateWaiting}); pages == 0 || query.Cursor != ""; pages++ {
			page, err := k.Jobs(k.ctx, query)
			require.NoError(k, err)
			query.Cursor = page.Next
		}
		require.LessOrEqual(k, pages, 20_000/1000)
	}},
	{"pages go on where they ended, whatever has left the state meanwhile", func(k *kit) {
		ids := named("a", 250)
		k.enqueueAll(ids...)
		_, err := k.Cancel(k.ctx, "q", ids)
		require.NoError(k, err)
		var seen []string
		for query := (backend.JobsQuery{Queue: "q", State: backend.StateCancelled, Limit: 50}); len(seen) == 0 || query.Cursor != ""; {
			page, err := k.Jobs(k.ctx, query)
			require.NoError(k, err)
			var read []string
			for _, job := range page.Jobs {
				read = append(read, job.ID)
			}
			_, err = k.Delete(k.ctx, "q", read)
			require.NoError(k, err)
			seen = append(seen, read...)
			query.Cursor = page.Next
		}
		require.ElementsMatch(k, ids, seen)
	}},
	{"a page holds all that is known of a job", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		w.settled(w.leaseOne("a"), backend.OutcomeDead, backend.StateDead, with(someHistory(k)))
		listed := k.list(backend.JobsQuery{Queue: "q", State: backend.StateDead})
		require.Len(k, listed, 1)
		want := k.get("a")
		require.Equal(k, stored(want.Job), stored(listed[0].Job))
		require.Equal(k, past(want.History), past(listed[0].History))
		require.WithinDuration(k, want.KeptUntil, listed[0].KeptUntil, time.Millisecond)
	}},
	{"a query is checked", func(k *kit) {
		k.enqueueAll("a")
		for what, query := range map[string]backend.JobsQuery{
			"no state":       {Queue: "q"},
			"unknown state":  {Queue: "q", State: "asleep"},
			"bad queue":      {Queue: "{q}", State: backend.StateWaiting},
			"negative limit": {Queue: "q", State: backend.StateWaiting, Limit: -1},
			"limit too high": {Queue: "q", State: backend.StateWaiting, Limit: backend.MaxPage + 1},
			"bad cursor":     {Queue: "q", State: backend.StateWaiting, Cursor: "\x00 no cursor"},
		} {
			_, err := k.Jobs(k.ctx, query)
			require.ErrorIs(k, err, backend.ErrRejected, what)
		}
	}},
	{"what is not there is not found", func(k *kit) {
		_, err := k.Job(k.ctx, "q", "a")
		require.ErrorIs(k, err, backend.ErrNotFound)
		_, err = k.Queue(k.ctx, "q")
		require.ErrorIs(k, err, backend.ErrNotFound)
		k.enqueueAll("a")
		_, err = k.Job(k.ctx, "q", "b")
		require.ErrorIs(k, err, backend.ErrNotFound)
		page, err := k.Jobs(k.ctx, backend.JobsQuery{Queue: "nowhere", State: backend.StateWaiting})
		require.NoError(k, err)
		require.Empty(k, page.Jobs)
		require.Empty(k, page.Next)
	}},
	{"a queue is known once it held a job or a worker named it", func(k *kit) {
		queues, err := k.Queues(k.ctx)
		require.NoError(k, err)
		require.Empty(k, queues)
		k.enqueue(job("a", in("zebra")), job("a", in("ant")))
		w := k.worker("w")
		request := w.request(1)
		request.Queues = []string{"mouse"}
		k.announce(backend.WorkerInfo{ID: "w", Queues: request.Queues}, time.Minute)
		w.send(request)
		_, err = k.Delete(k.ctx, "ant", []string{"a"})
		require.NoError(k, err)
		queues, err = k.Queues(k.ctx)
		require.NoError(k, err)
		var names []string
		for _, q := range queues {
			names = append(names, q.Name)
			one, err := k.Queue(k.ctx, q.Name)
			require.NoError(k, err)
			require.Equal(k, one.Counts, q.Counts)
			require.Len(k, q.Counts, len(backend.States), "an entry for every state")
			require.Positive(k, q.Shards)
		}
		require.Equal(k, []string{"ant", "mouse", "zebra"}, names)
		require.EqualValues(k, 1, queues[2].Counts[backend.StateWaiting])
	}},
	{"jobs that are due wait, by all that tells of them, although no worker is there", func(k *kit) {
		k.enqueue(job("later", delay(long)), job("due", delay(20*time.Millisecond)), job("due2", delay(30*time.Millisecond)))
		k.eventually("two are due", func() bool { return k.info().Counts[backend.StateWaiting] == 2 })
		k.requireCounts(map[backend.State]int64{backend.StateScheduled: 1, backend.StateWaiting: 2})
		infos, err := k.Queues(k.ctx)
		require.NoError(k, err)
		require.Equal(k, k.info().Counts, infos[0].Counts)
		require.Equal(k, []string{"due", "due2"}, k.page(backend.StateWaiting, 10))
		require.Equal(k, []string{"later"}, k.page(backend.StateScheduled, 10))
		require.True(k, k.info().OldestWaiting.Equal(k.get("due").EnqueuedAt))
		k.enqueue(job("due3", delay(20*time.Millisecond)))
		k.eventually("one more is due", func() bool { return k.get("due3").State == backend.StateWaiting })
		require.Len(k, k.worker("w").lease(100), 3)
		k.requireCounts(map[backend.State]int64{backend.StateScheduled: 1, backend.StateRunning: 3})
	}},
	{"OldestWaiting is when the oldest head was enqueued", func(k *kit) {
		// lesson: a wait-time chart must not go quiet exactly when a queue is
		// stuck.
		k.enqueueAll("a")
		require.True(k, k.info().OldestWaiting.Equal(k.get("a").EnqueuedAt))
		time.Sleep(5 * time.Millisecond)
		k.enqueue(job("b", priority(2)))
		require.True(k, k.info().OldestWaiting.Equal(k.get("a").EnqueuedAt))
		w := k.worker("w")
		w.leaseOne("b")
		w.leaseOne("a")
		require.True(k, k.info().OldestWaiting.IsZero())
		k.enqueue(job("c", delay(never)))
		require.True(k, k.info().OldestWaiting.IsZero())
	}},
}
