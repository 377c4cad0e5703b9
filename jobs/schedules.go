package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// ScheduleInfo is a stored schedule and all that is known of it.
type ScheduleInfo struct {
	backend.Schedule
	// When tells the timing in words, Kind is that of its jobs.
	When string `json:"when"`
	Kind string `json:"kind"`
	// Declared is true if it was put by a worker that has it in its registry: only
	// such workers tick it.
	Declared bool `json:"declared"`
	// Err says why it cannot be read here; it is not ticked then.
	Err error `json:"-"`

	spec *spec
}

// ReadSchedule makes what is stored of a schedule readable.
func ReadSchedule(stored backend.Schedule) ScheduleInfo {
	info := ScheduleInfo{Schedule: stored}
	info.spec, info.Err = parseSpec(stored.Spec)
	if info.Err == nil {
		info.When, info.Kind, info.Declared = info.spec.rhythm.String(), info.spec.Job.Kind, info.spec.Declared
	}
	return info
}

// Again makes the schedule readable as it is stored by now; what has not changed of it is
// not read anew.
func (s ScheduleInfo) Again(stored backend.Schedule) ScheduleInfo {
	if s.spec == nil || !bytes.Equal(s.Spec, stored.Spec) {
		return ReadSchedule(stored)
	}
	s.Schedule = stored
	return s
}

// Tick is what is to be done with the schedule now; ok is false if it is not due.
func (s *ScheduleInfo) Tick(now time.Time) (tick backend.Tick, ok bool) {
	if s.Err != nil || s.Paused || s.Next.IsZero() || s.Next.After(now) {
		return backend.Tick{}, false
	}
	return s.spec.tick(&s.Schedule, now), true
}

// Upcoming lists the next instants, n at most, in UTC.
func (s *ScheduleInfo) Upcoming(n int) (instants []time.Time) {
	if s.Err != nil {
		return nil
	}
	for at := s.Next; len(instants) < n && !at.IsZero(); at = s.spec.next(at) {
		instants = append(instants, at)
	}
	return instants
}

// String names the schedule and shows none of its data.
func (s ScheduleInfo) String() string {
	return fmt.Sprintf("schedule %s in queue %s, %s", s.Name, s.Queue, s.When)
}

// LogValue names the schedule and shows none of its data.
func (s ScheduleInfo) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("name", s.Name), slog.String("queue", s.Queue), slog.String("when", s.When),
		slog.Time("next", s.Next), slog.Time("last", s.Last),
	)
}

// PutSchedule stores a schedule at run time, or changes the one of its name in the
// queue of the args' kind. It stays until it is deleted, and every worker of the queue
// ticks it. One that is paused remains so. For the rest see [Schedule].
func (c *Client) PutSchedule(ctx context.Context, name string, timing Timing, args Args, options ...ScheduleOption) (ScheduleInfo, error) {
	s, spec, err := c.schedule(declaration{name, timing, args, options}, false)
	if err == nil {
		s, err = put(ctx, c.backend, s, spec)
	}
	if err != nil {
		return ScheduleInfo{}, scheduleError("put schedule", s.Queue, name, err)
	}
	return ReadSchedule(s), nil
}

// PutSchedules stores the schedules that the registry declares for these queues, or for
// all if queues is nil. A worker does so for its queues when it starts. Those that are
// stored already as they are declared are left alone.
func (r *Registry) PutSchedules(ctx context.Context, store backend.Scheduler, queues []string) error {
	c := Client{registry: r}
	var failures []error
	for _, d := range r.schedules {
		s, spec, err := c.schedule(d, true)
		if err == nil && (queues == nil || slices.Contains(queues, s.Queue)) {
			_, err = put(ctx, store, s, spec)
		}
		if err != nil {
			failures = append(failures, scheduleError("put schedule", s.Queue, d.name, err))
		}
	}
	return errors.Join(failures...)
}

// CheckSchedules says what is wrong with the schedules that the registry declares, now
// that it knows its kinds. A worker does so before it starts.
func (r *Registry) CheckSchedules() error {
	r.mu.Lock()
	declared := slices.Clone(r.schedules)
	r.mu.Unlock()
	c := Client{registry: r}
	var failures []error
	for _, d := range declared {
		if s, _, err := c.schedule(d, true); err != nil {
			failures = append(failures, scheduleError("schedule", s.Queue, d.name, err))
		}
	}
	return errors.Join(failures...)
}

