package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// limits are those of a queue.
type limits struct {
	classes map[string]*class
	// pairs has those that a job counts against, or that are not full again.
	pairs map[string]*pair
	// ready are the pairs with parked jobs of which the first is to be looked at, by when;
	// filling those that only have to be forgotten, by when they are full.
	ready, filling agenda
	// lines are the lists of parked jobs that are not empty, by their serials.
	lines []*list
	// opened counts these lists, parks the jobs that were ever parked.
	opened, parks int64
}

// class has the numbers: what the programs say, and what was set, if it was.
type class struct {
	code  backend.LimitRule
	fleet *backend.LimitRule
}

func (c *class) rule() *backend.LimitRule {
	if c.fleet != nil {
		return c.fleet
	}
	return &c.code
}

// pair is an instance of a class.
type pair struct {
	name  string
	class *class
	held  map[*job]bool
	// jobs counts those that have not finished and name it.
	jobs int
	// full is when the bucket is full again, in microseconds.
	full int64
	// line has the jobs that are parked here, by their precedence.
	line list
	// The place in an agenda.
	agenda *agenda
	at     int64
	place  int
}

// standing is what a job knows of one of its limits.
type standing struct {
	pair *pair
	// spent is what the bucket became by the tokens of the job's lease.
	spent int64
}

// firstParked is the first serial of lists of parked jobs: they come after the others.
const firstParked = 1 << 40

// enroll finds the pairs of a job, after its class has been declared by it.
func (q *queue) enroll(j *job) {
	for i := range j.Limits {
		p := q.pair(&j.Limits[i])
		p.jobs++
		j.standings = append(j.standings, standing{pair: p})
	}
}

func (q *queue) pair(l *backend.Limit) *pair {
	name := l.Pair()
	p := q.limits.pairs[name]
	if p == nil {
		p = &pair{name: name, class: q.class(l.Class), held: map[*job]bool{}}
		if q.limits.pairs == nil {
			q.limits.pairs = map[string]*pair{}
		}
		q.limits.pairs[name] = p
	}
	return p
}

func (q *queue) class(name string) *class {
	c := q.limits.classes[name]
	if c == nil {
		c = &class{}
		if q.limits.classes == nil {
			q.limits.classes = map[string]*class{}
		}
		q.limits.classes[name] = c
	}
	return c
}

// declare has the rules of a job that is to be stored count from now on.
func (q *queue) declare(n *backend.NewJob, now int64) {
	for i := range n.Limits {
		l := &n.Limits[i]
		if c := q.class(l.Class); c.code != l.Rule {
			c.code = l.Rule
			q.changed(c, now)
		}
	}
}

// changed has all that is parked in a class be looked at.
func (q *queue) changed(c *class, now int64) {
	for _, p := range q.limits.pairs {
		if p.class == c {
			q.wake(p, now)
		}
	}
}

// refuses returns the limit because of which a new job is not stored, or nil. The job whose
// place it would take does not count.
func (q *queue) refuses(n *backend.NewJob, instead *job, now int64) *backend.Limit {
	for i := range n.Limits {
		l := &n.Limits[i]
		if l.Hold != backend.SlotOnceEnqueued {
			continue
		}
		rule, held, full := q.class(l.Class).rule(), 0, int64(0)
		if p := q.limits.pairs[l.Pair()]; p != nil {
			held, full = len(p.held), p.full
			if p.held[instead] {
				held--
			}
		}
		if rule.Slots > 0 && held >= rule.Slots {
			return l
		}
		if rule.Rate > 0 {
			if allowed, _ := rule.Spend(full, now/1000, l.Tokens()); allowed > now/1000 {
				return l
			}
		}
	}
	return nil
}

// admitted gives a new job, or one that is retried by hand, the slots that it has at once.
func (q *queue) admitted(j *job, now int64) {
	for i := range j.standings {
		if l, p := &j.Limits[i], j.standings[i].pair; l.Hold == backend.SlotOnceEnqueued {
			p.held[j] = true
			if rule := p.class.rule(); rule.Rate > 0 {
				_, p.full = rule.Spend(p.full, now/1000, l.Tokens())
			}
		}
	}
}

