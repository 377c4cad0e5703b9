package memory

import (
	"container/heap"

	"github.com/caddis-go/caddis/backend"
)

// keys are the unique keys of a queue that are held.
type keys struct {
	held map[backend.Key]*hold
	// timed orders those that are held for a time.
	timed holds
}

// hold is a key and the job that holds it, which may be gone if it is held for a time.
type hold struct {
	key backend.Key
	id  string
	// until is when a hold for a time ends, else 0; place is its index in the heap.
	until int64
	place int
}

// conflict returns what another job's hold on the key of a new one is, or nil. The job
// of that hold is nil if it is forgotten.
func (q *queue) conflict(n *backend.NewJob) (*hold, *job) {
	if !n.Unique.Held() {
		return nil, nil
	}
	h := q.keys.held[n.Unique.Key]
	if h == nil {
		return nil, nil
	}
	return h, q.jobs[h.id]
}

// replaceable reports whether a new job takes the place of the one that holds its key.
func replaceable(n *backend.NewJob, j *job) bool {
	return n.Unique.Conflict == backend.ConflictReplace && j != nil && j.unique.Key == n.Unique.Key && !j.started &&
		(j.state == backend.StateScheduled || j.state == backend.StateWaiting || j.state == backend.StateBlocked)
}

// hold has a new job hold its key.
func (q *queue) hold(j *job, unique backend.Unique, now int64) {
	if !unique.Held() {
		return
	}
	j.unique = unique
	h := &hold{key: unique.Key, id: j.ID}
	if q.keys.held == nil {
		q.keys.held = make(map[backend.Key]*hold)
	}
	q.keys.held[h.key] = h
	if unique.Hold == backend.HoldForTime {
		h.until = dueAt(now, unique.For)
		heap.Push(&q.keys.timed, h)
	}
}

// free ends the hold of a job, if it still has one.
func (q *queue) free(j *job) {
	if h := q.keys.held[j.unique.Key]; h != nil && h.id == j.ID && j.unique.Held() {
		q.drop(h)
	}
}

func (q *queue) drop(h *hold) {
	delete(q.keys.held, h.key)
	if h.until != 0 {
		heap.Remove(&q.keys.timed, h.place)
	}
}

// begun ends a hold until the start.
func (q *queue) begun(j *job) {
	j.started = true
	if j.unique.Hold == backend.HoldUntilStarted {
		q.free(j)
	}
}

// ended ends a hold until the end. What is held for a time remains so.
func (q *queue) ended(j *job) {
	if j.unique.Hold != backend.HoldForTime {
		q.free(j)
	}
	j.unique = backend.Unique{}
}

// release ends the holds whose time is up.
func (q *queue) release(now int64) {
	for range tidyBound {
		if len(q.keys.timed) == 0 || q.keys.timed[0].until > now {
			return
		}
		q.drop(q.keys.timed[0])
	}
}

// holds is a heap by the end of the time.
type holds []*hold

func (h holds) Len() int           { return len(h) }
func (h holds) Less(i, k int) bool { return h[i].until < h[k].until }

func (h holds) Swap(i, k int) {
	h[i], h[k] = h[k], h[i]
	h[i].place, h[k].place = i, k
}

func (h *holds) Push(x any) {
	one := x.(*hold)
	one.place = len(*h)
	*h = append(*h, one)
}

func (h *holds) Pop() any {
	old := *h
	one := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return one
}