// HasSchedules reports whether the registry declares any schedule.
func (r *Registry) HasSchedules() bool { return len(r.schedules) > 0 }

// ScheduleQueues returns the queues of the schedules that the registry declares.
func (r *Registry) ScheduleQueues() (queues []string) {
	c := Client{registry: r}
	for _, d := range r.schedules {
		if s, _, err := c.schedule(d, true); err == nil && !slices.Contains(queues, s.Queue) {
			queues = append(queues, s.Queue)
		}
	}
	return queues
}

// Declares reports whether the registry declares a schedule of this name.
func (r *Registry) Declares(schedule string) bool {
	return slices.ContainsFunc(r.schedules, func(d declaration) bool { return d.name == schedule })
}

// maxConflicts is how often a change is tried while others change the same schedule.
const maxConflicts = 20

// put brings a schedule to the store as it is to be from now on.
func put(ctx context.Context, store backend.Scheduler, s backend.Schedule, spec *spec) (backend.Schedule, error) {
	return change(ctx, store, s.Queue, s.Name, func(old *backend.Schedule, now time.Time) (*backend.Schedule, error) {
		if old.Version != 0 && bytes.Equal(old.Spec, s.Spec) {
			return nil, nil
		}
		changed := s
		changed.Version, changed.Paused = old.Version, old.Paused
		changed.Next = spec.first(old, now)
		return &changed, nil
	})
}

// change reads a schedule and puts what edit makes of it, again if it changes
// meanwhile. edit gets an empty one if there is none, and returns nil if there is
// nothing to change.
func change(ctx context.Context, store backend.Scheduler, queue, name string,
	edit func(old *backend.Schedule, now time.Time) (*backend.Schedule, error),
) (backend.Schedule, error) {
	for conflicts := 0; ; conflicts++ {
		page, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: queue, Name: name})
		if err != nil {
			return backend.Schedule{}, err
		}
		old := backend.Schedule{Queue: queue, Name: name}
		if len(page.Schedules) > 0 {
			old = page.Schedules[0]
		}
		changed, err := edit(&old, page.Now)
		if changed == nil || err != nil {
			return old, err
		}
		stored, err := store.PutSchedule(ctx, *changed)
		if !errors.Is(err, backend.ErrConflict) || conflicts == maxConflicts {
			return stored, err
		}
	}
}

// PauseSchedule lets a schedule rest until [Client.ResumeSchedule]; it does nothing if
// it rests already. Its jobs are left alone. To pause and resume is safe to repeat, and
// [backend.ErrNotFound] says that there is no such schedule.
func (c *Client) PauseSchedule(ctx context.Context, queue, name string) (ScheduleInfo, error) {
	return c.changeSchedule(ctx, "pause schedule", queue, name, func(s *ScheduleInfo, _ time.Time) { s.Paused = true })
}

// ResumeSchedule undoes PauseSchedule. What came meanwhile is not made up for.
func (c *Client) ResumeSchedule(ctx context.Context, queue, name string) (ScheduleInfo, error) {
	return c.changeSchedule(ctx, "resume schedule", queue, name, func(s *ScheduleInfo, now time.Time) {
		if s.Paused {
			s.Paused = false
			s.Next = s.spec.first(&backend.Schedule{Last: s.Last}, now)
		}
	})
}

func (c *Client) changeSchedule(ctx context.Context, op, queue, name string, edit func(s *ScheduleInfo, now time.Time)) (ScheduleInfo, error) {
	s, err := change(ctx, c.backend, queue, name, func(old *backend.Schedule, now time.Time) (*backend.Schedule, error) {
		if old.Version == 0 {
			return nil, backend.ErrNotFound
		}
		info := ReadSchedule(*old)
		if info.Err != nil {
			return nil, info.Err
		}
		edit(&info, now)
		if info.Paused == old.Paused {
			return nil, nil
		}
		return &info.Schedule, nil
	})
	if err != nil {
		return ScheduleInfo{}, scheduleError(op, queue, name, err)
	}
	return ReadSchedule(s), nil
}

