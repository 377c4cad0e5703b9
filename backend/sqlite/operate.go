package sqlite

import (
	"context"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Cancel implements backend.Operator.
func (b *Backend) Cancel(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "cancel", name, ids, func(q *queue, j *job) error {
		if j.state.final() && j.state != cancelled {
			return backend.ErrState
		}
		return q.cancel(j)
	})
}

// cancel ends a job, or asks its worker to end it.
func (q *queue) cancel(j *job) error {
	switch {
	case j.state.final():
		return nil
	case j.state == running:
		_, err := q.t.exec(`UPDATE caddis_job SET cancel = 1 WHERE seq = ?`, j.seq)
		q.t.commands = append(q.t.commands, backend.Command{Verb: backend.CommandCancel, Queue: q.name, ID: j.id})
		return err
	}
	return q.finish(j, cancelled, 0)
}

// Retry implements backend.Operator.
func (b *Backend) Retry(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "retry", name, ids, func(q *queue, j *job) error {
		if j.state != dead && j.state != cancelled {
			return backend.ErrState
		}
		if past, err := j.past(); err == nil && past.Attempts > 0 {
			before := j.bytes
			past.Attempts = 0
			if err := j.setHistory(&past); err != nil {
				return err
			}
			// It leaves its state as heavy as it came.
			q.bytes[j.state-completed] += j.bytes - before
		}
		j.crashes = 0
		if j.lane != "" {
			if err := q.countLaned(1); err != nil {
				return err
			}
		}
		if err := q.wait(j); err != nil {
			return err
		}
		// What cannot be read is leased all the same, and ends dead.
		if public, err := j.public(name); err == nil && len(public.Limits) > 0 {
			return q.enroll(j.id, public.Limits)
		}
		return nil
	})
}

// Delete implements backend.Operator.
func (b *Backend) Delete(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "delete", name, ids, func(q *queue, j *job) error {
		if j.state == running {
			return backend.ErrState
		}
		return q.remove(j)
	})
}

// RunNow implements backend.Operator.
func (b *Backend) RunNow(ctx context.Context, name string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "run now", name, ids, func(q *queue, j *job) error {
		switch j.state {
		case waiting:
			return nil
		case scheduled, blocked:
			class, key, parked := backend.PairOf(j.key)
			err := q.wait(j)
			if parked && err == nil {
				err = q.wake((&backend.Limit{Class: class, Key: key}).Pair())
			}
			return err
		}
		return backend.ErrState
	})
}

// act applies a verb to jobs, one after the other.
func (b *Backend) act(ctx context.Context, op, name string, ids []string, verb func(q *queue, j *job) error) ([]backend.ActResult, error) {
	err := backend.CheckQueue(name)
	if err == nil && len(ids) > backend.MaxBatch {
		err = reject("%d ids in one call, %d are allowed", len(ids), backend.MaxBatch)
	}
	if err != nil {
		return nil, &backend.Error{Op: op, Queue: name, Err: err}
	}
	var results []backend.ActResult
	err = b.write(ctx, op, name, len(ids), func(t *txn) error {
		results = make([]backend.ActResult, len(ids))
		q, err := t.find(name)
		if err != nil {
			return err
		}
		if q != nil {
			if _, err := q.tidy(false); err != nil {
				return err
			}
		}
		for i, id := range ids {
			results[i], err = t.actOn(op, q, name, id, verb)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (t *txn) actOn(op string, q *queue, name, id string, verb func(q *queue, j *job) error) (result backend.ActResult, err error) {
	result.ID = id
	var j *job
	if q != nil {
		if j, err = q.get(id); err != nil {
			return result, err
		}
	}
	refused := backend.ErrNotFound
	if j != nil {
		switch err := verb(q, j); err {
		case nil:
			refused = nil
		case backend.ErrState:
			refused = err
		default:
			return result, err
		}
		if refused != nil || op != "delete" {
			result.State = j.state.public()
		}
	}
	if refused != nil {
		result.Err = &backend.Error{Op: op, Queue: name, ID: id, Err: refused}
	}
	return result, nil
}

// Pause implements backend.Operator.
func (b *Backend) Pause(ctx context.Context, name string, d time.Duration) error {
	if err := backend.CheckPause(name, d); err != nil {
		return &backend.Error{Op: "pause", Queue: name, Err: err}
	}
	return b.write(ctx, "pause", name, 1, func(t *txn) error {
		q, err := t.queue(name)
		if err != nil {
			return err
		}
		if d == 0 {
			q.setPaused(forGood)
			return nil
		}
		q.setPaused(0)
		t.tell(q) // who leases now knows when to come again
		q.setPaused(t.now + millis(d))
		return nil
	})
}

// Resume implements backend.Operator.
func (b *Backend) Resume(ctx context.Context, name string) error {
	if err := backend.CheckQueue(name); err != nil {
		return &backend.Error{Op: "resume", Queue: name, Err: err}
	}
	return b.write(ctx, "resume", name, 1, func(t *txn) error {
		q, err := t.queue(name)
		if err != nil {
			return err
		}
		resumed := q.paused
		q.setPaused(0)
		if resumed {
			t.tell(q)
		}
		return nil
	})
}
