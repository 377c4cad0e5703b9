package sqlite

import (
	"cmp"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

const (
	// lookBound is how many pairs one lease looks at, and how many jobs with limits.
	lookBound = 100
	tryBound  = 500
)

// server hands out the jobs of a queue in which some have limits or lanes: one after the other.
type server struct {
	*handOut
	q     *queue
	heads []*head
	tried int
	// heldBack is set if one was left as it is not to be leased ahead.
	heldBack bool
}

// head is a pair that is ready, and the first job that is parked there.
type head struct {
	pair  string
	first *job
}

// serve hands out what it can. It reports whether it ended at a job that is not leased ahead.
func (h *handOut) serve(q *queue) (heldBack bool, err error) {
	s := &server{handOut: h, q: q}
	if q.count[blocked] > 0 {
		for _, key := range h.request.Unblock {
			more, err := s.line(`SELECT `+leanColumns+` FROM caddis_job WHERE queue = ? AND state = 2 AND key = ? ORDER BY rank LIMIT ?`, q.id, key)
			if err != nil || !more {
				return s.heldBack, err
			}
		}
		if err := s.look(); err != nil {
			return false, err
		}
	}
	for level := int64(0); level <= backend.PriorityHighest-backend.PriorityLowest; level++ {
		more, err := s.parked(level)
		if more && err == nil && q.laned > 0 {
			more, err = s.lanes(level)
		} else if more && err == nil {
			more, err = s.line(`SELECT `+leanColumns+` FROM caddis_job WHERE queue = ? AND state = 1 AND level = ? ORDER BY rank LIMIT ?`, q.id, level)
		}
		if err != nil || !more {
			return s.heldBack, err
		}
	}
	return false, nil
}

// look finds the pairs that are ready.
func (s *server) look() error {
	q := s.q
	if err := q.lookAgain(); err != nil {
		return err
	}
	pairs, err := namesOf(q.t, `SELECT pair FROM caddis_ready WHERE queue = ? AND at >= 0 AND at <= ? ORDER BY at, id LIMIT ?`, q.id, q.t.now, lookBound)
	for i := 0; i < len(pairs) && err == nil; i++ {
		h := &head{pair: pairs[i]}
		s.heads = append(s.heads, h)
		err = s.peek(h)
	}
	return err
}

func (s *server) peek(h *head) (err error) {
	if h.first, err = s.q.first(h.pair); h.first == nil && err == nil {
		err = s.q.unready(h.pair)
	}
	return err
}

// lookAgain makes the pairs of classes whose rules have changed ready, a part of them at a
// time.
func (q *queue) lookAgain() error {
	markers, err := namesOf(q.t, `SELECT pair FROM caddis_ready WHERE queue = ? AND at = -1 LIMIT 10`, q.id)
	for i := 0; i < len(markers) && err == nil; i++ {
		name, last, _ := strings.Cut(markers[i], "\n")
		if err = q.unready(markers[i]); err != nil {
			break
		}
		from := cmp.Or(last, name+"/")
		for n := 0; ; n++ {
			var key string
			var found bool
			found, err = one(q.t, `SELECT key FROM caddis_job WHERE queue = ? AND state = 2 AND (key > ? OR key = ? AND ?) AND key < ? ORDER BY key LIMIT 1`,
				[]any{q.id, backend.ParkKey(from), backend.ParkKey(from), last == "" && n == 0, backend.ParkKey(name + "0")}, &key)
			if !found || err != nil {
				break
			}
			if n == lookBound {
				err = q.readyAt(name+"\n"+from, -1)
				break
			}
			class, instance, _ := backend.PairOf(key)
			from = class + "/" + instance
			if err = q.owe(from); err == nil {
				err = q.readyAt(from, 0)
			}
			if err != nil {
				break
			}
		}
	}
	return err
}

// parked offers the parked jobs of a level and above, in order. It reports whether more can
// be taken.
func (s *server) parked(level int64) (more bool, err error) {
	for {
		var best *head
		for _, h := range s.heads {
			if h.first != nil && h.first.level <= level && (best == nil || h.first.rank < best.first.rank) {
				best = h
			}
		}
		if best == nil {
			return true, nil
		}
		before := len(s.leases)
		j := best.first
		if more, err = s.offer(j); err != nil || !more {
			return false, err
		}
		if len(s.leases) == before && j.state == blocked && j.key == backend.ParkKey(best.pair) {
			if best.first, err = s.q.first(best.pair); err != nil {
				return false, err
			}
			if best.first != nil && best.first.seq == j.seq {
				best.first = nil // it stays; else this lease has parked one that precedes it
			}
			continue
		}
		if len(s.leases) > before { // the other pairs come before its next job
			if err = s.q.unready(best.pair); err == nil {
				err = s.q.readyAt(best.pair, s.q.t.now)
			}
		}
		if err == nil {
			err = s.peek(best)
		}
		if err != nil {
			return false, err
		}
	}
}

// line offers the jobs that a query finds, until it finds no more.
func (s *server) line(query string, args ...any) (more bool, err error) {
	for {
		limit := s.request.Max - len(s.leases) + 1
		found, err := lean(s.q.t, query, append(slices.Clone(args), limit)...)
		for i := 0; i < len(found) && err == nil; i++ {
			if more, err = s.offer(found[i]); !more {
				return false, err
			}
		}
		if err != nil || len(found) < limit {
			return err == nil, err
		}
	}
}

// offer leases a job or parks it, or reports that no more can be taken.
func (s *server) offer(j *job) (more bool, err error) {
	if len(s.leases) == s.request.Max {
		return false, nil
	}
	ahead := len(s.leases) >= s.request.Max-s.request.Ahead
	if j.limited {
		if s.heldBack = ahead; ahead || s.tried == tryBound {
			return false, nil
		}
		s.tried++
		pair, at, err := s.q.admit(j)
		if err != nil {
			return false, err
		}
		if pair != "" {
			return true, s.q.park(j, pair, at)
		}
	}
	return true, s.lease(s.q, j, ahead)
}

// lease hands out one job.
func (h *handOut) lease(q *queue, j *job, ahead bool) error {
	process, err := h.t.process()
	if err != nil {
		return err
	}
	found, err := whole(h.t, `UPDATE caddis_job SET state = 3, at = ?, token = ?, worker = ?, process = ?, ahead = ?, key = NULL, parked = NULL
		WHERE seq = ? RETURNING `+jobColumns, h.expires, h.request.Token, h.request.Worker, process, ahead, j.seq)
	if err != nil || len(found) == 0 {
		return err
	}
	q.left(j.state, 0)
	q.entered(running, 0)
	j.state = running
	h.leases = append(h.leases, found[0].lease(q.name))
	h.seqs = append(h.seqs, j.seq)
	return nil
}

// admit counts a job that is to be leased against its limits, if there is room in all of
// them. Else it answers the pair where there is none, and when there will be, if that is
// known. One that is unblocked does not wait for those that are parked.
func (q *queue) admit(j *job) (stuck string, at int64, err error) {
	_, _, parked := backend.PairOf(j.key)
	unblocked := j.state == blocked && !parked
	all, err := q.standings(j)
	if err != nil {
		return "", 0, err
	}
	for i := range all {
		s := &all[i]
		if s.hold == backend.SlotOnceEnqueued {
			continue
		}
		rule, err := q.ruleOf(s.pair)
		if err != nil {
			return "", 0, err
		}
		if !s.slot {
			first, err := q.first(s.pair)
			if err != nil || !unblocked && first != nil && first.seq != j.seq && j.follows(first) {
				return s.pair, 0, err
			}
			if rule.Slots > 0 {
				held, err := q.slots(s.pair)
				if err != nil || held >= rule.Slots {
					return s.pair, 0, err
				}
			}
		}
		if rule.Rate > 0 {
			full, err := q.bucket(s.pair)
			if err != nil {
				return "", 0, err
			}
			if allowed, _ := rule.Spend(full, q.t.micro(), s.tokens); allowed > q.t.micro() {
				return s.pair, (allowed + 999) / 1000, nil
			}
		}
		if s.hold == backend.SlotUntilFinished { // also while it is parked at another one
			if _, err := q.t.exec(`UPDATE caddis_limit SET slot = 1 WHERE job = ? AND n = ?`, j.seq, s.n); err != nil {
				return "", 0, err
			}
		}
	}
	for i := range all {
		s := &all[i]
		if s.hold == backend.SlotOnceEnqueued {
			continue
		}
		then, err := q.spend(s.pair, s.tokens)
		if err == nil {
			_, err = q.t.exec(`UPDATE caddis_limit SET slot = 1, spent = ? WHERE job = ? AND n = ?`, then, j.seq, s.n)
		}
		if err != nil {
			return "", 0, err
		}
	}
	return "", 0, nil
}

// follows reports whether a job comes after one that is parked.
func (j *job) follows(first *job) bool {
	if j.parked == 0 {
		return first.level <= j.level
	}
	return first.rank < j.precedence()
}

// foremost is the number of a job that comes back to the front: it precedes all that are
// parked.
const foremost = 1

// comesBack lets a job that comes back to the front precede what is parked.
func (q *queue) comesBack(j *job) error {
	if !j.limited {
		return nil
	}
	_, err := q.t.exec(`UPDATE caddis_job SET parked = ? WHERE seq = ?`, foremost, j.seq)
	return err
}

// park sets a job aside, or leaves it where it is parked.
func (q *queue) park(j *job, pair string, at int64) error {
	if key := backend.ParkKey(pair); j.key != key {
		if j.parked == 0 {
			j.parked = foremost + q.last()
			if _, err := q.t.exec(`UPDATE caddis_job SET parked = ? WHERE seq = ?`, j.parked, j.seq); err != nil {
				return err
			}
		}
		j.rank, j.at, j.key = j.precedence(), 0, key
		if err := q.move(j, blocked); err != nil {
			return err
		}
	} else if err := q.unready(pair); err != nil {
		return err
	}
	if at == 0 {
		return nil
	}
	return q.readyAt(pair, at)
}
