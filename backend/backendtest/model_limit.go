package backendtest

import (
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// modelClass is a class of limits: its numbers, and the tokens that were spent. No token
// comes while a sequence is played.
type modelClass struct {
	code  backend.LimitRule
	fleet *backend.LimitRule
	spent map[string]int
}

func (c *modelClass) rule() backend.LimitRule {
	if c.fleet != nil {
		return *c.fleet
	}
	return c.code
}

func (m *model) class(name string) *modelClass {
	if m.classes[name] == nil {
		m.classes[name] = &modelClass{spent: map[string]int{}}
	}
	return m.classes[name]
}

// limits draws those of a job: of few classes and keys, or mostly none.
func (p *player) limits() []backend.Limit {
	if rapid.IntRange(0, 2).Draw(p.T, "free") > 0 {
		return nil
	}
	limits := []backend.Limit{{
		Class: "slots", Key: rapid.SampledFrom([]string{"", "k"}).Draw(p.T, "limit key"),
		Hold: rapid.SampledFrom([]backend.SlotHold{0, 0, 1, 2}).Draw(p.T, "slot hold"),
		Rule: backend.LimitRule{Slots: rapid.IntRange(1, 2).Draw(p.T, "slots")},
	}}
	if rapid.Bool().Draw(p.T, "another limit") {
		limits = append(limits, backend.Limit{Class: "all", Rule: backend.LimitRule{Slots: 2}})
	}
	if rapid.Bool().Draw(p.T, "rate") {
		limits = append(limits, backend.Limit{
			Class: "rate", Hold: rapid.SampledFrom([]backend.SlotHold{0, 0, 2}).Draw(p.T, "rate hold"),
			Rule: backend.LimitRule{Rate: 1, Per: never, Burst: 3},
		})
	}
	return limits
}

// setLimit sets a rule, or takes it back.
func (p *player) setLimit() {
	var rule *backend.LimitRule
	if rapid.Bool().Draw(p.T, "set") {
		rule = &backend.LimitRule{Slots: rapid.IntRange(0, 2).Draw(p.T, "slots")}
	}
	require.NoError(p, p.store.SetLimit(p.ctx, p.queue, "slots", rule))
	p.model.class("slots").fleet = rule
	p.model.known = true
}

// has reports whether a job has a slot in one of its limits.
func (e *entry) has(i int) bool {
	switch l := &e.job.Limits[i]; {
	case e.state.Final():
		return false
	case l.Hold == backend.SlotOnceEnqueued:
		return true
	case l.Hold == backend.SlotUntilFinished && e.kept:
		return true
	}
	return e.state == backend.StateRunning
}

func (m *model) holders(pair string) []string {
	ids := []string{}
	for id, e := range m.jobs {
		for i := range e.job.Limits {
			if e.job.Limits[i].Pair() == pair && e.has(i) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids
}

// room reports whether there is a slot and a token in a limit. The slot of the job whose
// place is taken does not count.
func (m *model) room(l *backend.Limit, instead *entry) (slot, token bool) {
	class := m.class(l.Class)
	rule, held := class.rule(), len(m.holders(l.Pair()))
	for i := range instead.job.Limits {
		if instead.job.Limits[i].Pair() == l.Pair() && instead.has(i) {
			held--
		}
	}
	return rule.Slots == 0 || held < rule.Slots, rule.Rate == 0 || class.spent[l.Key] < rule.Burst
}

// fits reports whether there is room in all limits of a job.
func (m *model) fits(e *entry) bool {
	for i := range e.job.Limits {
		l := &e.job.Limits[i]
		slot, token := m.room(l, e)
		if l.Hold != backend.SlotOnceEnqueued && !(token && (slot || e.has(i))) {
			return false
		}
	}
	return true
}

// declare has the rules of a job that is to be stored count.
func (m *model) declare(limits []backend.Limit) {
	for _, l := range limits {
		m.class(l.Class).code = l.Rule
	}
}

// refuses reports whether a limit keeps a job from being stored.
func (m *model) refuses(limits []backend.Limit, instead *entry) bool {
	return slices.ContainsFunc(limits, func(l backend.Limit) bool {
		slot, token := m.room(&l, instead)
		return l.Hold == backend.SlotOnceEnqueued && !(slot && token)
	})
}

// spend takes the tokens of a job that is enqueued, or leased.
func (m *model) spend(e *entry, enqueued bool) {
	for i := range e.job.Limits {
		l := &e.job.Limits[i]
		if class := m.class(l.Class); (l.Hold == backend.SlotOnceEnqueued) == enqueued && class.rule().Rate > 0 {
			class.spent[l.Key]++
			e.spent = e.spent || !enqueued
		}
	}
}

// refund gives back the tokens of a lease.
func (m *model) refund(e *entry) {
	if !e.spent {
		return
	}
	e.spent = false
	for _, l := range e.job.Limits {
		if l.Class == "rate" && l.Hold != backend.SlotOnceEnqueued {
			m.class(l.Class).spent[l.Key]--
		}
	}
}

// foremost is the number of a job that comes back to the front: it precedes all that are
// parked.
const foremost = -1

// parked reports whether a job is set aside at a limit.
func (e *entry) parked() bool { return e.state == backend.StateBlocked && e.parkedAt >= 0 }

// park brings the model to where the store has parked what had no room in a lease: it says
// only that all that was looked at is parked, and where there is no room.
func (p *player) park(full bool) {
	m := p.model
	m.parks++
	unblocked := m.parks // these come before those that wait
	var waiting []*entry
	for _, e := range m.jobs {
		if e.state == backend.StateWaiting && len(e.job.Limits) > 0 && !m.paused {
			waiting = append(waiting, e)
		}
	}
	slices.SortFunc(waiting, func(a, b *entry) int {
		if a.job.Priority != b.job.Priority {
			return b.job.Priority - a.job.Priority
		}
		return a.rank - b.rank
	})
	lanes := slices.ContainsFunc(waiting, func(e *entry) bool { return e.job.Lane.Key != "" })
	m.parks++
	for i, e := range waiting {
		info, err := p.store.Job(p.ctx, p.queue, e.job.ID)
		require.NoError(p, err)
		if info.State == backend.StateWaiting {
			require.False(p, full, "job %q waits, although it was to be looked at", e.job.ID)
			continue
		}
		require.Equal(p, backend.StateBlocked, info.State)
		require.False(p, m.fits(e), "job %q is parked, although there is room", e.job.ID)
		m.become(e, backend.StateBlocked)
		if e.number == 0 {
			// In which order lanes had their turns is not known.
			if !lanes && i > 0 && (e.rank != waiting[i-1].rank || e.job.Priority != waiting[i-1].job.Priority) {
				m.parks++
			}
			e.number = m.parks
		}
		e.parkedAt = 0
	}
	for _, e := range m.jobs {
		if e.state != backend.StateBlocked || e.parked() || len(e.job.Limits) == 0 {
			p.follow(e)
			continue
		}
		// A lease that could unblock it may have found no room instead.
		info, err := p.store.Job(p.ctx, p.queue, e.job.ID)
		require.NoError(p, err)
		if _, _, parked := backend.PairOf(info.BlockedOn); parked {
			require.False(p, m.fits(e), "job %q is parked, although there is room", e.job.ID)
			e.parkedAt = 0
			if e.number == 0 {
				e.number = unblocked
			}
			p.follow(e)
		}
	}
}

// follow takes over from the store at which of its limits a job is parked.
func (p *player) follow(e *entry) {
	if !e.parked() {
		return
	}
	info, err := p.store.Job(p.ctx, p.queue, e.job.ID)
	require.NoError(p, err)
	e.parkedAt = p.keeps(e, info.BlockedOn)
	e.key = info.BlockedOn
}

// keeps answers at which of its limits a job is parked, and has it keep the slot that it has
// taken in the one before.
func (p *player) keeps(e *entry, on string) (at int) {
	class, key, ok := backend.PairOf(on)
	require.True(p, ok, "job %q is blocked on %q", e.job.ID, on)
	at = slices.IndexFunc(e.job.Limits, func(l backend.Limit) bool { return l.Class == class && l.Key == key })
	require.GreaterOrEqual(p, at, 0, "job %q is parked at %q", e.job.ID, on)
	e.kept = e.kept || at > 0 && e.job.Limits[0].Hold == backend.SlotUntilFinished
	return at
}

// followAll follows all that are parked in the store as well, also those that a lease has just
// parked: they may have taken slots that others want.
func (p *player) followAll() {
	for _, e := range p.model.jobs {
		waits := e.state == backend.StateWaiting && len(e.job.Limits) > 0
		if !e.parked() && !waits {
			continue
		}
		info, err := p.store.Job(p.ctx, p.queue, e.job.ID)
		require.NoError(p, err)
		switch {
		case info.State != backend.StateBlocked:
		case waits:
			p.keeps(e, info.BlockedOn)
		default:
			p.follow(e)
		}
	}
}

// nextIs returns the jobs of which any may be the next to be leased, and which of them one is;
// -1 if it is none.
func (p *player) nextIs(unblock []string, id string) (next []*entry, at int) {
	next = p.model.next(unblock)
	return next, slices.IndexFunc(next, func(e *entry) bool { return e.job.ID == id })
}

// nextParked returns the parked jobs of which any may be the next to be leased.
func (m *model) nextParked() []*entry {
	var first []*entry
	for _, e := range m.jobs {
		if !e.parked() || !m.fits(e) {
			continue
		}
		order := 1
		if len(first) > 0 {
			order = e.job.Priority - first[0].job.Priority
			if order == 0 {
				order = first[0].number - e.number
			}
		}
		if order > 0 {
			first = first[:0]
		}
		if order >= 0 {
			first = append(first, e)
		}
	}
	return first
}

// compareLimits compares what is told of the limits.
func (p *player) compareLimits() {
	for _, of := range []backend.Limit{{Class: "slots"}, {Class: "slots", Key: "k"}, {Class: "all"}, {Class: "rate"}} {
		info, err := p.store.Limit(p.ctx, backend.LimitQuery{Queue: p.queue, Class: of.Class, Key: of.Key})
		class := p.model.classes[of.Class]
		if class == nil {
			require.ErrorIs(p, err, backend.ErrNotFound)
			continue
		}
		require.NoError(p, err)
		require.Equal(p, class.rule(), info.Rule)
		require.Equal(p, class.code, info.Code)
		require.Equal(p, class.fleet, info.Fleet)
		holders := p.model.holders(of.Pair())
		require.Equal(p, len(holders), info.Held, "the slots of %q", of.Pair())
		require.ElementsMatch(p, holders, info.Holders)
		parked := 0
		for _, e := range p.model.jobs {
			if e.parked() && e.key == backend.ParkKey(of.Pair()) {
				parked++
			}
		}
		require.Equal(p, parked, info.Parked, "parked at %q", of.Pair())
		rule := class.rule()
		require.Equal(p, rule.Rate > 0 && class.spent[of.Key] >= rule.Burst, info.NextToken.After(time.Now().Add(time.Minute)))
	}
}

// limited reports whether there are jobs with limits that have not finished.
func (m *model) limited() bool {
	for _, e := range m.jobs {
		if len(e.job.Limits) > 0 && !e.state.Final() {
			return true
		}
	}
	return false
}
