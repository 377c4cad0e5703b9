package memory

import (
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// priorities is how many there are.
const priorities = backend.PriorityHighest - backend.PriorityLowest + 1

// tidyBound is how many jobs one call moves of its own accord: due ones, expired
// ones, and finished ones that are forgotten, each.
const tidyBound = backend.MaxBatch

// queue holds the jobs of one queue: all by their id, and each in the list of
// its state.
type queue struct {
	store *Backend
	name  string
	// paused is as isPaused says; pausedUntil is 0 for a pause without an end.
	paused      bool
	pausedUntil int64
	jobs        map[string]*job

	// waiting has a list per priority, the highest first, of the jobs without a lane and of
	// those that came back to the front; turns decides between these and the lanes.
	waiting [priorities]list
	turns   [priorities]turns
	// lanes are the lists of lanes with work, by their serials; opened numbers them.
	lanes     []*list
	opened    int64
	scheduled list
	due       timeline
	// blocked has a list per key, in the order in which they came up.
	blocked   []*list
	blockedOn map[string]*list
	blocks    int64
	// running is ordered by the expiry of the leases.
	running  list
	finished [3]finished

	// The counters of QueueInfo.
	completed, failed, cancelled, dead, crashed, trimmed int64

	schedules schedules
	keys      keys
	limits    limits
	figures   figures
	events    journal

	bell
}

func newQueue(b *Backend, name string) *queue {
	q := &queue{
		store:     b,
		name:      name,
		jobs:      make(map[string]*job),
		blockedOn: make(map[string]*list),
		finished: [3]finished{
			{state: backend.StateCompleted, bounds: b.retention.Completed},
			{state: backend.StateCancelled, bounds: b.retention.Cancelled},
			{state: backend.StateDead, bounds: b.retention.Dead},
		},
	}
	for i := range q.waiting {
		q.waiting[i].serial = int64(i)
	}
	return q
}

// waits counts the waiting jobs.
func (q *queue) waits() int {
	n := 0
	for i := range q.waiting {
		n += q.waiting[i].len
	}
	for _, l := range q.lanes {
		n += l.len
	}
	return n
}

func (q *queue) line(j *job) *list { return &q.waiting[backend.PriorityHighest-j.Priority] }

// wait puts a job behind those of its priority, or of its lane, that wait already.
func (q *queue) wait(j *job) {
	j.state = backend.StateWaiting
	if j.Lane.Key != "" {
		q.enter(j)
	} else {
		q.line(j).pushBack(j)
	}
}

// waitFirst puts it before them.
func (q *queue) waitFirst(j *job) {
	j.state = backend.StateWaiting
	j.parkedAs, j.returned = foremost, true
	q.line(j).pushFront(j)
}

// schedule puts a job off, or lets it wait if it is due. It reports whether
// whoever waits for work has to know: it can be leased or is the next one due.
func (q *queue) schedule(j *job, due, now int64) bool {
	if due <= now {
		q.wait(j)
		return true
	}
	j.state = backend.StateScheduled
	j.at = due
	q.scheduled.pushBack(j)
	q.due.add(j)
	return q.due.first() == j
}

func (q *queue) block(j *job, key string) {
	l := q.blockedOn[key]
	if l == nil {
		q.blocks++
		l = &list{key: key, serial: q.blocks}
		q.blockedOn[key] = l
		q.blocked = append(q.blocked, l)
	}
	j.state, j.parkedAs = backend.StateBlocked, foremost
	l.pushBack(j)
}

// run puts a job under a lease.
func (q *queue) run(j *job, worker, token string, expires time.Duration) {
	j.state = backend.StateRunning
	j.worker, j.token = worker, token
	q.begun(j)
	j.expires = expires
	q.running.insertSorted(j, int64(expires))
}

// lift takes a job out of the list of its state. What it costs does not depend
// on where in the list it is.
func (q *queue) lift(j *job) {
	l := j.in
	l.remove(j)
	switch j.state {
	case backend.StateWaiting:
		if j.returned = false; j.lane != nil {
			q.leave(j)
		}
	case backend.StateScheduled:
		q.due.drop(j)
	case backend.StateBlocked:
		if j.parkedAt != nil {
			q.unpark(j)
		} else if l.len == 0 {
			q.unlist(l)
		}
	case backend.StateRunning:
		q.stopped(j)
		j.token, j.worker, j.cancelRequested = "", "", false
	case backend.StateCompleted, backend.StateCancelled, backend.StateDead:
		q.final(j.state).leave(j)
	}
}

// unlist removes an empty list of blocked jobs.
func (q *queue) unlist(l *list) {
	delete(q.blockedOn, l.key)
	i := seek(q.blocked, l.serial)
	q.blocked = slices.Delete(q.blocked, i, i+1)
}

// promote lets due jobs wait, in the order in which they became due.
func (q *queue) promote(now int64) {
	for range tidyBound {
		j := q.due.first()
		if j == nil || j.at > now {
			return
		}
		q.lift(j)
		q.wait(j)
	}
}

// reclaim returns expired leases to the front, the one that expired first
// foremost, and answers how many there were.
func (q *queue) reclaim(now int64) int {
	n, ran := 0, q.store.clock.read()
	var last *job
	for j := q.running.front; j != nil && j.expires <= ran && n < tidyBound; j = j.next {
		last = j
		n++
	}
	for j := last; j != nil; {
		before := j.prev
		cancelled := j.cancelRequested
		q.lift(j)
		if !j.ahead || cancelled {
			j.crashes = min(j.crashes+1, backend.MaxCrashes)
			q.crashed++
		}
		if cancelled {
			q.finish(j, backend.StateCancelled, 0, now)
		} else {
			q.waitFirst(j)
		}
		j = before
	}
	return n
}

// tidy does what has come up by the passing of time alone, leases excepted: an
// expired lease that nobody took over yet may still be settled.
func (q *queue) tidy(now int64) (forgotten int) {
	q.promote(now)
	q.release(now)
	q.forgetPairs(now)
	return q.forget(now)
}

// next is when a scheduled job is due, a lease expires, the pause ends, or a parked job is
// to be looked at; 0 if there is none of them. Zero is the instant at which the clock of the
// leases began.
func (q *queue) next(zero int64) int64 {
	var next int64
	if q.isPaused() {
		next = q.pausedUntil
	} else if p := q.limits.ready.first(); p != nil && p.at > q.store.now() {
		next = p.at
	}
	if j := q.due.first(); j != nil && (next == 0 || j.at < next) {
		next = j.at
	}
	if j := q.running.front; j != nil {
		if ends := zero + int64(j.expires); next == 0 || ends < next {
			next = ends
		}
	}
	return next
}
