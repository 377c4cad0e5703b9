package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Cancel ends jobs, and asks that running ones end.
func (b *Backend) Cancel(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "cancel", name, ids, func(q *queue, j *job, now int64) (tell bool, err error) {
		if j.state.Final() && j.state != backend.StateCancelled {
			return false, backend.ErrState
		}
		q.cancel(j, now)
		return false, nil
	})
}

// cancel ends a job, or asks its worker to end it.
func (q *queue) cancel(j *job, now int64) {
	switch {
	case j.state.Final():
	case j.state == backend.StateRunning:
		j.cancelRequested = true
		q.store.publish(backend.Command{Verb: backend.CommandCancel, Queue: q.name, ID: j.ID})
	default:
		q.lift(j)
		q.finish(j, backend.StateCancelled, 0, now)
	}
}

// Retry makes dead or cancelled jobs wait again. The result of one that would
// pass a bound of the Config is backend.ErrFull.
func (b *Backend) Retry(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "retry", name, ids, func(q *queue, j *job, now int64) (tell bool, err error) {
		if j.state != backend.StateDead && j.state != backend.StateCancelled {
			return false, backend.ErrState
		}
		if err := b.within(b.jobs+1, b.bytes+j.size()); err != nil {
			return false, err
		}
		q.revive(j)
		q.enroll(j)
		q.admitted(j, now)
		j.crashes = 0
		if j.history != nil {
			j.history.Attempts = 0
		}
		q.wait(j)
		return true, nil
	})
}

// Delete removes jobs that do not run.
func (b *Backend) Delete(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "delete", name, ids, func(q *queue, j *job, now int64) (tell bool, err error) {
		if j.state == backend.StateRunning {
			return false, backend.ErrState
		}
		q.remove(j)
		return false, nil
	})
}

// RunNow makes scheduled or blocked jobs wait.
func (b *Backend) RunNow(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "run now", name, ids, func(q *queue, j *job, now int64) (tell bool, err error) {
		switch j.state {
		case backend.StateWaiting:
			return false, nil
		case backend.StateScheduled, backend.StateBlocked:
			q.lift(j)
			q.wait(j)
			return true, nil
		}
		return false, backend.ErrState
	})
}

// act applies a verb to jobs, one after the other.
func (b *Backend) act(ctx context.Context, op, name string, ids []string,
	verb func(q *queue, j *job, now int64) (tell bool, err error),
) ([]backend.ActResult, error) {
	err := backend.CheckQueue(name)
	if err == nil && len(ids) > backend.MaxBatch {
		err = fmt.Errorf("%w: %d ids in one call, %d are allowed", backend.ErrRejected, len(ids), backend.MaxBatch)
	}
	if err != nil {
		return nil, &backend.Error{Op: op, Queue: name, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	q := b.queues[name]
	if q != nil {
		q.tidy(now)
	}
	results := make([]backend.ActResult, len(ids))
	news := false
	for i, id := range ids {
		results[i].ID = id
		var j *job
		if q != nil {
			j = q.jobs[id]
		}
		err := backend.ErrNotFound
		if j != nil {
			var tell bool
			tell, err = verb(q, j, now)
			news = news || tell
			if err != nil || op != "delete" {
				results[i].State = j.state
			}
		}
		if err != nil {
			results[i].Err = &backend.Error{Op: op, Queue: name, ID: id, Err: err}
		}
	}
	q.tell(news)
	return results, nil
}

// Pause stops the hand-out of a queue's jobs.
func (b *Backend) Pause(ctx context.Context, name string, d time.Duration) error {
	if err := backend.CheckPause(name, d); err != nil {
		return &backend.Error{Op: "pause", Queue: name, Err: err}
	}
	if err := b.lock(ctx, "pause"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	q := b.queue(name)
	q.paused, q.pausedUntil = true, 0
	if d > 0 {
		q.pausedUntil = dueAt(b.now(), d)
		q.ringOne() // who leases now knows when to come again
	}
	return nil
}

// Resume undoes Pause.
func (b *Backend) Resume(ctx context.Context, name string) error {
	if err := backend.CheckQueue(name); err != nil {
		return &backend.Error{Op: "resume", Queue: name, Err: err}
	}
	if err := b.lock(ctx, "resume"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	q := b.queue(name)
	changed := q.paused
	q.paused, q.pausedUntil = false, 0
	q.tell(changed)
	return nil
}

// isPaused reports whether the queue hands out nothing at present.
func (q *queue) isPaused() bool {
	if q.paused && q.pausedUntil != 0 && q.pausedUntil <= q.store.now() {
		q.paused, q.pausedUntil = false, 0
	}
	return q.paused
}
