package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// home is the shard of a schedule: that of its jobs.
func (q *queue) home(name string) *tag { return q.tagOf(backend.TickID(name, time.Time{})) }

// PutSchedule implements backend.Scheduler.
func (b *Backend) PutSchedule(ctx context.Context, schedule backend.Schedule) (backend.Schedule, error) {
	const op = "put schedule"
	wrap := func(err error) (backend.Schedule, error) {
		return backend.Schedule{}, b.fail(op, schedule.Queue, fmt.Errorf("schedule %q: %w", schedule.Name, err))
	}
	if err := schedule.Check(); err != nil {
		return wrap(err)
	}
	queues, err := b.enter(ctx, []string{schedule.Queue})
	if err != nil {
		return wrap(classify(err))
	}
	c := queues[0].home(schedule.Name).call(putScheduleScript, "", 6)
	c.add(schedule.Name, strconv.FormatUint(schedule.Version, 10), instantText(schedule.Next), flag(schedule.Paused),
		string(schedule.Spec), backend.MaxSchedules)
	reply, err := b.list(ctx, c)
	if err != nil {
		return wrap(err)
	}
	switch asInt(reply[0]) {
	case -1:
		return wrap(backend.ErrConflict)
	case -2:
		return wrap(fmt.Errorf("%w: the queue has %d schedules, and no more are allowed", backend.ErrFull, backend.MaxSchedules))
	case 1:
		b.tell(ctx, backend.CommandSchedule, schedule.Queue, []string{""})
	}
	stored, err := readSchedule(schedule.Queue, reply[1:])
	if err != nil {
		return wrap(err)
	}
	return stored, nil
}

// DeleteSchedule implements backend.Scheduler.
func (b *Backend) DeleteSchedule(ctx context.Context, queueName, name string) error {
	const op = "delete schedule"
	q, err := b.scheduled(ctx, queueName)
	if err != nil {
		return b.fail(op, queueName, err)
	}
	c := q.home(name).call(deleteScheduleScript, "", 1)
	c.add(name)
	err = b.run(ctx, c)
	var reply any
	if err == nil {
		reply, err = c.result()
	}
	if err == nil && asInt(reply) == 0 {
		err = backend.ErrNotFound
	}
	if err != nil {
		return b.fail(op, queueName, fmt.Errorf("schedule %q: %w", name, classify(err)))
	}
	b.tell(ctx, backend.CommandSchedule, queueName, []string{""})
	return nil
}

// Schedules implements backend.Scheduler. The pages of a queue with shards are those of
// one shard after the other; a cursor is the number of the shard and the name of the
// last schedule.
func (b *Backend) Schedules(ctx context.Context, query backend.SchedulesQuery) (backend.SchedulesPage, error) {
	const op = "schedules"
	fail := func(err error) (backend.SchedulesPage, error) {
		return backend.SchedulesPage{}, b.fail(op, query.Queue, err)
	}
	if err := query.Check(); err != nil {
		return fail(err)
	}
	q, err := b.scheduled(ctx, query.Queue)
	if err != nil {
		return fail(err)
	}
	shard, after := 0, ""
	if query.Cursor != "" {
		number, name, _ := strings.Cut(query.Cursor, " ")
		if shard, err = strconv.Atoi(number); err != nil || shard < 0 || shard >= len(q.tags) {
			return fail(fmt.Errorf("%w: the cursor %q is none; give After of the page before, or nothing", backend.ErrRejected, query.Cursor))
		}
		after = name
	}
	t := q.tags[shard]
	if query.Name != "" {
		t = q.home(query.Name)
	}
	c := t.call(schedulesScript, "", 3)
	c.add(query.Name, after, query.Limit)
	reply, err := b.list(ctx, c)
	if err != nil {
		return fail(err)
	}
	page := backend.SchedulesPage{Now: time.UnixMilli(asInt(reply[0])).UTC()}
	for _, row := range reply[2:] {
		fields, _ := row.([]any)
		s, err := readSchedule(query.Queue, fields)
		if err != nil {
			b.log.Error("a stored schedule cannot be read", "queue", query.Queue, "error", err)
			continue
		}
		page.Schedules = append(page.Schedules, s)
		after = s.Name
	}
	switch {
	case query.Name != "":
	case asInt(reply[1]) == 1:
		page.After = fmt.Sprint(shard, " ", after)
	case shard+1 < len(q.tags):
		page.After = fmt.Sprint(shard+1, " ")
	}
	return page, nil
}

