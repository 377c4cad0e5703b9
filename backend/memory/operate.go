package memory

import (
	"context"
	"fmt"

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
func (b *Backend) Pause(ctx context.Context, name string) error {
	return b.setPaused(ctx, "pause", name, true)
}

// Resume undoes Pause.
func (b *Backend) Resume(ctx context.Context, name string) error {
	return b.setPaused(ctx, "resume", name, false)
}

func (b *Backend) setPaused(ctx context.Context, op, name string, paused bool) error {
	if err := backend.CheckQueue(name); err != nil {
		return &backend.Error{Op: op, Queue: name, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return err
	}
	defer b.mu.Unlock()
	q := b.queue(name)
	changed := q.paused != paused
	q.paused = paused
	q.tell(changed && !paused)
	return nil
}
