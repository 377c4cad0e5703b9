package backendtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// longAgo is an instant that has come by any clock.
var longAgo = time.Date(1999, 1, 1, 2, 0, 0, 0, time.UTC)

// hour is the nth hour after longAgo.
func hour(n int) time.Time { return longAgo.Add(time.Duration(n) * time.Hour) }

// schedule describes a schedule of queue "q" that is due at longAgo.
func schedule(name string) backend.Schedule {
	return backend.Schedule{Queue: "q", Name: name, Spec: []byte("spec of " + name), Next: longAgo}
}

func (k *kit) put(s backend.Schedule) backend.Schedule {
	k.Helper()
	stored, err := k.PutSchedule(k.ctx, s)
	require.NoError(k, err)
	return stored
}

// schedule reads a schedule of queue "q" that must be there.
func (k *kit) schedule(name string) backend.Schedule {
	k.Helper()
	found := k.find(name)
	require.Len(k, found, 1, "schedule %q", name)
	return found[0]
}

// find answers the schedule of queue "q" that has a name, if there is one.
func (k *kit) find(name string) []backend.Schedule {
	k.Helper()
	page, err := k.Schedules(k.ctx, backend.SchedulesQuery{Queue: "q", Name: name})
	require.NoError(k, err)
	require.Empty(k, page.After)
	require.WithinDuration(k, time.Now(), page.Now, patience)
	return page.Schedules
}

// tickOf is the tick of a schedule at its next instant; an hour later is the one
// after.
func tickOf(s backend.Schedule, overlap backend.Overlap) backend.Tick {
	job := job(backend.TickID(s.Name, s.Next), in(s.Queue))
	return backend.Tick{
		Queue: s.Queue, Name: s.Name, Version: s.Version, At: s.Next, Next: s.Next.Add(time.Hour),
		Job: &job, Overlap: overlap,
	}
}

func (k *kit) tickAll(ticks ...backend.Tick) []backend.TickResult {
	k.Helper()
	reply, err := k.Tick(k.ctx, ticks)
	require.NoError(k, err)
	require.Len(k, reply.Results, len(ticks))
	require.WithinDuration(k, time.Now(), reply.Now, patience)
	return reply.Results
}

// tick sends one tick, which must come out as is said, and answers the schedule.
func (k *kit) tick(t backend.Tick, want backend.TickOutcome) backend.Schedule {
	k.Helper()
	result := k.tickAll(t)[0]
	require.NoError(k, result.Err)
	require.Equal(k, want.String(), result.Outcome.String())
	if result.Schedule.Name != "" && t.Queue == "q" {
		require.Equal(k, k.schedule(t.Name), result.Schedule)
	}
	return result.Schedule
}

// schedules pages through the schedules of queue "q".
func (k *kit) schedules(limit int) (names []string) {
	k.Helper()
	query := backend.SchedulesQuery{Queue: "q", Limit: limit}
	for {
		page, err := k.Schedules(k.ctx, query)
		require.NoError(k, err)
		require.WithinDuration(k, time.Now(), page.Now, patience)
		for _, s := range page.Schedules {
			require.Equal(k, k.schedule(s.Name), s)
			names = append(names, s.Name)
		}
		if page.After == "" {
			return names
		}
		query.Cursor = page.After
	}
}

// changes is what Sweep tells of the schedules of queue "q".
func (k *kit) changes() uint64 {
	k.Helper()
	reply, err := k.Sweep(k.ctx, backend.SweepRequest{Queues: []string{"q"}, Duration: long})
	require.NoError(k, err)
	return reply.Schedules
}