// Tick implements backend.Scheduler.
func (b *Backend) Tick(ctx context.Context, ticks []backend.Tick) (backend.TickReply, error) {
	const op = "tick"
	if err := backend.CheckTicks(ticks); err != nil {
		return backend.TickReply{}, b.fail(op, "", err)
	}
	tags, refused := make([]*tag, len(ticks)), make([]error, len(ticks))
	for i := range ticks {
		q, err := b.scheduled(ctx, ticks[i].Queue)
		if err != nil {
			return backend.TickReply{}, b.fail(op, ticks[i].Queue, err)
		}
		if ticks[i].Job != nil {
			if refused[i] = q.misplaced(ticks[i].Job); refused[i] != nil {
				continue
			}
		}
		tags[i] = q.home(ticks[i].Name)
	}
	parts := split(len(ticks), func(i int) *tag { return tags[i] })
	calls := make([]*call, len(parts))
	for n, p := range parts {
		calls[n] = p.tag.call(tickScript, "", 1+16*len(p.at))
		calls[n].add(b.retention)
		for _, i := range p.at {
			calls[n].addTick(&ticks[i])
		}
	}
	if err := b.run(ctx, calls...); err != nil {
		return backend.TickReply{}, b.fail(op, "", err)
	}
	reply := backend.TickReply{Results: make([]backend.TickResult, len(ticks)), Now: time.Now()}
	for i, err := range refused {
		if err != nil {
			reply.Results[i].Err = &backend.Error{Op: op, Queue: ticks[i].Queue, ID: ticks[i].Job.ID, Err: err}
		}
	}
	for n, p := range parts {
		answer, err := calls[n].result()
		rows, ok := answer.([]any)
		if err == nil && (!ok || len(rows) != 1+len(p.at)) {
			err = fmt.Errorf("%w: %d ticks were answered by %T", backend.ErrUnavailable, len(p.at), answer)
		}
		if err != nil {
			return backend.TickReply{}, b.fail(op, p.tag.queue, err)
		}
		reply.Now = time.UnixMilli(asInt(rows[0])).UTC()
		p.tag.doubt()
		for k, i := range p.at {
			row, _ := rows[1+k].([]any)
			if len(row) != 5 {
				return backend.TickReply{}, b.fail(op, p.tag.queue, fmt.Errorf("%w: a tick was answered by %T", backend.ErrUnavailable, rows[1+k]))
			}
			result := &reply.Results[i]
			result.Outcome = outcomeOf[asString(row[0])]
			if told := asString(row[1]); told != "" {
				b.tell(ctx, backend.CommandCancel, p.tag.queue, []string{told})
			}
			if asString(row[3]) != "" {
				result.Schedule, result.Err = readSchedule(p.tag.queue, row[2:])
			}
		}
	}
	return reply, nil
}

var outcomeOf = map[string]backend.TickOutcome{}

func init() {
	for o := backend.TickEnqueued; o <= backend.TickStale; o++ {
		outcomeOf[o.String()] = o
	}
}

func (c *call) addTick(t *backend.Tick) {
	c.add(t.Name, strconv.FormatUint(t.Version, 10), instantText(t.At), instantText(t.Next),
		strconv.FormatUint(t.Missed, 10), t.Overlap.String())
	if t.Job == nil {
		c.add("", "2", "0", "")
		c.addUnique(&backend.Unique{})
		c.add("", "")
		return
	}
	due := "0"
	switch {
	case t.Job.Delay > 0:
		due = "+" + strconv.FormatInt(millis(t.Job.Delay), 10)
	case !t.Job.At.IsZero():
		due = strconv.FormatInt(ceilMilli(t.Job.At), 10)
	}
	c.add(t.Job.ID, strconv.Itoa(t.Job.Priority+2), due, string(envelope(t.Job, 0)))
	c.addUnique(&t.Job.Unique)
	c.add(limitLines(t.Job.Limits), laneText(t.Job.Lane))
}

// scheduled returns a queue whose schedules are asked for, which need not be there.
func (b *Backend) scheduled(ctx context.Context, name string) (*queue, error) {
	if err := backend.CheckQueue(name); err != nil {
		return nil, err
	}
	q, _, err := b.find(ctx, name)
	return q, err
}

// list runs a script that answers a list.
func (b *Backend) list(ctx context.Context, c *call) ([]any, error) {
	if err := b.run(ctx, c); err != nil {
		return nil, err
	}
	answer, err := c.result()
	list, ok := answer.([]any)
	if err == nil && (!ok || len(list) == 0) {
		err = fmt.Errorf("%w: the store answered %T", backend.ErrUnavailable, answer)
	}
	return list, err
}

// readSchedule reads what scripts/lib/schedule.lua answers.
func readSchedule(queue string, fields []any) (backend.Schedule, error) {
	s := backend.Schedule{Queue: queue}
	if len(fields) != 3 {
		return s, fmt.Errorf("%w: %d fields of a schedule", backend.ErrUnavailable, len(fields))
	}
	s.Name, s.LastState = asString(fields[0]), backend.State(asString(fields[2]))
	parts := strings.SplitN(asString(fields[1]), "\n", 3)
	var next, paused, last int64
	if len(parts) == 3 {
		_, err := fmt.Sscanf(parts[0], "%d %d %d %d %d %d", &s.Version, &next, &paused, &last, &s.Enqueued, &s.Skipped)
		if err == nil {
			s.Next, s.Last, s.Paused = instantOf(next), instantOf(last), paused != 0
			s.LastJob, s.Spec = parts[1], []byte(parts[2])
			return s, nil
		}
	}
	return s, fmt.Errorf("schedule %q: %w", s.Name, errBody)
}

// instantText is an instant in milliseconds, "0" for none.
func instantText(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func instantOf(milli int64) time.Time {
	if milli == 0 {
		return time.Time{}
	}
	return time.UnixMilli(milli).UTC()
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}
