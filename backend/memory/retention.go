package memory

import (
	"time"

	"github.com/caddis-go/caddis/backend"
)

// finished holds the jobs of one final state, the first to finish in front.
type finished struct {
	list
	state  backend.State
	bounds backend.Retention
	// until orders those that are not kept for ever.
	until timeline
	bytes int64
}

func (f *finished) enter(j *job, until int64) {
	j.state, j.at = f.state, until
	f.pushBack(j)
	f.bytes += j.size()
	if until != 0 {
		f.until.add(j)
	}
}

// leave undoes enter for a job that has left the list.
func (f *finished) leave(j *job) {
	f.bytes -= j.size()
	if j.at != 0 {
		f.until.drop(j)
	}
}

// full reports whether a bound other than that of age is passed.
func (f *finished) full() bool {
	return f.bounds.Count > 0 && f.len > f.bounds.Count ||
		f.bounds.Bytes > 0 && f.bytes > f.bounds.Bytes
}

func (q *queue) final(state backend.State) *finished {
	for i := range q.finished {
		if q.finished[i].state == state {
			return &q.finished[i]
		}
	}
	panic("memory: " + string(state) + " is not a final state")
}

// finish ends a job that is in no list, and keeps it as long as the retention
// says. Keep is that of a Settlement.
func (q *queue) finish(j *job, state backend.State, keep time.Duration, now int64) {
	q.store.jobs--
	q.store.bytes -= j.size()
	q.ended(j)
	q.vacate(j, true)
	switch state {
	case backend.StateCompleted:
		q.completed++
	case backend.StateCancelled:
		q.cancelled++
	default:
		q.dead++
	}
	f := q.final(state)
	if keep == 0 {
		keep = f.bounds.Age
		if keep == 0 && state == backend.StateCompleted {
			keep = -1
		}
	}
	j.state = state
	if keep < 0 {
		delete(q.jobs, j.ID)
		return
	}
	var until int64
	if keep > 0 {
		until = dueAt(now, keep)
	}
	f.enter(j, until)
	for f.full() {
		q.trimmed++
		q.remove(f.front)
	}
}

// revive takes a finished job out of its list, to be run again.
func (q *queue) revive(j *job) {
	q.lift(j)
	q.store.jobs++
	q.store.bytes += j.size()
}

// remove deletes a job that is in a list.
func (q *queue) remove(j *job) {
	q.lift(j)
	delete(q.jobs, j.ID)
	if !j.state.Final() {
		q.free(j)
		q.vacate(j, true)
		q.store.jobs--
		q.store.bytes -= j.size()
	}
}

// forget removes finished jobs whose time is up and answers how many.
func (q *queue) forget(now int64) int {
	n := 0
	for i := range q.finished {
		f := &q.finished[i]
		for j := f.until.first(); j != nil && j.at <= now && n < tidyBound; j = f.until.first() {
			q.remove(j)
			n++
		}
	}
	return n
}
