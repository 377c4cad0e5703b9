package memory

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// figures are those of one queue, by the beginning of their minute or hour, and kind.
type figures struct {
	minutes, hours map[int64]map[string]*backend.Figures
	// kinds tells when figures of each last came.
	kinds map[string]time.Time
}

// journal has the last events of one queue, or those of the workers.
type journal struct {
	events []backend.Event
	// last is the number of the last event, at when it came.
	last uint64
	at   time.Time
}

// Record adds figures and events.
func (b *Backend) Record(ctx context.Context, record backend.Record) error {
	const op = "record"
	if err := record.Check(); err != nil {
		return &backend.Error{Op: op, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return err
	}
	defer b.mu.Unlock()
	c := b.caller(record.Worker)
	if record.Call <= c.recorded {
		return nil
	}
	c.recorded = record.Call
	now := instant(b.now())
	for i := range record.Figures {
		f := &record.Figures[i]
		if q := b.queues[f.Queue]; q != nil {
			q.figures.add(f, now)
		}
	}
	for i := range record.Events {
		if j := b.journal(record.Events[i].Queue); j != nil {
			j.add(record.Events[i], now)
		}
	}
	return nil
}

// journal returns that of a queue, nil if there is none, or that of the workers.
func (b *Backend) journal(queue string) *journal {
	if queue == "" {
		return &b.events
	}
	if q := b.queues[queue]; q != nil {
		return &q.events
	}
	return nil
}

func (f *figures) add(figure *backend.Figure, now time.Time) {
	if f.kinds == nil {
		f.kinds = map[string]time.Time{}
		f.minutes, f.hours = map[int64]map[string]*backend.Figures{}, map[int64]map[string]*backend.Figures{}
	}
	f.forget(now)
	kind := figure.Kind
	if _, known := f.kinds[kind]; !known && len(f.kinds) >= backend.MaxFigureKinds {
		kind = backend.OtherKinds
	}
	f.kinds[kind] = now
	put := func(all map[int64]map[string]*backend.Figures, base time.Duration) {
		if !backend.Keeps(base, figure.Minute, now) {
			return
		}
		at := figure.Minute.Truncate(base).Unix()
		if all[at] == nil {
			all[at] = map[string]*backend.Figures{}
		}
		if all[at][kind] == nil {
			all[at][kind] = &backend.Figures{}
		}
		all[at][kind].Add(&figure.Figures)
	}
	put(f.minutes, time.Minute)
	put(f.hours, time.Hour)
}

// forget drops what is kept no longer.
func (f *figures) forget(now time.Time) {
	drop := func(all map[int64]map[string]*backend.Figures, base time.Duration) {
		for at := range all {
			if !backend.Keeps(base, time.Unix(at, 0), now) {
				delete(all, at)
			}
		}
	}
	drop(f.minutes, time.Minute)
	drop(f.hours, time.Hour)
	maps.DeleteFunc(f.kinds, func(_ string, last time.Time) bool { return now.Sub(last) > backend.HoursKept })
}

func (j *journal) add(e backend.Event, now time.Time) {
	j.forget(now)
	e.At = utc(e.At)
	if len(j.events) >= backend.MaxJournal+backend.MaxJournal/4 {
		j.events = slices.Clone(j.events[len(j.events)-backend.MaxJournal+1:])
	}
	j.events = append(j.events, e)
	j.last++
	j.at = now
}

// forget drops a journal to which nothing was added for long.
func (j *journal) forget(now time.Time) {
	if now.Sub(j.at) > backend.HoursKept {
		j.events, j.last = nil, 0
	}
}

// Figures returns figures over time.
func (b *Backend) Figures(ctx context.Context, query backend.FiguresQuery) (backend.Series, error) {
	const op = "figures"
	if err := query.Check(); err != nil {
		return backend.Series{}, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return backend.Series{}, err
	}
	defer b.mu.Unlock()
	now := instant(b.now())
	s, base := backend.NewSeries(query, now)
	q := b.queues[query.Queue]
	if q == nil {
		return s, nil
	}
	f := &q.figures
	f.forget(now)
	if len(f.kinds) > 0 {
		s.Kinds = slices.Sorted(maps.Keys(f.kinds))
	}
	all := f.minutes
	if base == time.Hour {
		all = f.hours
	}
	for at, kinds := range all {
		for kind, figures := range kinds {
			if query.Kind == "" || query.Kind == kind {
				s.Add(time.Unix(at, 0), figures)
			}
		}
	}
	return s, nil
}

// Events returns a page of a journal.
func (b *Backend) Events(ctx context.Context, query backend.EventsQuery) (backend.EventsPage, error) {
	const op = "events"
	if err := query.Check(); err != nil {
		return backend.EventsPage{}, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	if err := b.lock(ctx, op); err != nil {
		return backend.EventsPage{}, err
	}
	defer b.mu.Unlock()
	after, _ := query.Position()
	page := backend.EventsPage{Events: []backend.Event{}}
	if j := b.journal(query.Queue); j != nil {
		j.forget(instant(b.now()))
		forgotten := j.last - uint64(len(j.events))
		after, page.Overtaken = query.Begin(forgotten+1, j.last)
		rest := j.events[min(after, j.last)-forgotten:]
		page.Events = append(page.Events, rest[:min(len(rest), query.Limit)]...)
		after += uint64(len(page.Events))
	}
	page.Next = strconv.FormatUint(after, 10)
	return page, nil
}