// precedence orders parked jobs: the higher priority first, then who was parked first.
func (j *job) precedence() int64 {
	return int64(backend.PriorityHighest-j.Priority)<<50 | j.parkedAs
}

// precedes reports whether a job that is parked here comes before another one.
func (p *pair) precedes(j *job) bool {
	first := p.line.front
	switch {
	case first == nil || first == j:
		return false
	case j.parkedAs == 0:
		return first.Priority >= j.Priority
	}
	return first.precedence() < j.precedence()
}

// admit counts a job that is to be leased against its limits, if there is room in all of
// them. Else it answers where there is none, and when there will be, if that is known. One
// that is unblocked does not wait for those that are parked.
func (q *queue) admit(j *job, now int64) (stuck *pair, at int64) {
	now /= 1000
	unblocked := j.state == backend.StateBlocked && j.parkedAt == nil
	for i := range j.standings {
		l, p := &j.Limits[i], j.standings[i].pair
		rule := p.class.rule()
		if l.Hold == backend.SlotOnceEnqueued {
			continue
		}
		if !p.held[j] && (!unblocked && p.precedes(j) || rule.Slots > 0 && len(p.held) >= rule.Slots) {
			return p, 0
		}
		if rule.Rate > 0 {
			if allowed, _ := rule.Spend(p.full, now, l.Tokens()); allowed > now {
				return p, allowed * 1000
			}
		}
		if l.Hold == backend.SlotUntilFinished {
			p.held[j] = true // also while it is parked at another one
		}
	}
	for i := range j.standings {
		l, s := &j.Limits[i], &j.standings[i]
		if l.Hold == backend.SlotOnceEnqueued {
			continue
		}
		s.pair.held[j], s.spent = true, 0
		if rule := s.pair.class.rule(); rule.Rate > 0 {
			_, s.pair.full = rule.Spend(s.pair.full, now, l.Tokens())
			s.spent = s.pair.full
		}
	}
	j.parkedAs = 0
	return nil, 0
}

// foremost is the number of a job that comes back to the front: it precedes all that are
// parked.
const foremost = 1

// park sets a job aside that is in no list.
func (q *queue) park(j *job, p *pair, at int64) {
	all := &q.limits
	if j.parkedAs == 0 {
		all.parks++
		j.parkedAs = foremost + all.parks
	}
	if p.line.len == 0 {
		all.opened++
		p.line.serial, p.line.key = firstParked+all.opened, backend.ParkKey(p.name)
		all.lines = append(all.lines, &p.line)
	}
	j.state, j.parkedAt = backend.StateBlocked, p
	p.line.insertSorted(j, j.precedence())
	if p.agenda == &inHand {
		return
	}
	if p.agenda == &all.filling || at != 0 && p.agenda == nil || at != 0 && at < p.at {
		p.leave()
		if at != 0 {
			p.enter(&all.ready, at)
		}
	}
}

// unpark is for a job that has left the line.
func (q *queue) unpark(j *job) {
	p := j.parkedAt
	j.parkedAt = nil
	if p.line.len == 0 {
		i := seek(q.limits.lines, p.line.serial)
		q.limits.lines = slices.Delete(q.limits.lines, i, i+1)
	}
	q.wake(p, q.store.now())
}

// wake has the first of a pair be looked at by the next lease, as something has changed.
func (q *queue) wake(p *pair, now int64) {
	switch {
	case p.agenda == &inHand:
	case p.line.len > 0:
		if p.agenda != &q.limits.ready || p.at > now {
			p.leave()
			p.enter(&q.limits.ready, now)
		}
		q.ring()
	default:
		p.leave()
		if p.jobs == 0 {
			q.forgetPair(p, now)
		}
	}
}

// remains is for a pair that was looked at: the first job that is parked there stays.
func (q *queue) remains(p *pair, at int64) {
	p.leave()
	if at != 0 {
		p.enter(&q.limits.ready, at)
	}
}

