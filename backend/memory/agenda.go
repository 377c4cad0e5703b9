package memory

import "container/heap"

// agenda is a heap of pairs by their at.
type agenda []*pair

// lookBound is how many pairs one lease looks at.
const lookBound = 100

// inHand is where the pairs are that a lease goes through.
var inHand agenda

// lookout has the pairs that one lease goes through.
type lookout []*pair

// dueForALook takes the pairs that are ready, those first that have been so for the longest.
func (q *queue) dueForALook(now int64) lookout {
	var due lookout
	for len(due) < lookBound {
		p := q.limits.ready.first()
		if p == nil || p.at > now {
			break
		}
		p.leave()
		p.agenda = &inHand
		due = append(due, p)
	}
	return due
}

// serve offers the parked jobs of a priority and above, in order, until no more can be taken.
func (due lookout) serve(priority int, now int64, offer func(j *job) bool) bool {
	for {
		var best *pair
		for _, p := range due {
			if p.agenda == &inHand && p.line.len > 0 && p.line.front.Priority >= priority &&
				(best == nil || p.line.front.precedence() < best.line.front.precedence()) {
				best = p
			}
		}
		if best == nil {
			return true
		}
		if !offer(best.line.front) {
			return false
		}
		if best.agenda == &inHand {
			best.at = now // the others come before its next one
		}
	}
}

// lookedAt gives back the pairs of a lookout.
func (q *queue) lookedAt(due lookout, now int64) {
	for _, p := range due {
		if p.agenda != &inHand {
			continue
		}
		p.agenda = nil
		if p.line.len > 0 {
			p.enter(&q.limits.ready, p.at)
		} else {
			q.wake(p, now)
		}
	}
}

// enter puts a pair into an agenda, leave takes it out of the one in which it is.
func (p *pair) enter(a *agenda, at int64) {
	p.agenda, p.at = a, at
	heap.Push(a, p)
}

func (p *pair) leave() {
	if p.agenda != nil && p.agenda != &inHand {
		heap.Remove(p.agenda, p.place)
	}
	p.agenda = nil
}

func (a agenda) first() *pair {
	if len(a) == 0 {
		return nil
	}
	return a[0]
}

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, k int) bool { return a[i].at < a[k].at }
func (a agenda) Swap(i, k int) {
	a[i], a[k] = a[k], a[i]
	a[i].place, a[k].place = i, k
}

func (a *agenda) Push(x any) {
	p := x.(*pair)
	p.place = len(*a)
	*a = append(*a, p)
}

func (a *agenda) Pop() any {
	old := *a
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	return p
}
