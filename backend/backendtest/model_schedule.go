package backendtest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// modelSchedules are few as well, and so are their instants: the jobs of their ticks are
// among modelIDs, so that other calls meet them.
var (
	modelSchedules = []string{"s", "t"}
	modelInstants  = []time.Time{longAgo, hour(1)}
)

// put does what PutSchedule is to do; ok is false for a conflict. The versions are those
// that the store makes.
func (m *model) put(s backend.Schedule) (stored *backend.Schedule, ok bool) {
	m.known = true
	have := m.schedules[s.Name]
	switch {
	case have != nil && have.Same(&s):
		return have, true
	case have == nil && s.Version != 0, have != nil && have.Version != s.Version:
		return nil, false
	case have == nil:
		have = &backend.Schedule{}
		m.schedules[s.Name] = have
	}
	have.Queue, have.Name, have.Spec, have.Next, have.Paused = s.Queue, s.Name, s.Spec, s.Next, s.Paused
	have.Version = 0
	return have, true
}

// tick does what Tick is to do.
func (m *model) tick(t *backend.Tick) backend.TickOutcome {
	s := m.schedules[t.Name]
	switch {
	case s == nil:
		return backend.TickStale
	case s.Version != t.Version && t.Job != nil && s.LastJob == t.Job.ID:
		return backend.TickEnqueued
	case s.Version != t.Version:
		return backend.TickStale
	}
	outcome := backend.TickPassed
	if t.Job != nil {
		outcome = backend.TickEnqueued
		last := m.jobs[s.LastJob]
		if last != nil && !last.state.Final() && s.LastJob != t.Job.ID {
			switch t.Overlap {
			case backend.OverlapWait:
				return backend.TickWaits
			case backend.OverlapSkip:
				outcome = backend.TickSkipped
			case backend.OverlapCancel:
				m.act("cancel", s.LastJob)
			}
		}
	}
	if outcome == backend.TickEnqueued {
		receipt := m.enqueue([]backend.NewJob{*t.Job})[0]
		if receipt.Err != nil || receipt.Duplicate() && !receipt.Replaced {
			outcome = backend.TickSkipped
		} else {
			s.Last, s.LastJob = t.At, cmp.Or(receipt.Holder, t.Job.ID)
		}
	}
	if outcome == backend.TickEnqueued {
		s.Enqueued++
	} else {
		s.Skipped++
	}
	s.Skipped += t.Missed
	s.Next, s.Version = t.Next, 0
	return outcome
}

// schedule is a schedule as the store is to answer it.
func (m *model) schedule(name string) backend.Schedule {
	s := *m.schedules[name]
	s.LastState = ""
	if e := m.jobs[s.LastJob]; e != nil {
		s.LastState = e.state
	}
	return s
}

// compareSchedule compares a schedule with the model, which takes over its version if it
// was changed: it is to be one that there never was.
func (p *player) compareSchedule(got backend.Schedule) {
	want := p.model.schedules[got.Name]
	require.NotNil(p, want, "schedule %q", got.Name)
	if want.Version == 0 {
		require.NotContains(p, p.versions, got.Version, "the version is an old one")
		want.Version = got.Version
		p.versions = append(p.versions, got.Version)
	}
	require.Equal(p, p.model.schedule(got.Name), got)
}

func (p *player) instant() time.Time {
	return rapid.SampledFrom(append([]time.Time{{}}, modelInstants...)).Draw(p.T, "next")
}

// version draws one that may be right.
func (p *player) version(name string) uint64 {
	if s := p.model.schedules[name]; s != nil && rapid.IntRange(0, 3).Draw(p.T, "current") > 0 {
		return s.Version
	}
	return rapid.SampledFrom(append([]uint64{0}, p.versions...)).Draw(p.T, "version")
}

func (p *player) putSchedule() {
	name := rapid.SampledFrom(modelSchedules).Draw(p.T, "name")
	s := backend.Schedule{
		Queue: p.queue, Name: name, Spec: rapid.SliceOfN(rapid.Byte(), 1, 2).Draw(p.T, "spec"),
		Next: p.instant(), Paused: rapid.Bool().Draw(p.T, "paused"), Version: p.version(name),
	}
	if have := p.model.schedules[name]; have != nil && rapid.Bool().Draw(p.T, "as it is") {
		s.Spec, s.Next, s.Paused = have.Spec, have.Next, have.Paused
	}
	stored, err := p.store.PutSchedule(p.ctx, s)
	if _, ok := p.model.put(s); !ok {
		require.ErrorIs(p, err, backend.ErrConflict)
		return
	}
	require.NoError(p, err)
	p.compareSchedule(stored)
}

func (p *player) deleteSchedule() {
	name := rapid.SampledFrom(modelSchedules).Draw(p.T, "name")
	err := p.store.DeleteSchedule(p.ctx, p.queue, name)
	if p.model.schedules[name] == nil {
		require.ErrorIs(p, err, backend.ErrNotFound)
		return
	}
	require.NoError(p, err)
	delete(p.model.schedules, name)
}

// tick sends one tick, and often again, as after a lost reply.
func (p *player) tick() {
	name := rapid.SampledFrom(modelSchedules).Draw(p.T, "name")
	t := backend.Tick{
		Queue: p.queue, Name: name, Version: p.version(name),
		At: rapid.SampledFrom(modelInstants).Draw(p.T, "at"), Next: p.instant(),
		Missed:  rapid.Uint64Range(0, 2).Draw(p.T, "missed"),
		Overlap: rapid.SampledFrom([]backend.Overlap{backend.OverlapAllow, backend.OverlapSkip, backend.OverlapWait, backend.OverlapCancel}).Draw(p.T, "overlap"),
	}
	if rapid.IntRange(0, 4).Draw(p.T, "with a job") > 0 {
		job := job(backend.TickID(name, t.At), in(p.queue), priority(rapid.IntRange(backend.PriorityLowest, backend.PriorityHighest).Draw(p.T, "priority")))
		if rapid.Bool().Draw(p.T, "delayed") {
			job.Delay = never
		}
		job.Unique = p.unique()
		job.Limits = p.limits()
		job.Lane = p.lane()
		t.Job = &job
	}
	times := 1
	if rapid.Bool().Draw(p.T, "again") {
		times = 2
	}
	for range times {
		reply, err := p.store.Tick(p.ctx, []backend.Tick{t})
		require.NoError(p, err)
		require.Len(p, reply.Results, 1)
		result := reply.Results[0]
		require.NoError(p, result.Err)
		require.Equal(p, p.model.tick(&t).String(), result.Outcome.String())
		if p.model.schedules[name] == nil {
			require.Empty(p, result.Schedule)
			continue
		}
		p.compareSchedule(result.Schedule)
	}
}

// compareSchedules compares all schedules, page by page.
func (p *player) compareSchedules() {
	query := backend.SchedulesQuery{Queue: p.queue, Limit: rapid.IntRange(1, 3).Draw(p.T, "page of schedules")}
	names := []string{}
	for {
		page, err := p.store.Schedules(p.ctx, query)
		require.NoError(p, err)
		for _, s := range page.Schedules {
			p.compareSchedule(s)
			names = append(names, s.Name)
		}
		require.LessOrEqual(p, len(names), len(modelSchedules), "the schedules are listed without end")
		if page.After == "" {
			break
		}
		query.Cursor = page.After
	}
	require.ElementsMatch(p, slices.Collect(maps.Keys(p.model.schedules)), names)
}
