package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Enqueue stores jobs. The call is atomic over all its queues: where the new
// jobs would pass a bound of the Config none is stored, and the error wraps
// backend.ErrFull.
func (b *Backend) Enqueue(ctx context.Context, jobs []backend.NewJob) ([]backend.Receipt, error) {
	if err := backend.CheckJobs(jobs); err != nil {
		return nil, err
	}
	if err := b.lock(ctx, "enqueue"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	receipts := make([]backend.Receipt, len(jobs))
	if b.maxJobs > 0 || b.maxBytes > 0 {
		if err := b.room(jobs, now); err != nil {
			for i := range jobs {
				receipts[i] = backend.Receipt{Queue: jobs[i].Queue, ID: jobs[i].ID, Err: err}
			}
			return receipts, &backend.Error{Op: "enqueue", Err: err}
		}
	}
	var q *queue
	news := false
	for i := range jobs {
		n := &jobs[i]
		if q == nil || q.name != n.Queue {
			q.tell(news)
			news = false
			q = b.queue(n.Queue)
			q.tidy(now)
		}
		var tell bool
		receipts[i], tell = q.add(n, now)
		news = news || tell
	}
	q.tell(news)
	for i := range receipts {
		if receipts[i].Err != nil {
			return receipts, receipts[i].Err
		}
	}
	return receipts, nil
}

// refusal is why a job is not stored.
func refusal(n *backend.NewJob, l *backend.Limit) error {
	return &backend.Error{Op: "enqueue", Queue: n.Queue, ID: n.ID, Err: l.Refusal()}
}

// add stores one job, unless the queue holds one of its id that does not give way, another
// one holds its key, or a limit refuses it. It reports whether whoever waits for work has to know.
func (q *queue) add(n *backend.NewJob, now int64) (receipt backend.Receipt, tell bool) {
	receipt = backend.Receipt{Queue: q.name, ID: n.ID}
	if j := q.holder(n); j != nil {
		receipt.State, receipt.Existing = j.state, true
		return receipt, false
	}
	id := n.ID
	if h, j := q.conflict(n); h != nil {
		receipt.Existing, receipt.Replaced = h.id == n.ID, replaceable(n, j)
		if !receipt.Existing {
			receipt.Holder = h.id
		}
		if !receipt.Replaced {
			if j != nil {
				receipt.State = j.state
			}
			return receipt, false
		}
		id = h.id
	}
	before := q.jobs[id]
	q.declare(n, now)
	if l := q.refuses(n, before, now); l != nil {
		return backend.Receipt{Queue: q.name, ID: n.ID, Err: refusal(n, l)}, false
	}
	if before != nil {
		q.remove(before)
	}
	j := &job{Job: clone(n.Job)}
	j.Queue, j.ID = q.name, id
	j.body = bodySize(&j.Job)
	enqueued := millis(now)
	due := enqueued
	if n.Delay > 0 {
		due = dueAt(now, n.Delay)
	} else if !n.At.IsZero() && n.At.After(time.Unix(0, now)) {
		due = dueAt(n.At.UnixNano(), 0)
	}
	j.EnqueuedAt, j.DueAt = instant(enqueued), instant(due)
	q.jobs[j.ID] = j
	q.store.jobs++
	q.store.bytes += j.body
	q.hold(j, n.Unique, now)
	if n.Unique.Held() {
		receipt.Holder = id
	}
	q.enroll(j)
	q.admitted(j, now)
	tell = q.schedule(j, due, now)
	receipt.State = j.state
	return receipt, tell
}

// holder returns the job because of which a new one is not stored, or nil.
func (q *queue) holder(n *backend.NewJob) *job {
	j := q.jobs[n.ID]
	if j != nil && n.ReplaceFinished && j.state.Final() {
		return nil
	}
	return j
}

// room says whether the new ones among the jobs fit.
func (b *Backend) room(jobs []backend.NewJob, now int64) error {
	type key struct{ queue, id string }
	added, replaced := make(map[key]bool, len(jobs)), map[*job]bool{}
	count, bytes := b.jobs, b.bytes
	for i := range jobs {
		n := &jobs[i]
		if q := b.queues[n.Queue]; q != nil {
			q.tidy(now)
			if q.holder(n) != nil {
				continue
			}
			h, j := q.conflict(n)
			if h != nil && !replaceable(n, j) {
				continue
			}
			if h != nil && !replaced[j] {
				replaced[j] = true
				count--
				bytes -= j.body
			}
		}
		if k := (key{n.Queue, n.ID}); !added[k] {
			added[k] = true
			count++
			bytes += bodySize(&n.Job)
		}
	}
	if len(added) == 0 {
		return nil
	}
	return b.within(count, bytes)
}

// within says whether so many unfinished jobs are allowed.
func (b *Backend) within(count int, bytes int64) error {
	if b.maxJobs > 0 && count > b.maxJobs {
		return fmt.Errorf("%w: it would hold %d unfinished jobs, %d are allowed", backend.ErrFull, count, b.maxJobs)
	}
	if b.maxBytes > 0 && bytes > b.maxBytes {
		return fmt.Errorf("%w: its unfinished jobs would have %d bytes, %d are allowed", backend.ErrFull, bytes, b.maxBytes)
	}
	return nil
}
