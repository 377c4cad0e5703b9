package backendtest

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// inLane has a job wait in a lane, of weight 1 if no other is given.
func inLane(key string, weight ...float64) func(*backend.NewJob) {
	return func(j *backend.NewJob) {
		j.Lane = backend.Lane{Key: key}
		for _, w := range weight {
			j.Lane.Weight = w
		}
	}
}

// fill enqueues count jobs whose ids begin with the name of their lane and a dash; those of
// the lane "plain" are in none.
func (k *kit) fill(lane string, count int, options ...func(*backend.NewJob)) (ids []string) {
	k.Helper()
	ids = named(lane+"-", count)
	if lane != "plain" {
		options = append([]func(*backend.NewJob){inLane(lane)}, options...)
	}
	jobs := make([]backend.NewJob, count)
	for i := range jobs {
		jobs[i] = job(ids[i], options...)
	}
	k.enqueue(jobs...)
	return ids
}

// laneOf is the lane of a job that fill has enqueued.
func laneOf(id string) string { return id[:len(id)-6] }

// perLane counts ids by their lanes.
func perLane(ids []string) map[string]int {
	counts := map[string]int{}
	for _, id := range ids {
		counts[laneOf(id)]++
	}
	return counts
}

// oneByOne leases n jobs, one in each call, and completes them.
func (w *worker) oneByOne(n int) (ids []string) {
	w.Helper()
	for range n {
		leases := w.lease(1)
		require.Len(w, leases, 1)
		w.settled(leases[0], backend.OutcomeCompleted, backend.StateCompleted)
		ids = append(ids, leases[0].Job.ID)
	}
	return ids
}

func (k *kit) lanes(job ...string) backend.LanesInfo {
	k.Helper()
	query := backend.LanesQuery{Queue: "q"}
	for _, id := range job {
		query.Job = id
	}
	info, err := k.Lanes(k.ctx, query)
	require.NoError(k, err)
	require.Equal(k, "q", info.Queue)
	return info
}

// requireLanes compares how many wait in each lane, the longest first.
func (k *kit) requireLanes(want ...backend.LaneInfo) {
	k.Helper()
	if want == nil {
		want = []backend.LaneInfo{}
	}
	got := k.lanes().Lanes
	if got == nil {
		got = []backend.LaneInfo{}
	}
	require.Equal(k, want, got)
}