var scheduleTests = []test{
	{"a schedule comes out as it was put", func(k *kit) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for _, s := range []backend.Schedule{
			schedule("nightly"),
			{Queue: "q", Name: "ended", Spec: all},
			{Queue: "q", Name: "short", Spec: []byte("a\x00b")},
			{Queue: "q", Name: "a-b_c.d:e/f", Next: time.UnixMilli(time.Now().UnixMilli()).Add(never), Paused: true},
			{Queue: "q", Name: "large", Spec: slices.Repeat([]byte("x"), backend.MaxSpec), Next: time.UnixMilli(1).Add(time.Second)},
			{Queue: "q", Name: "far", Next: time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)},
		} {
			stored := k.put(s)
			require.True(k, s.Same(&stored), "%v", stored.Name)
			require.NotZero(k, stored.Version)
			require.Equal(k, stored, k.schedule(s.Name))
			require.Zero(k, stored.Last)
			require.Empty(k, stored.LastJob)
		}
		names := k.schedules(2)
		require.ElementsMatch(k, []string{"nightly", "ended", "short", "a-b_c.d:e/f", "large", "far"}, names)
		require.ElementsMatch(k, names, k.schedules(0))
		_, err := k.Queue(k.ctx, "q")
		require.NoError(k, err, "the queue is known")
	}},
	{"a schedule is replaced by whoever knows its version", func(k *kit) {
		first := k.put(schedule("nightly"))
		other := first
		other.Spec = []byte("other")
		_, err := k.PutSchedule(k.ctx, backend.Schedule{Queue: "q", Name: "nightly", Spec: []byte("other")})
		require.ErrorIs(k, err, backend.ErrConflict, "there is one already")
		second := k.put(other)
		require.NotEqual(k, first.Version, second.Version)
		third := first
		third.Spec = []byte("third")
		_, err = k.PutSchedule(k.ctx, third)
		require.ErrorIs(k, err, backend.ErrConflict, "the version is an old one")
		require.Equal(k, second, k.schedule("nightly"))
		_, err = k.PutSchedule(k.ctx, backend.Schedule{Queue: "q", Name: "weekly", Version: 7})
		require.ErrorIs(k, err, backend.ErrConflict, "there is none")
	}},
	{"a put that is repeated after a lost reply changes nothing more", func(k *kit) {
		s := schedule("nightly")
		first := k.put(s)
		require.Equal(k, first, k.put(s))
		s = first
		s.Paused = true
		second := k.put(s)
		require.Equal(k, second, k.put(s))
	}},
	{"a schedule that is deleted is gone, and another of its name is another", func(k *kit) {
		old := k.put(schedule("nightly"))
		k.put(schedule("weekly"))
		require.NoError(k, k.DeleteSchedule(k.ctx, "q", "nightly"))
		require.ErrorIs(k, k.DeleteSchedule(k.ctx, "q", "nightly"), backend.ErrNotFound)
		require.Empty(k, k.find("nightly"))
		require.Equal(k, []string{"weekly"}, k.schedules(0))
		require.Empty(k, k.tick(tickOf(old, backend.OverlapAllow), backend.TickStale))
		anew := k.put(schedule("nightly"))
		require.NotEqual(k, old.Version, anew.Version)
		k.tick(tickOf(old, backend.OverlapAllow), backend.TickStale)
		k.requireCounts(nil)
	}},
	{"a tick enqueues its job and advances the schedule", func(k *kit) {
		s := k.put(schedule("nightly"))
		tick := tickOf(s, backend.OverlapAllow)
		tick.Job.Priority, tick.Job.Tags = 2, []string{"tag"}
		after := k.tick(tick, backend.TickEnqueued)
		id := backend.TickID("nightly", longAgo)
		require.Equal(k, "schedule:nightly@1999-01-01T02:00:00.000Z", id)
		require.Equal(k, [2]time.Time{longAgo, hour(1)}, [2]time.Time{after.Last, after.Next})
		require.Equal(k, id, after.LastJob)
		require.Equal(k, backend.StateWaiting, after.LastState)
		require.EqualValues(k, 1, after.Enqueued)
		require.NotEqual(k, s.Version, after.Version)
		require.Equal(k, s.Spec, after.Spec)
		lease := k.worker("w").leaseOne(id)
		require.Equal(k, "payload of "+id, string(lease.Job.Payload))
		require.Equal(k, 2, lease.Job.Priority)
		require.Equal(k, []string{"tag"}, lease.Job.Tags)
		require.Equal(k, backend.StateRunning, k.schedule("nightly").LastState)
	}},
	{"a tick wakes a worker that waits", func(k *kit) {
		s := k.put(schedule("nightly"))
		w := k.quietly()
		ended := w.wait()
		settleDown()
		tick := tickOf(s, backend.OverlapAllow)
		require.Equal(k, backend.TickEnqueued, k.tickAll(tick)[0].Outcome)
		w.requireJob(ended, tick.Job.ID, "a job was enqueued")
	}},
	{"a tick that is repeated after a lost reply enqueues nothing more", func(k *kit) {
		// lesson: a call that is sent again after a lost reply has a second effect.
		tick := tickOf(k.put(schedule("nightly")), backend.OverlapAllow)
		after := k.tick(tick, backend.TickEnqueued)
		require.Equal(k, after, k.tick(tick, backend.TickEnqueued))
		w := k.worker("w")
		w.settled(w.leaseOne(tick.Job.ID), backend.OutcomeCompleted, backend.StateCompleted)
		k.requireGone(tick.Job.ID)
		k.tick(tick, backend.TickEnqueued)
		k.requireCounts(nil)
		k.tick(tickOf(after, backend.OverlapAllow), backend.TickEnqueued)
		k.tick(tick, backend.TickStale)
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 1})
	}},
	{"of many who try the same tick one enqueues the job", func(k *kit) {
		// lesson: cron on N machines enqueues N times (asynq#395), or stops after a
		// simultaneous start (bullmq#3063).
		const machines, ticks = 10, 20
		k.put(schedule("often"))
		var all sync.WaitGroup
		for range machines {
			all.Go(func() {
				for {
					page, err := k.Schedules(k.ctx, backend.SchedulesQuery{Queue: "q", Name: "often"})
					if err != nil || !page.Schedules[0].Next.Before(hour(ticks)) {
						return
					}
					s := page.Schedules[0]
					reply, err := k.Tick(k.ctx, []backend.Tick{tickOf(s, backend.OverlapAllow)})
					if err != nil || reply.Results[0].Outcome == backend.TickEarly {
						return
					}
				}
			})
		}
		all.Wait()
		s := k.schedule("often")
		require.Equal(k, hour(ticks), s.Next)
		require.EqualValues(k, ticks, s.Enqueued)
		want := []string{}
		for n := range ticks {
			want = append(want, backend.TickID("often", hour(n)))
		}
		require.Equal(k, want, leased(k.worker("w").lease(1000)))
	}},
	{"a tick whose instant has not come changes nothing", func(k *kit) {
		s := schedule("nightly")
		s.Next = time.UnixMilli(time.Now().UnixMilli()).Add(never)
		s = k.put(s)
		require.Equal(k, s, k.tick(tickOf(s, backend.OverlapAllow), backend.TickEarly))
		k.requireCounts(nil)
	}},
	{"a tick that was computed before the schedule was changed changes nothing", func(k *kit) {
		old := k.put(schedule("nightly"))
		changed := old
		changed.Spec = []byte("another time")
		changed = k.put(changed)
		require.Equal(k, changed, k.tick(tickOf(old, backend.OverlapAllow), backend.TickStale))
		ticked := k.tick(tickOf(changed, backend.OverlapAllow), backend.TickEnqueued)
		changed.Spec = []byte("and another")
		_, err := k.PutSchedule(k.ctx, changed)
		require.ErrorIs(k, err, backend.ErrConflict, "it was ticked meanwhile")
		require.Equal(k, ticked, k.schedule("nightly"))
	}},
	{"a tick may pass over instants, and the last one has no next", func(k *kit) {
		tick := tickOf(k.put(schedule("nightly")), backend.OverlapAllow)
		tick.At, tick.Missed, tick.Next = hour(3), 3, hour(4)
		tick.Job.ID = backend.TickID("nightly", hour(3))
		s := k.tick(tick, backend.TickEnqueued)
		require.Equal(k, [2]uint64{1, 3}, [2]uint64{s.Enqueued, s.Skipped})
		require.Equal(k, hour(3), s.Last)
		tick = tickOf(s, backend.OverlapAllow)
		tick.Job, tick.Missed, tick.Next = nil, 1, time.Time{}
		s = k.tick(tick, backend.TickPassed)
		require.Zero(k, s.Next)
		require.Equal(k, hour(3), s.Last)
		require.Equal(k, [2]uint64{1, 5}, [2]uint64{s.Enqueued, s.Skipped})
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 1})
	}},
	{"a tick does as its overlap says while the last job has not finished", func(k *kit) {
		w := k.worker("w")
		for _, state := range []backend.State{backend.StateScheduled, backend.StateWaiting, backend.StateBlocked, backend.StateRunning} {
			for _, overlap := range []backend.Overlap{backend.OverlapAllow, backend.OverlapSkip, backend.OverlapWait, backend.OverlapCancel} {
				name := fmt.Sprintf("%s-%s", state, overlap)
				tick := tickOf(k.put(schedule(name)), overlap)
				if state == backend.StateScheduled {
					tick.Job.Delay = never
				}
				first := k.tick(tick, backend.TickEnqueued)
				switch state {
				case backend.StateBlocked:
					w.settled(w.leaseOne(tick.Job.ID), backend.OutcomeBlocked, state)
				case backend.StateRunning:
					w.leaseOne(tick.Job.ID)
				}
				first = k.schedule(name)
				require.Equal(k, state, first.LastState)

				next := tickOf(first, overlap)
				switch overlap {
				case backend.OverlapAllow:
					require.Equal(k, next.Job.ID, k.tick(next, backend.TickEnqueued).LastJob)
					k.requireState(state, tick.Job.ID)
				case backend.OverlapSkip:
					s := k.tick(next, backend.TickSkipped)
					require.Equal(k, tick.Job.ID, s.LastJob)
					require.Equal(k, [2]uint64{1, 1}, [2]uint64{s.Enqueued, s.Skipped})
					require.Equal(k, hour(2), s.Next)
					require.Equal(k, longAgo, s.Last)
				case backend.OverlapWait:
					require.Equal(k, first, k.tick(next, backend.TickWaits))
				case backend.OverlapCancel:
					require.Equal(k, next.Job.ID, k.tick(next, backend.TickEnqueued).LastJob)
					if state == backend.StateRunning {
						require.True(k, k.get(tick.Job.ID).CancelRequested)
					} else {
						k.requireState(backend.StateCancelled, tick.Job.ID)
					}
				}
				_, err := k.Delete(k.ctx, "q", []string{tick.Job.ID, next.Job.ID})
				require.NoError(k, err)
			}
		}
	}},
	{"a tick goes on when the last job has finished, however it did", func(k *kit) {
		w := k.worker("w")
		for i, finish := range []func(l backend.Lease){
			func(l backend.Lease) { w.settled(l, backend.OutcomeCompleted, backend.StateCompleted) },
			func(l backend.Lease) {
				w.settled(l, backend.OutcomeCompleted, backend.StateCompleted, keep(never))
			},
			func(l backend.Lease) { w.settled(l, backend.OutcomeDead, backend.StateDead) },
			func(l backend.Lease) { w.settled(l, backend.OutcomeCancelled, backend.StateCancelled) },
		} {
			for _, overlap := range []backend.Overlap{backend.OverlapAllow, backend.OverlapSkip, backend.OverlapWait, backend.OverlapCancel} {
				s := k.tick(tickOf(k.put(schedule(fmt.Sprintf("s%d-%s", i, overlap))), overlap), backend.TickEnqueued)
				finish(w.leaseOne(s.LastJob))
				s = k.tick(tickOf(k.schedule(s.Name), overlap), backend.TickEnqueued)
				w.settled(w.leaseOne(s.LastJob), backend.OutcomeCompleted, backend.StateCompleted)
			}
		}
	}},
	{"a cancelled overlap tells the worker of the last job", func(k *kit) {
		s := k.tick(tickOf(k.put(schedule("nightly")), backend.OverlapCancel), backend.TickEnqueued)
		w := k.worker("w")
		lease := w.leaseOne(s.LastJob)
		next := tickOf(s, backend.OverlapCancel)
		k.tick(next, backend.TickEnqueued)
		require.True(k, w.renew(lease, long, nil).CancelRequested)
		w.settled(lease, backend.OutcomeRetry, backend.StateCancelled)
		w.leaseOne(next.Job.ID)
	}},
	{"Sweep tells that schedules have changed, but not of ticks", func(k *kit) {
		require.Zero(k, k.changes(), "there never was one")
		s := k.put(schedule("nightly"))
		seen := []uint64{0, k.changes()}
		require.NotZero(k, seen[1])
		k.tick(tickOf(s, backend.OverlapAllow), backend.TickEnqueued)
		require.Equal(k, seen[1], k.changes())
		s = k.schedule("nightly")
		s.Paused = true
		k.put(s)
		seen = append(seen, k.changes())
		require.NoError(k, k.DeleteSchedule(k.ctx, "q", "nightly"))
		seen = append(seen, k.changes())
		require.Len(k, slices.Compact(slices.Clone(seen)), 4, "%v", seen)
	}},
	{"Listen tells at once that schedules have changed", func(k *kit) {
		heard := make(chan backend.Command, 100)
		ctx, cancel := context.WithCancel(k.ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = k.Listen(ctx, func(c backend.Command) { heard <- c }) }()
		k.eventually("the change is heard", func() bool {
			s := schedule("nightly")
			s.Spec = []byte(time.Now().String())
			if old := k.find("nightly"); len(old) > 0 {
				s.Version = old[0].Version
			}
			k.put(s)
			select {
			case c := <-heard:
				require.Equal(k, backend.Command{Verb: backend.CommandSchedule, Queue: "q"}, c)
				return true
			case <-time.After(20 * time.Millisecond):
				return false
			}
		})
		cancel()
		<-done
	}},
	{"a batch of ticks has one result each, in order", func(k *kit) {
		var ticks []backend.Tick
		for i := range backend.MaxTicks {
			s := schedule(fmt.Sprintf("s%03d", i))
			s.Queue = []string{"q", "other"}[i%2]
			ticks = append(ticks, tickOf(k.put(s), backend.OverlapAllow))
		}
		ticks[4].Name, ticks[4].Job.ID = "nobody", backend.TickID("nobody", longAgo)
		for i, result := range k.tickAll(ticks...) {
			require.NoError(k, result.Err)
			if i == 4 {
				require.Equal(k, backend.TickStale, result.Outcome)
				require.Empty(k, result.Schedule)
				continue
			}
			require.Equal(k, backend.TickEnqueued, result.Outcome, "tick %d", i)
			require.Equal(k, ticks[i].Name, result.Schedule.Name)
		}
		require.Len(k, k.worker("w").lease(1000), backend.MaxTicks/2-1)
		require.Empty(k, k.tickAll())
	}},
	{"wrong schedules and ticks are rejected and change nothing", func(k *kit) {
		for _, s := range []backend.Schedule{
			{Queue: "{q}", Name: "a"}, {Queue: "q"}, {Queue: "q", Name: "a@b"}, {Queue: "q", Name: "a b"},
			{Queue: "q", Name: string(make([]byte, 101))}, {Queue: "q", Name: "a", Spec: make([]byte, backend.MaxSpec+1)},
			{Queue: "q", Name: "a", Next: longAgo.Add(time.Microsecond)}, {Queue: "q", Name: "a", Next: time.Unix(-1, 0)},
		} {
			_, err := k.PutSchedule(k.ctx, s)
			require.ErrorIs(k, err, backend.ErrRejected, "%v", s.Name)
		}
		_, err := k.Queue(k.ctx, "q")
		require.ErrorIs(k, err, backend.ErrNotFound)
		s := k.put(schedule("nightly"))
		for what, spoil := range map[string]func(*backend.Tick){
			"queue":             func(t *backend.Tick) { t.Queue = "{q}" },
			"name":              func(t *backend.Tick) { t.Name = "" },
			"no instant":        func(t *backend.Tick) { t.At = time.Time{} },
			"too fine":          func(t *backend.Tick) { t.Next = t.Next.Add(1) },
			"overlap":           func(t *backend.Tick) { t.Overlap = 0 },
			"the job's id":      func(t *backend.Tick) { t.Job.ID = "a" },
			"the job's queue":   func(t *backend.Tick) { t.Job.Queue = "other" },
			"a job that is bad": func(t *backend.Tick) { t.Job.Kind = "" },
		} {
			tick := tickOf(s, backend.OverlapAllow)
			spoil(&tick)
			_, err := k.Tick(k.ctx, []backend.Tick{tickOf(s, backend.OverlapAllow), tick})
			require.ErrorIs(k, err, backend.ErrRejected, what)
		}
		_, err = k.Tick(k.ctx, make([]backend.Tick, backend.MaxTicks+1))
		require.ErrorIs(k, err, backend.ErrRejected)
		_, err = k.Schedules(k.ctx, backend.SchedulesQuery{Queue: "q", Limit: backend.MaxSchedulesPage + 1})
		require.ErrorIs(k, err, backend.ErrRejected)
		require.Equal(k, s, k.schedule("nightly"))
		k.requireCounts(nil)
	}},
	{"a queue without schedules has none", func(k *kit) {
		require.Empty(k, k.schedules(0))
		require.Empty(k, k.find("nightly"))
		require.ErrorIs(k, k.DeleteSchedule(k.ctx, "q", "nightly"), backend.ErrNotFound)
		require.Empty(k, k.tick(tickOf(schedule("nightly"), backend.OverlapAllow), backend.TickStale))
	}},
}
