package memory

import (
	"cmp"
	"container/heap"
	"context"
	"slices"

	"github.com/caddis-go/caddis/backend"
)

// turns decides between the lanes of one priority; the jobs without a lane are one of them.
// It is all zero as long as there is no other.
type turns struct {
	// now is the virtual time, list when those without a lane may start.
	now, list int64
	// lanes has those that have work and those that are ahead of the virtual time, by their
	// key. ready are the former, resting the others.
	lanes          map[string]*lane
	ready, resting laneHeap
}

// lane is a lane of one priority.
type lane struct {
	key  string
	line list
	// at is when it starts, or where it has no work may start, in virtual time. Those of one
	// time have their turns in the order of their serials.
	at, serial int64
	in         *laneHeap
	place      int
}

// enter puts a job at the end of its lane.
func (q *queue) enter(j *job) {
	t := &q.turns[backend.PriorityHighest-j.Priority]
	if len(t.ready) == 0 && q.line(j).len == 0 {
		*t = turns{} // nobody else waits, so nobody has anything coming to him
	}
	l := t.lanes[j.Lane.Key]
	if l == nil {
		l = &lane{key: j.Lane.Key}
		if t.lanes == nil {
			t.lanes = map[string]*lane{}
		}
		t.lanes[l.key] = l
	}
	if l.line.len == 0 {
		q.opened++
		l.line.serial, l.line.key = priorities+q.opened, l.key
		q.lanes = append(q.lanes, &l.line)
		t.put(l, &t.ready, max(l.at, t.now), q.opened)
	}
	l.line.pushBack(j)
	j.lane = l
}

// leave is for a job that has left its lane.
func (q *queue) leave(j *job) {
	l, t := j.lane, &q.turns[backend.PriorityHighest-j.Priority]
	j.lane = nil
	if l.line.len > 0 {
		return
	}
	i := seek(q.lanes, l.line.serial)
	q.lanes = slices.Delete(q.lanes, i, i+1)
	t.put(l, &t.resting, l.at, 0)
	t.drop()
}

// put brings a lane into a heap.
func (t *turns) put(l *lane, in *laneHeap, at, serial int64) {
	if l.in != nil {
		heap.Remove(l.in, l.place)
	}
	l.in, l.at, l.serial = in, at, serial
	t.lanes[l.key] = l
	heap.Push(in, l)
}

// drop forgets the lanes without work that the virtual time has passed.
func (t *turns) drop() {
	for len(t.resting) > 0 && t.resting[0].at <= t.now {
		l := heap.Pop(&t.resting).(*lane)
		l.in = nil
		delete(t.lanes, l.key)
	}
}

// takeTurns offers the waiting jobs of a priority, by turns of their lanes, until no more can
// be taken.
func (q *queue) takeTurns(i int, offer func(j *job) bool) bool {
	t, list := &q.turns[i], &q.waiting[i]
	for {
		j := list.front
		plain := max(t.list, t.now)
		if len(t.ready) > 0 && (j == nil || !j.returned && t.ready[0].at < plain) {
			j = t.ready[0].line.front
		}
		if j == nil {
			*t = turns{}
			return true
		}
		l, free := j.lane, j.returned
		if !offer(j) {
			return false
		}
		switch {
		case j.state != backend.StateRunning || free:
		case l == nil && len(t.lanes) == 0: // there are no others
		case l == nil:
			t.now, t.list = plain, plain+j.Lane.Cost()
			t.drop()
		default:
			t.now = l.at
			in := &t.ready
			if l.line.len == 0 {
				in = &t.resting
			}
			q.opened++
			t.put(l, in, l.at+j.Lane.Cost(), q.opened)
			t.drop()
		}
	}
}

// laneHeap has lanes by when they start.
type laneHeap []*lane

func (h laneHeap) Len() int { return len(h) }

func (h laneHeap) Less(i, k int) bool {
	return cmp.Or(cmp.Compare(h[i].at, h[k].at), cmp.Compare(h[i].serial, h[k].serial)) < 0
}

func (h laneHeap) Swap(i, k int) {
	h[i], h[k] = h[k], h[i]
	h[i].place, h[k].place = i, k
}

func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	l.place = len(*h)
	*h = append(*h, l)
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}

// Lanes tells which lanes have jobs that wait.
func (b *Backend) Lanes(ctx context.Context, query backend.LanesQuery) (backend.LanesInfo, error) {
	const op = "lanes"
	if err := backend.CheckQueue(query.Queue); err != nil {
		return backend.LanesInfo{}, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return backend.LanesInfo{}, err
	}
	defer b.mu.Unlock()
	info := backend.LanesInfo{Queue: query.Queue}
	q := b.queues[query.Queue]
	if q == nil {
		return info, nil
	}
	q.tidy(b.now())
	info.More = len(q.lanes) > backend.LanesLook
	for _, l := range q.lanes[:min(len(q.lanes), backend.LanesLook)] {
		info.Lanes = append(info.Lanes, backend.LaneInfo{Key: l.key, Waiting: l.len})
	}
	info.Longest()
	if j := q.jobs[query.Job]; j != nil && j.lane != nil {
		for ; j != nil; j = j.prev {
			info.Place++
		}
	}
	return info, nil
}
