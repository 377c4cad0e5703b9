package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

const scheduleColumns = `name, spec, next, paused, version, last, job, enqueued, skipped`

// schedulesOf returns the rows of a query for scheduleColumns, with the states of their
// last jobs.
func schedulesOf(x executor, queue string, now int64, query string, args ...any) (all []backend.Schedule, err error) {
	err = each(x, query, args, func(rows *sql.Rows) error {
		s := backend.Schedule{Queue: queue}
		var next, last int64
		err := rows.Scan(&s.Name, &s.Spec, &next, &s.Paused, &s.Version, &last, &s.LastJob, &s.Enqueued, &s.Skipped)
		s.Next, s.Last = instant(next), instant(last)
		all = append(all, s)
		return err
	})
	for i := 0; i < len(all) && err == nil; i++ {
		if all[i].LastJob == "" {
			continue
		}
		var last state
		var at int64
		var found bool
		found, err = one(x, `SELECT state, at FROM caddis_job WHERE queue = (SELECT id FROM caddis_queue WHERE name = ?) AND id = ?`,
			[]any{queue, all[i].LastJob}, &last, &at)
		switch {
		case !found || last.final() && at != 0 && at <= now:
		case last == scheduled && at <= now:
			all[i].LastState = backend.StateWaiting
		default:
			all[i].LastState = last.public()
		}
	}
	return all, err
}

// schedule returns a schedule of the queue by its name, or nil.
func (q *queue) schedule(name string) (*backend.Schedule, error) {
	all, err := schedulesOf(q.t, q.name, q.t.now,
		`SELECT `+scheduleColumns+` FROM caddis_schedule WHERE queue = ? AND name = ?`, q.id, name)
	if len(all) == 0 || err != nil {
		return nil, err
	}
	return &all[0], nil
}

// changed counts a change of a schedule and returns its new version. more is how many
// schedules there are more; put says that one was put or deleted.
func (q *queue) changed(more int64, put bool) (version uint64, err error) {
	_, err = one(q.t, `INSERT INTO caddis_schedules (queue, count, versions, changes) VALUES (?1, ?2, 1, ?3)
		ON CONFLICT (queue) DO UPDATE SET count = count + ?2, versions = versions + 1, changes = changes + ?3
		RETURNING versions`, []any{q.id, more, put}, &version)
	if put {
		q.t.commands = append(q.t.commands, backend.Command{Verb: backend.CommandSchedule, Queue: q.name})
	}
	return version, err
}

// changes is how often a schedule of the queue was put or deleted.
func (q *queue) changes() (n uint64, err error) {
	_, err = one(q.t, `SELECT changes FROM caddis_schedules WHERE queue = ?`, []any{q.id}, &n)
	return n, err
}

// PutSchedule implements backend.Scheduler.
func (b *Backend) PutSchedule(ctx context.Context, s backend.Schedule) (backend.Schedule, error) {
	const op = "put schedule"
	if err := s.Check(); err != nil {
		return backend.Schedule{}, &backend.Error{Op: op, Queue: s.Queue, Err: err}
	}
	var stored *backend.Schedule
	err := b.write(ctx, op, s.Queue, 1, func(t *txn) error {
		q, err := t.queue(s.Queue)
		if err == nil {
			stored, err = q.putSchedule(&s)
		}
		if err != nil {
			return fmt.Errorf("schedule %q: %w", s.Name, err)
		}
		return nil
	})
	if err != nil {
		return backend.Schedule{}, err
	}
	return *stored, nil
}

func (q *queue) putSchedule(s *backend.Schedule) (*backend.Schedule, error) {
	stored, err := q.schedule(s.Name)
	switch {
	case err != nil:
		return nil, err
	case stored != nil && stored.Same(s):
		return stored, nil
	case stored == nil && s.Version != 0, stored != nil && stored.Version != s.Version:
		return nil, backend.ErrConflict
	}
	more := int64(0)
	if stored == nil {
		var count int64
		if _, err := one(q.t, `SELECT count FROM caddis_schedules WHERE queue = ?`, []any{q.id}, &count); err != nil {
			return nil, err
		}
		if count >= backend.MaxSchedules {
			return nil, fmt.Errorf("%w: the queue has %d schedules, and no more are allowed", backend.ErrFull, count)
		}
		more = 1
	}
	version, err := q.changed(more, true)
	if err != nil {
		return nil, err
	}
	spec := s.Spec
	if spec == nil {
		spec = []byte{}
	}
	if _, err := q.t.exec(`INSERT INTO caddis_schedule (queue, name, spec, next, paused, version) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (queue, name) DO UPDATE SET spec = excluded.spec, next = excluded.next, paused = excluded.paused, version = excluded.version`,
		q.id, s.Name, spec, milli(s.Next), s.Paused, version); err != nil {
		return nil, err
	}
	return q.schedule(s.Name)
}