// forgetPair forgets a pair that no job names, now or when it is full again.
func (q *queue) forgetPair(p *pair, now int64) {
	if p.full*1000 > now {
		p.enter(&q.limits.filling, p.full*1000)
	} else {
		delete(q.limits.pairs, p.name)
	}
}

// stopped is for a job that does not run any more: what it has while it runs is free.
func (q *queue) stopped(j *job) { q.vacate(j, false) }

// vacate frees the slots of a job, if it is over also those that it has for longer.
func (q *queue) vacate(j *job, over bool) {
	for i := range j.standings {
		p := j.standings[i].pair
		if over {
			p.jobs--
		}
		if over || j.Limits[i].Hold == backend.SlotWhileRunning {
			delete(p.held, j)
			q.wake(p, q.store.now())
		}
	}
	if over {
		j.standings, j.parkedAs = nil, 0
	}
}

// refund gives back the tokens of a job that was not run.
func (q *queue) refund(j *job, now int64) {
	for i := range j.standings {
		s := &j.standings[i]
		if s.spent != 0 {
			s.pair.full = s.pair.class.rule().Refund(s.pair.full, now/1000, s.spent, j.Limits[i].Tokens())
			s.spent = 0
			q.wake(s.pair, now)
		}
	}
}

// forgetPairs forgets pairs that are full again.
func (q *queue) forgetPairs(now int64) {
	for range tidyBound {
		p := q.limits.filling.first()
		if p == nil || p.at > now {
			return
		}
		p.leave()
		q.forgetPair(p, now)
	}
}

// SetLimit sets the rule of a class.
func (b *Backend) SetLimit(ctx context.Context, name, class string, rule *backend.LimitRule) error {
	const op = "set limit"
	if err := backend.CheckSetLimit(name, class, rule); err != nil {
		return &backend.Error{Op: op, Queue: name, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return err
	}
	defer b.mu.Unlock()
	q := b.queue(name)
	c := q.class(class)
	c.fleet = nil
	if rule != nil {
		set := *rule
		c.fleet = &set
	}
	q.changed(c, b.now())
	return nil
}

// Limit tells how it stands with a limit.
func (b *Backend) Limit(ctx context.Context, query backend.LimitQuery) (backend.LimitInfo, error) {
	const op = "limit"
	if err := query.Check(); err != nil {
		return backend.LimitInfo{}, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return backend.LimitInfo{}, err
	}
	defer b.mu.Unlock()
	now := b.now()
	info := backend.LimitInfo{Queue: query.Queue, Class: query.Class, Key: query.Key, Now: instant(now)}
	q := b.queues[query.Queue]
	if q == nil || q.limits.classes[query.Class] == nil {
		return info, &backend.Error{Op: op, Queue: query.Queue, Err: fmt.Errorf("no job of the queue has had a limit %q: %w", query.Class, backend.ErrNotFound)}
	}
	q.tidy(now)
	c := q.limits.classes[query.Class]
	info.Rule, info.Code = *c.rule(), c.code
	if c.fleet != nil {
		set := *c.fleet
		info.Fleet = &set
	}
	p := q.limits.pairs[(&backend.Limit{Class: query.Class, Key: query.Key}).Pair()]
	if p == nil {
		return info, nil
	}
	info.Held, info.Parked = len(p.held), p.line.len
	for _, j := range slices.SortedFunc(maps.Keys(p.held), func(a, b *job) int { return strings.Compare(a.ID, b.ID) }) {
		if len(info.Holders) < backend.MaxHolders {
			info.Holders = append(info.Holders, j.ID)
		}
	}
	if j := q.jobs[query.Job]; j != nil && j.parkedAt == p {
		for ; j != nil; j = j.prev {
			info.Place++
		}
	}
	if info.Rule.Rate > 0 {
		if allowed, _ := info.Rule.Spend(p.full, now/1000, 1); allowed > now/1000 {
			info.NextToken = instant(allowed * 1000)
		}
	}
	return info, nil
}