var laneTests = []test{
	{"lanes have their turns, those without a lane too, and each is in order", func(k *kit) {
		for _, batch := range []int{1, 3, 9, 50} {
			w := k.worker(fmt.Sprint("w", batch))
			for _, lane := range []string{"a", "plain", "b"} {
				k.fill(lane, 6)
			}
			var got []string
			for len(got) < 18 {
				leases := w.lease(batch)
				require.NotEmpty(k, leases)
				w.settle(settlements(leases, backend.OutcomeCompleted)...)
				got = append(got, leased(leases)...)
			}
			for round := range slices.Chunk(got, 3) {
				require.Equal(k, map[string]int{"a": 1, "plain": 1, "b": 1}, perLane(round), "%v", got)
			}
			for _, lane := range []string{"a", "plain", "b"} {
				require.Equal(k, named(lane+"-", 6), slices.DeleteFunc(slices.Clone(got), func(id string) bool { return laneOf(id) != lane }))
			}
			k.requireCounts(nil)
			k.requireLanes()
		}
	}},
	{"a lane with very many jobs delays the first job of another one by one", func(k *kit) {
		w := k.worker("w")
		k.fill("full", 5000)
		w.oneByOne(5)
		k.fill("new", 1)
		require.Contains(k, w.oneByOne(2), "new-00000")
		k.fill("plain", 1)
		require.Contains(k, w.oneByOne(2), "plain-00000")
		k.fill("plain", 1)
		k.fill("other", 1)
		require.ElementsMatch(k, []string{"other", "plain"}, slices.DeleteFunc(lanesOf(w.oneByOne(3)), func(l string) bool { return l == "full" }))
	}},
	{"a lane that has one job at a time does not keep those without a lane waiting", func(k *kit) {
		w := k.worker("w")
		k.fill("plain", 10)
		var got []string
		for i := range 8 {
			if k.lanesWaiting("lone") == 0 {
				k.enqueue(job(fmt.Sprintf("lone-%05d", i), inLane("lone")))
			}
			got = append(got, w.oneByOne(1)...)
		}
		require.Equal(k, map[string]int{"plain": 4, "lone": 4}, perLane(got), "%v", got)
	}},
	{"lanes that come later do not overtake one by their names", func(k *kit) {
		w := k.worker("w")
		k.fill("zebra", 2)
		var got []string
		for i := range 6 {
			k.fill(fmt.Sprint("ant", i), 1)
			got = append(got, w.oneByOne(1)...)
		}
		require.Equal(k, "zebra-00000", got[0], "%v", got)
		require.Equal(k, []string{"ant0", "ant1", "ant2", "ant3", "ant4"}, lanesOf(got[1:]))
	}},
	{"where nothing waited any more all begin anew", func(k *kit) {
		w := k.worker("w")
		k.enqueue(job("heavy-00000", inLane("heavy", 1000)))
		k.fill("plain", 1)
		w.oneByOne(2)
		require.Empty(k, w.lease(1))
		var got []string
		k.enqueue(job("plain-00001"), job("plain-00002"))
		for i := range 8 {
			k.enqueue(job(fmt.Sprintf("heavy-%05d", i+1), inLane("heavy", 1000)))
		}
		got = w.oneByOne(4)
		require.Contains(k, lanesOf(got), "plain", "%v", got)
	}},
	{"a lane gets as much as its weight says", func(k *kit) {
		w := k.worker("w")
		k.fill("heavy", 80, inLane("heavy", 3))
		k.fill("light", 80, inLane("light", 0.5))
		k.fill("plain", 80)
		counts := perLane(w.oneByOne(90))
		require.InDelta(k, 60, counts["heavy"], 3, "%v", counts)
		require.InDelta(k, 20, counts["plain"], 2, "%v", counts)
		require.InDelta(k, 10, counts["light"], 2, "%v", counts)
	}},
	{"a lane that had no work does not catch up, and one that had little does not pay", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 60)
		w.oneByOne(30)
		k.fill("b", 20)
		require.InDelta(k, 10, perLane(w.oneByOne(20))["b"], 1)
		// A slow one that comes with one job at a time gets its share, not a turn for each.
		k.fill("c", 60)
		slow := 0
		for i := range 40 {
			if k.lanesWaiting("slow") == 0 {
				k.enqueue(job(fmt.Sprintf("slow-%05d", i), inLane("slow", 0.1)))
			}
			slow += perLane(w.oneByOne(1))["slow"]
		}
		require.LessOrEqual(k, slow, 4)
		require.GreaterOrEqual(k, slow, 1)
	}},
	{"a higher priority comes first, whatever its lane has had", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 4)
		k.fill("b", 4)
		k.enqueue(job("a-10000", inLane("a"), priority(1)), job("a-10001", inLane("a"), priority(1)), job("plain-10000", priority(1)))
		require.ElementsMatch(k, []string{"a-10000", "a-10001", "plain-10000"}, w.oneByOne(3))
		require.Equal(k, map[string]int{"a": 2, "b": 2}, perLane(w.oneByOne(4)))
	}},
	{"what comes back to the front comes first, and costs its lane no turn", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 8)
		k.fill("b", 8)
		k.fill("plain", 8)
		leases := w.lease(3)
		w.settle(settlements(leases, backend.OutcomeReleased)...)
		k.requireState(backend.StateWaiting, leased(leases)...)
		require.Equal(k, leased(leases), w.oneByOne(3), "in the order of the call")
		require.Equal(k, map[string]int{"a": 2, "b": 2, "plain": 2}, perLane(w.oneByOne(6)))
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 15})
		// One that came back and is taken away stands in nobody's way.
		again := w.lease(3)
		w.settle(settlements(again, backend.OutcomeReleased)...)
		k.acted(k.Cancel, again[0].Job.ID, backend.StateCancelled)
		require.NoError(k, k.act(k.Delete, again[1].Job.ID).Err)
		require.Equal(k, again[2].Job.ID, w.oneByOne(1)[0])
		require.Equal(k, map[string]int{"a": 2, "b": 2, "plain": 2}, perLane(w.oneByOne(6)))
	}},
	{"what comes back comes before a lane whose turn it is", func(k *kit) {
		w := k.worker("w")
		k.fill("quick", 40, inLane("quick", 100))
		for i, lane := range []string{"plain", "a"} {
			id := k.fill(lane, 3)[0]
			leases := w.lease(10)
			at := slices.Index(leased(leases), id)
			require.GreaterOrEqual(k, at, 0)
			w.settle(settlement(leases[at], backend.OutcomeReleased))
			back := w.leaseOne(id)
			require.Equal(k, map[string]int{"quick": 8}, perLane(leased(w.lease(8))), "round %d", i)
			w.settled(back, backend.OutcomeCompleted, backend.StateCompleted)
		}
	}},
	{"a job whose lease expired comes first", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 3)
		k.fill("b", 3)
		lost := w.leaseFor(1, short)
		k.eventually("the lease is taken back", func() bool { return k.sweep(short) == 1 })
		require.Equal(k, leased(lost), w.oneByOne(1))
		require.Equal(k, map[string]int{"a": 1, "b": 1}, perLane(w.oneByOne(2)))
	}},
	{"all ways to wait lead into the lane, behind those that wait in it", func(k *kit) {
		w := k.worker("w")
		k.enqueue(job("again", inLane("a")), job("dead", inLane("a")), job("unknown", inLane("a")))
		again := w.leaseOne("again")
		w.settled(w.leaseOne("dead"), backend.OutcomeDead, backend.StateDead)
		w.settled(w.leaseOne("unknown"), backend.OutcomeBlocked, backend.StateBlocked, on("key"))
		k.enqueue(job("delayed", inLane("a"), delay(short)), job("later", inLane("a"), delay(never)))
		w.settled(again, backend.OutcomeRetry, backend.StateScheduled, after(short+50*time.Millisecond)) // due after the one before
		k.eventually("the delayed ones are due", func() bool { return k.lanesWaiting("a") == 2 })
		k.requireLanes(backend.LaneInfo{Key: "a", Waiting: 2})
		k.acted(k.RunNow, "later", backend.StateWaiting)
		k.acted(k.Retry, "dead", backend.StateWaiting)
		k.acted(k.RunNow, "unknown", backend.StateWaiting)
		k.enqueue(job("plain-1"), job("plain-2"))
		k.requireLanes(backend.LaneInfo{Key: "a", Waiting: 5})
		for i, id := range []string{"delayed", "again", "later", "dead", "unknown"} {
			require.Equal(k, i+1, k.lanes(id).Place, id)
			require.Equal(k, backend.Lane{Key: "a"}, k.get(id).Lane)
		}
		w.settled(w.leaseOneOf("delayed", "plain-1"), backend.OutcomeSnoozed, backend.StateWaiting)
		require.Len(k, w.lease(10), 7)
		k.requireLanes()
	}},
	{"what is cancelled, deleted or replaced leaves its lane", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 6)
		k.fill("b", 2)
		k.acted(k.Cancel, "a-00000", backend.StateCancelled)
		require.NoError(k, k.act(k.Delete, "a-00002").Err)
		k.requireLanes(backend.LaneInfo{Key: "a", Waiting: 4}, backend.LaneInfo{Key: "b", Waiting: 2})
		k.acted(k.Cancel, "b-00000", backend.StateCancelled)
		k.acted(k.Cancel, "b-00001", backend.StateCancelled)
		k.requireLanes(backend.LaneInfo{Key: "a", Waiting: 4})
		require.Equal(k, []string{"a-00001", "a-00003", "a-00004", "a-00005"}, w.oneByOne(4))

		u := backend.Unique{Key: key(1), Hold: backend.HoldUntilFinished, Conflict: backend.ConflictReplace}
		unique := func(j *backend.NewJob) { j.Unique = u }
		k.enqueue(job("first", inLane("a"), unique))
		receipt := k.enqueue(job("second", inLane("c"), unique))[0]
		require.True(k, receipt.Replaced)
		k.requireLanes(backend.LaneInfo{Key: "c", Waiting: 1})
		require.Equal(k, "c", w.leaseOne("first").Job.Lane.Key)
		require.Empty(k, w.lease(5))
	}},
	{"a lane decides who is looked at, a limit whether it is handed out", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 5, limited(slots(1, "acme")))
		k.fill("b", 5)
		leases := w.lease(4)
		require.Equal(k, map[string]int{"a": 1, "b": 3}, perLane(leased(leases)))
		parked := k.info().Counts[backend.StateBlocked]
		require.NotZero(k, parked)
		require.Equal(k, 5-1-int(parked), k.lanesWaiting("a"), "what is parked has left its lane")
		held := slices.IndexFunc(leases, func(l backend.Lease) bool { return laneOf(l.Job.ID) == "a" })
		for i := range 4 {
			w.settled(leases[held], backend.OutcomeCompleted, backend.StateCompleted)
			leases, held = w.lease(1), 0
			require.Equal(k, []string{fmt.Sprintf("a-%05d", i+1)}, leased(leases), "what was parked has room")
		}
		require.Equal(k, 1, k.limit("tenant", "acme", "").Held)
		require.Equal(k, map[string]int{"b": 2}, perLane(leased(w.lease(5))))
	}},
	{"jobs of a key go in order, in lanes too", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 5, limited(slots(1, "acme", backend.SlotUntilFinished)))
		k.fill("b", 5, limited(slots(1, "other", backend.SlotUntilFinished)))
		got := map[string][]string{}
		for range 5 {
			leases := w.lease(10)
			require.Len(k, leases, 2)
			for _, l := range leases {
				got[laneOf(l.Job.ID)] = append(got[laneOf(l.Job.ID)], l.Job.ID)
			}
			w.settle(settlements(leases, backend.OutcomeCompleted)...)
		}
		require.Equal(k, map[string][]string{"a": named("a-", 5), "b": named("b-", 5)}, got)
	}},
	{"a job of a lane is leased ahead, repeated, renewed and settled as any other", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 3)
		k.fill("plain", 2)
		request := w.request(4)
		request.Ahead = 2
		first := w.send(request)
		require.Len(k, first.Leases, 4)
		require.True(k, first.More)
		require.Equal(k, leased(first.Leases), leased(w.send(request).Leases))
		for _, l := range first.Leases {
			require.Equal(k, described(k.get(l.Job.ID).Job), described(l.Job))
			require.False(k, w.renew(l, long, []byte("x")).Lost)
		}
		w.settled(first.Leases[0], backend.OutcomeCompleted, backend.StateCompleted, keep(never))
		w.settled(first.Leases[1], backend.OutcomeCompleted, backend.StateCompleted)
		w.settled(first.Leases[2], backend.OutcomeDead, backend.StateDead)
		w.settled(first.Leases[3], backend.OutcomeCancelled, backend.StateCancelled)
		require.Len(k, w.lease(5), 1)
	}},
	{"what was set aside as its kind was not known is unblocked, and may come back", func(k *kit) {
		w := k.worker("w")
		k.fill("a", 2)
		k.fill("b", 2)
		first := w.leaseOneOf("a-00000", "b-00000")
		w.settled(first, backend.OutcomeBlocked, backend.StateBlocked, on("key"))
		request := w.request(1)
		request.Unblock = []string{"key"}
		again := w.send(request).Leases
		require.Equal(k, []string{first.Job.ID}, leased(again))
		w.settled(again[0], backend.OutcomeRetry, backend.StateWaiting)
		require.Len(k, w.oneByOne(4), 4)
		k.requireCounts(nil)
	}},
	{"all jobs of lanes are counted and listed once, with the others", func(k *kit) {
		all := slices.Concat(k.fill("a", 5), k.fill("plain", 4), k.fill("b", 3, priority(1)), k.fill("with space 日本", 2))
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 14})
		require.False(k, k.info().OldestWaiting.IsZero())
		for _, page := range []int{1, 3, 100} {
			require.ElementsMatch(k, all, k.page(backend.StateWaiting, page), "pages of %d", page)
		}
		w := k.worker("w")
		w.lease(6)
		require.Len(k, k.page(backend.StateWaiting, 2), 8)
		w.lease(8)
		require.True(k, k.info().OldestWaiting.IsZero())
		require.Empty(k, k.page(backend.StateWaiting, 2))
	}},
	{"the longest lanes are told first, and as many as are allowed", func(k *kit) {
		require.Empty(k, k.lanes("none").Lanes)
		jobs := []backend.NewJob{}
		for i := range 2 * backend.MaxLanes {
			jobs = append(jobs, job(fmt.Sprint("few", i), inLane(fmt.Sprintf("few%03d", i))))
		}
		k.enqueue(jobs...)
		k.fill("many", 7)
		k.fill("some", 3)
		k.enqueue(job("high", inLane("some"), priority(2)))
		info := k.lanes("many-00003")
		require.True(k, info.More)
		require.Len(k, info.Lanes, backend.MaxLanes)
		require.Equal(k, []backend.LaneInfo{{Key: "many", Waiting: 7}, {Key: "some", Waiting: 4}}, info.Lanes[:2])
		require.Equal(k, 4, info.Place)
		require.Zero(k, k.lanes("none").Place)
	}},
	{"a job of a lane wakes who waits for work", func(k *kit) {
		waiter, err := k.Waiter([]string{"q"})
		require.NoError(k, err)
		defer func() { require.NoError(k, waiter.Close()) }()
		w := k.worker("w")
		for i, enqueue := range []func(){
			func() { k.enqueue(job("a", inLane("a"))) },
			func() { k.enqueue(job("b", inLane("b"), delay(short))) },
		} {
			answers := make(chan backend.LeaseReply, 1)
			go func() {
				for {
					reply, err := waiter.Lease(k.ctx, w.request(1), patience)
					if err != nil || len(reply.Leases) > 0 {
						answers <- reply
						return
					}
					if !reply.NextDue.IsZero() {
						time.Sleep(min(time.Until(reply.NextDue), short))
						waiter.Nudge()
					}
				}
			}()
			enqueue()
			select {
			case reply := <-answers:
				require.Equal(k, []string{[]string{"a", "b"}[i]}, leased(reply.Leases))
			case <-time.After(patience):
				require.Fail(k, "nobody was woken")
			}
		}
	}},
	{"a tick's job waits in its lane", func(k *kit) {
		s := k.put(backend.Schedule{Queue: "q", Name: "s", Spec: []byte("spec"), Next: longAgo})
		j := job(backend.TickID("s", longAgo), inLane("a"))
		reply, err := k.Tick(k.ctx, []backend.Tick{{Queue: "q", Name: "s", Version: s.Version, At: longAgo, Next: hour(1), Overlap: backend.OverlapAllow, Job: &j}})
		require.NoError(k, err)
		require.Equal(k, backend.TickEnqueued, reply.Results[0].Outcome)
		k.requireLanes(backend.LaneInfo{Key: "a", Waiting: 1})
		k.worker("w").leaseOne(j.ID)
	}},
	{"a lane that cannot be meant is refused", func(k *kit) {
		for _, lane := range []backend.Lane{
			{Weight: 1}, {Key: "a", Weight: -1}, {Key: "a", Weight: backend.MaxWeight + 1}, {Key: "a", Weight: backend.MinWeight / 2},
			{Key: "line\nfeed"}, {Key: "\xff"}, {Key: string(make([]byte, backend.MaxNameLength+1))},
		} {
			_, err := k.Enqueue(k.ctx, []backend.NewJob{job("a", func(j *backend.NewJob) { j.Lane = lane })})
			require.ErrorIs(k, err, backend.ErrRejected, "%+v", lane)
		}
		_, err := k.Lanes(k.ctx, backend.LanesQuery{Queue: "no such/queue"})
		require.ErrorIs(k, err, backend.ErrRejected)
	}},
	{"of 1,000 lanes with very uneven load none waits for more than twice its fair share", func(k *kit) {
		loads, jobs := map[string]int{}, [2][]backend.NewJob{}
		for i := range 1000 {
			lane := fmt.Sprintf("lane%03d", i)
			switch {
			case i == 0:
				loads[lane] = 2000
			case i < 10:
				loads[lane] = 100
			default:
				loads[lane] = 1 + i%3
			}
			for n := range loads[lane] {
				jobs[i%2] = append(jobs[i%2], job(fmt.Sprintf("%s-%05d", lane, n), inLane(lane)))
			}
		}
		w := k.worker("w")
		take := func(limit int) (ids []string) {
			for len(ids) < limit {
				leases := w.lease(50)
				if len(leases) == 0 {
					break
				}
				w.settle(settlements(leases, backend.OutcomeCompleted)...)
				ids = append(ids, leased(leases)...)
			}
			return ids
		}
		// The n-th job of a lane has its turn, fairly, when each lane that has so many has had n.
		check := func(waiting map[string]int, got []string) {
			had := map[string]int{}
			for i, id := range got {
				lane, fair := laneOf(id), 0
				had[lane]++
				for _, load := range waiting {
					fair += min(had[lane], load)
				}
				require.LessOrEqual(k, i+1, 2*fair, "job %d of %s", had[lane], lane)
			}
		}
		k.enqueue(jobs[0]...)
		left, waiting := map[string]int{}, map[string]int{}
		for _, j := range jobs[0] {
			waiting[j.Lane.Key]++
		}
		got := take(400)
		check(waiting, got)
		k.enqueue(jobs[1]...) // the other lanes come when the queue is at work
		for lane, load := range loads {
			left[lane] = load - perLane(got)[lane]
		}
		rest := take(1 << 20)
		check(left, rest)
		had := perLane(slices.Concat(got, rest))
		require.Equal(k, loads, had, "all have been handed out")
		k.requireCounts(nil)
	}},
}

func lanesOf(ids []string) (lanes []string) {
	for _, id := range ids {
		lanes = append(lanes, laneOf(id))
	}
	return lanes
}

// lanesWaiting counts the jobs that wait in a lane.
func (k *kit) lanesWaiting(key string) int {
	k.Helper()
	for _, l := range k.lanes().Lanes {
		if l.Key == key {
			return l.Waiting
		}
	}
	return 0
}

// leaseOneOf leases one job, which has to be one of these.
func (w *worker) leaseOneOf(ids ...string) backend.Lease {
	w.Helper()
	leases := w.lease(1)
	require.Len(w, leases, 1)
	require.Contains(w, ids, leases[0].Job.ID)
	return leases[0]
}
