package memory

import "container/heap"

// list is a line of jobs with links in the jobs themselves, so that a job leaves
// it from any place at no cost. Along the list pos never falls.
type list struct {
	front, back *job
	len         int
	// serial orders the lists of one state.
	serial int64
	// key is what the jobs in a list of blocked ones wait for, or the lane.
	key string
	// low and high are the positions given out last at either end.
	low, high int64
}

func (l *list) pushBack(j *job) {
	l.high++
	j.pos = l.high
	l.insertAfter(l.back, j)
}

func (l *list) pushFront(j *job) {
	l.low--
	j.pos = l.low
	l.insertAfter(nil, j)
}

// insertSorted puts a job behind all whose pos is not higher. It looks from the
// back: leases are of one length, so the newest expires last.
func (l *list) insertSorted(j *job, pos int64) {
	j.pos = pos
	after := l.back
	for after != nil && after.pos > pos {
		after = after.prev
	}
	l.insertAfter(after, j)
}

// insertAfter puts a job behind another one, or in front if that is nil.
func (l *list) insertAfter(after, j *job) {
	j.in, j.prev = l, after
	if after == nil {
		j.next, l.front = l.front, j
	} else {
		j.next, after.next = after.next, j
	}
	if j.next == nil {
		l.back = j
	} else {
		j.next.prev = j
	}
	l.len++
}

func (l *list) remove(j *job) {
	if j.prev == nil {
		l.front = j.next
	} else {
		j.prev.next = j.next
	}
	if j.next == nil {
		l.back = j.prev
	} else {
		j.next.prev = j.prev
	}
	j.in, j.prev, j.next = nil, nil, nil
	l.len--
}

// timeline is a heap of jobs by their at, then by their pos.
type timeline []*job

func (t *timeline) add(j *job) { heap.Push(t, j) }

func (t *timeline) drop(j *job) { heap.Remove(t, j.place) }

// first is the earliest job, or nil.
func (t timeline) first() *job {
	if len(t) == 0 {
		return nil
	}
	return t[0]
}

func (t timeline) Len() int { return len(t) }

func (t timeline) Less(i, j int) bool {
	if t[i].at != t[j].at {
		return t[i].at < t[j].at
	}
	return t[i].pos < t[j].pos
}

func (t timeline) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].place, t[j].place = i, j
}

func (t *timeline) Push(x any) {
	j := x.(*job)
	j.place = len(*t)
	*t = append(*t, j)
}

func (t *timeline) Pop() any {
	old := *t
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	return j
}