// DeleteSchedule removes a schedule, or answers [backend.ErrNotFound]. Its jobs stay. One
// that is declared comes back with the next worker that declares it and starts.
func (c *Client) DeleteSchedule(ctx context.Context, queue, name string) error {
	return scheduleError("delete schedule", queue, name, c.backend.DeleteSchedule(ctx, queue, name))
}

// RunSchedule enqueues a job of a schedule now, also of one that is paused, and answers
// its receipt. The next instant stays as it is. While the last job has not finished it
// does as [Overlap] says; where that allows no job the error wraps [backend.ErrState].
func (c *Client) RunSchedule(ctx context.Context, queue, name string) (Receipt, error) {
	const op = "run schedule"
	for conflicts := 0; ; conflicts++ {
		page, err := c.backend.Schedules(ctx, backend.SchedulesQuery{Queue: queue, Name: name})
		if err == nil && len(page.Schedules) == 0 {
			err = backend.ErrNotFound
		}
		if err != nil {
			return Receipt{}, scheduleError(op, queue, name, err)
		}
		info := ReadSchedule(page.Schedules[0])
		if info.Err != nil {
			return Receipt{}, scheduleError(op, queue, name, info.Err)
		}
		at := page.Now.UTC().Truncate(time.Millisecond)
		job := info.spec.job(&info.Schedule, at)
		job.At = time.Time{}
		overlap := backend.ParseOverlap(info.spec.Overlap)
		if overlap == backend.OverlapSkip {
			overlap = backend.OverlapWait // what is not run is not to count as skipped
		}
		reply, err := c.backend.Tick(ctx, []backend.Tick{{
			Queue: queue, Name: name, Version: info.Version, At: at, Next: info.Next, Job: job, Overlap: overlap,
		}})
		if err == nil {
			err = reply.Results[0].Err
		}
		if err != nil {
			return Receipt{}, scheduleError(op, queue, name, err)
		}
		result := &reply.Results[0]
		switch {
		case result.Outcome == backend.TickEnqueued:
			return Receipt{Queue: queue, ID: job.ID, State: result.Schedule.LastState}, nil
		case result.Outcome == backend.TickWaits:
			return Receipt{}, scheduleError(op, queue, name, fmt.Errorf("%w: its last job, %q, is %s", backend.ErrState, result.Schedule.LastJob, result.Schedule.LastState))
		case conflicts == maxConflicts:
			return Receipt{}, scheduleError(op, queue, name, backend.ErrConflict)
		}
	}
}

// Schedule returns one schedule, or [backend.ErrNotFound].
func (c *Client) Schedule(ctx context.Context, queue, name string) (ScheduleInfo, error) {
	page, err := c.backend.Schedules(ctx, backend.SchedulesQuery{Queue: queue, Name: name})
	if err == nil && len(page.Schedules) == 0 {
		err = backend.ErrNotFound
	}
	if err != nil {
		return ScheduleInfo{}, scheduleError("schedule", queue, name, err)
	}
	return ReadSchedule(page.Schedules[0]), nil
}

// AllSchedules goes through the schedules of a queue, fetching one page at a time. An
// error ends it. Those that come and go meanwhile may be missed.
func (c *Client) AllSchedules(ctx context.Context, queue string) iter.Seq2[ScheduleInfo, error] {
	return func(yield func(ScheduleInfo, error) bool) {
		query := backend.SchedulesQuery{Queue: queue}
		for {
			page, err := c.backend.Schedules(ctx, query)
			if err != nil {
				yield(ScheduleInfo{}, err)
				return
			}
			for _, s := range page.Schedules {
				if !yield(ReadSchedule(s), nil) {
					return
				}
			}
			if page.After == "" {
				return
			}
			query.Cursor = page.After
		}
	}
}

// Schedule tells of which schedule the job is, and for which instant; ok is false if it
// is of none.
func (i Info) Schedule() (name string, at time.Time, ok bool) { return backend.ParseTickID(i.ID) }

// scheduleError names what an error is about, unless the store has done so.
func scheduleError(op, queue, name string, err error) error {
	var named *backend.Error
	switch {
	case err == nil || errors.As(err, &named):
		return err
	case queue == "":
		return &Error{Op: op, Err: fmt.Errorf("schedule %q: %w", name, err)}
	}
	return &Error{Op: op, Err: fmt.Errorf("schedule %q in queue %q: %w", name, queue, err)}
}