// DeleteSchedule implements backend.Scheduler.
func (b *Backend) DeleteSchedule(ctx context.Context, queue, name string) error {
	return b.write(ctx, "delete schedule", queue, 1, func(t *txn) error {
		q, err := t.find(queue)
		if err != nil {
			return err
		}
		gone := int64(0)
		if q != nil {
			gone, err = t.exec(`DELETE FROM caddis_schedule WHERE queue = ? AND name = ?`, q.id, name)
		}
		if err == nil && gone == 0 {
			err = fmt.Errorf("schedule %q: %w", name, backend.ErrNotFound)
		}
		if err == nil {
			_, err = q.changed(-1, true)
		}
		return err
	})
}

// Schedules implements backend.Scheduler. A page comes by name.
func (b *Backend) Schedules(ctx context.Context, query backend.SchedulesQuery) (page backend.SchedulesPage, err error) {
	const op = "schedules"
	if err := query.Check(); err != nil {
		return page, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	err = b.write(ctx, op, query.Queue, 1, func(t *txn) (err error) {
		page = backend.SchedulesPage{Now: instant(t.now)}
		const from = `SELECT ` + scheduleColumns + ` FROM caddis_schedule WHERE queue = (SELECT id FROM caddis_queue WHERE name = ?)`
		if query.Name != "" {
			page.Schedules, err = schedulesOf(t, query.Queue, t.now, from+` AND name = ?`, query.Queue, query.Name)
			return err
		}
		page.Schedules, err = schedulesOf(t, query.Queue, t.now, from+` AND name > ? ORDER BY name LIMIT ?`,
			query.Queue, query.Cursor, query.Limit+1)
		if len(page.Schedules) > query.Limit {
			page.Schedules = page.Schedules[:query.Limit]
			page.After = page.Schedules[query.Limit-1].Name
		}
		return err
	})
	return page, err
}

// Tick implements backend.Scheduler.
func (b *Backend) Tick(ctx context.Context, ticks []backend.Tick) (reply backend.TickReply, err error) {
	if err := backend.CheckTicks(ticks); err != nil {
		return reply, err
	}
	err = b.write(ctx, "tick", "", len(ticks), func(t *txn) error {
		reply = backend.TickReply{Results: make([]backend.TickResult, len(ticks)), Now: instant(t.now)}
		for i := range ticks {
			q, err := t.find(ticks[i].Queue)
			if err != nil {
				return err
			}
			result := &reply.Results[i]
			result.Outcome = backend.TickStale
			if q == nil {
				continue
			}
			if _, err := q.tidy(false); err != nil {
				return err
			}
			if result.Outcome, err = q.tick(&ticks[i]); err != nil {
				return err
			}
			stored, err := q.schedule(ticks[i].Name)
			if err != nil {
				return err
			}
			if stored != nil {
				result.Schedule = *stored
			}
		}
		return nil
	})
	return reply, err
}

func (q *queue) tick(t *backend.Tick) (backend.TickOutcome, error) {
	s, err := q.schedule(t.Name)
	switch {
	case err != nil:
		return 0, err
	case s == nil:
		return backend.TickStale, nil
	case s.Version != t.Version && t.Job != nil && s.LastJob == t.Job.ID:
		return backend.TickEnqueued, nil
	case s.Version != t.Version:
		return backend.TickStale, nil
	case t.At.UnixMilli() > q.t.now:
		return backend.TickEarly, nil
	}
	outcome := backend.TickPassed
	if t.Job != nil {
		outcome = backend.TickEnqueued
		unfinished := s.LastState != "" && !s.LastState.Final() && s.LastJob != t.Job.ID
		switch {
		case unfinished && t.Overlap == backend.OverlapWait:
			return backend.TickWaits, nil
		case unfinished && t.Overlap == backend.OverlapSkip:
			outcome = backend.TickSkipped
		case unfinished && t.Overlap == backend.OverlapCancel:
			last, err := q.get(s.LastJob)
			if err == nil && last != nil {
				err = q.cancel(last)
			}
			if err != nil {
				return 0, err
			}
		}
	}
	if outcome == backend.TickEnqueued {
		receipt, err := q.enter(t.Job)
		if err != nil {
			return 0, &backend.Error{Op: "tick", Queue: q.name, ID: t.Job.ID, Err: classify(err)}
		}
		if receipt.Err != nil || receipt.Duplicate() && !receipt.Replaced {
			outcome = backend.TickSkipped
		} else {
			s.Last, s.LastJob = t.At, cmp.Or(receipt.Holder, t.Job.ID)
		}
	}
	if outcome == backend.TickEnqueued {
		s.Enqueued++
	} else {
		s.Skipped++
	}
	version, err := q.changed(0, false)
	if err != nil {
		return 0, err
	}
	_, err = q.t.exec(`UPDATE caddis_schedule SET next = ?, version = ?, last = ?, job = ?, enqueued = ?, skipped = ? WHERE queue = ? AND name = ?`,
		milli(t.Next), version, milli(s.Last), s.LastJob, s.Enqueued, s.Skipped+t.Missed, q.id, t.Name)
	return outcome, err
}

// milli is an instant in milliseconds, 0 for none.
func milli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
