package memory

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// schedules are those of one queue.
type schedules struct {
	byName map[string]*backend.Schedule
	// names is sorted, for pages.
	names []string
	// versions counts all changes, so that no version comes twice under a name that
	// was deleted; changes those that Sweep tells of.
	versions, changes uint64
}

// PutSchedule stores a schedule.
func (b *Backend) PutSchedule(ctx context.Context, schedule backend.Schedule) (backend.Schedule, error) {
	const op = "put schedule"
	if err := schedule.Check(); err != nil {
		return backend.Schedule{}, &backend.Error{Op: op, Queue: schedule.Queue, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return backend.Schedule{}, err
	}
	defer b.mu.Unlock()
	q := b.queue(schedule.Queue)
	stored, err := q.putSchedule(schedule)
	if err != nil {
		return backend.Schedule{}, &backend.Error{Op: op, Queue: q.name, Err: fmt.Errorf("schedule %q: %w", schedule.Name, err)}
	}
	return q.describe(stored), nil
}

func (q *queue) putSchedule(s backend.Schedule) (*backend.Schedule, error) {
	all := &q.schedules
	stored := all.byName[s.Name]
	switch {
	case stored != nil && stored.Same(&s):
		return stored, nil
	case stored == nil && s.Version != 0, stored != nil && stored.Version != s.Version:
		return nil, backend.ErrConflict
	case stored == nil && len(all.names) >= backend.MaxSchedules:
		return nil, fmt.Errorf("%w: the queue has %d schedules, and no more are allowed", backend.ErrFull, len(all.names))
	case stored == nil:
		if all.byName == nil {
			all.byName = map[string]*backend.Schedule{}
		}
		stored = &backend.Schedule{Queue: q.name, Name: s.Name}
		all.byName[s.Name] = stored
		at, _ := slices.BinarySearch(all.names, s.Name)
		all.names = slices.Insert(all.names, at, s.Name)
	}
	stored.Spec, stored.Next, stored.Paused = bytes.Clone(s.Spec), utc(s.Next), s.Paused
	all.touch(stored)
	all.changes++
	q.store.publish(backend.Command{Verb: backend.CommandSchedule, Queue: q.name})
	return stored, nil
}

// touch gives a schedule a new version.
func (all *schedules) touch(s *backend.Schedule) {
	all.versions++
	s.Version = all.versions
}

// DeleteSchedule removes a schedule.
func (b *Backend) DeleteSchedule(ctx context.Context, queue, name string) error {
	const op = "delete schedule"
	if err := b.lock(ctx, op); err != nil {
		return err
	}
	defer b.mu.Unlock()
	if q := b.queues[queue]; q != nil && q.schedules.byName[name] != nil {
		all := &q.schedules
		delete(all.byName, name)
		at, _ := slices.BinarySearch(all.names, name)
		all.names = slices.Delete(all.names, at, at+1)
		all.changes++
		b.publish(backend.Command{Verb: backend.CommandSchedule, Queue: q.name})
		return nil
	}
	return &backend.Error{Op: op, Queue: queue, Err: fmt.Errorf("schedule %q: %w", name, backend.ErrNotFound)}
}

// Schedules returns a page, by name.
func (b *Backend) Schedules(ctx context.Context, query backend.SchedulesQuery) (backend.SchedulesPage, error) {
	const op = "schedules"
	if err := query.Check(); err != nil {
		return backend.SchedulesPage{}, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return backend.SchedulesPage{}, err
	}
	defer b.mu.Unlock()
	now := b.now()
	page := backend.SchedulesPage{Now: instant(now)}
	q := b.queues[query.Queue]
	if q == nil {
		return page, nil
	}
	q.tidy(now)
	if query.Name != "" {
		if stored := q.schedules.byName[query.Name]; stored != nil {
			page.Schedules = append(page.Schedules, q.describe(stored))
		}
		return page, nil
	}
	names := q.schedules.names
	at, found := slices.BinarySearch(names, query.Cursor)
	if found {
		at++
	}
	names = names[at:]
	if len(names) > query.Limit {
		names = names[:query.Limit]
		page.After = names[query.Limit-1]
	}
	for _, name := range names {
		page.Schedules = append(page.Schedules, q.describe(q.schedules.byName[name]))
	}
	return page, nil
}

// describe answers what is known of a schedule; nothing in it is shared.
func (q *queue) describe(s *backend.Schedule) backend.Schedule {
	c := *s
	c.Spec = bytes.Clone(s.Spec)
	if j := q.jobs[s.LastJob]; j != nil {
		c.LastState = j.state
	}
	return c
}

// Tick advances schedules.
func (b *Backend) Tick(ctx context.Context, ticks []backend.Tick) (backend.TickReply, error) {
	if err := backend.CheckTicks(ticks); err != nil {
		return backend.TickReply{}, err
	}
	if err := b.lock(ctx, "tick"); err != nil {
		return backend.TickReply{}, err
	}
	defer b.mu.Unlock()
	now := b.now()
	reply := backend.TickReply{Results: make([]backend.TickResult, len(ticks)), Now: instant(now)}
	for i := range ticks {
		q, result := b.queues[ticks[i].Queue], &reply.Results[i]
		if q == nil {
			result.Outcome = backend.TickStale
			continue
		}
		q.tidy(now)
		result.Outcome, result.Err = q.tick(&ticks[i], now)
		if stored := q.schedules.byName[ticks[i].Name]; stored != nil {
			result.Schedule = q.describe(stored)
		}
	}
	return reply, nil
}

func (q *queue) tick(t *backend.Tick, now int64) (backend.TickOutcome, error) {
	s := q.schedules.byName[t.Name]
	switch {
	case s == nil:
		return backend.TickStale, nil
	case s.Version != t.Version && t.Job != nil && s.LastJob == t.Job.ID:
		return backend.TickEnqueued, nil
	case s.Version != t.Version:
		return backend.TickStale, nil
	case t.At.After(instant(now)):
		return backend.TickEarly, nil
	}
	outcome := backend.TickPassed
	if t.Job != nil {
		outcome = backend.TickEnqueued
		last := q.jobs[s.LastJob]
		if last != nil && last.state.Final() {
			last = nil
		}
		switch {
		case last == nil || last.ID == t.Job.ID:
		case t.Overlap == backend.OverlapWait:
			return backend.TickWaits, nil
		case t.Overlap == backend.OverlapSkip:
			outcome = backend.TickSkipped
		}
		if outcome == backend.TickEnqueued {
			if err := q.store.room([]backend.NewJob{*t.Job}, now); err != nil {
				return 0, &backend.Error{Op: "tick", Queue: q.name, ID: t.Job.ID, Err: err}
			}
			if last != nil && last.ID != t.Job.ID && t.Overlap == backend.OverlapCancel {
				q.cancel(last, now)
			}
			receipt, tell := q.add(t.Job, now)
			q.tell(tell)
			if receipt.Err != nil || receipt.Duplicate() && !receipt.Replaced {
				outcome = backend.TickSkipped
			} else {
				s.Last, s.LastJob = utc(t.At), cmp.Or(receipt.Holder, t.Job.ID)
				s.Enqueued++
			}
		}
	}
	s.Skipped += t.Missed
	if outcome != backend.TickEnqueued {
		s.Skipped++
	}
	s.Next = utc(t.Next)
	q.schedules.touch(s)
	return outcome, nil
}

// utc is an instant as it is answered: without a zone.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0)
}
