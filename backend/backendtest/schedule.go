package backendtest

import (
	"context"
	"slices"
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
		go func() {
			defer close(done)
			_ = k.Listen(ctx, func(c backend.Command) {
				if c.Verb == backend.CommandSchedule {
					heard <- c
				}
			})
		}()
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
