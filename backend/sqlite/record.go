package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// workersJournal is the queue under which the journal of the workers is kept.
const workersJournal = 0

// bases are the steps in which figures are kept.
var bases = []time.Duration{time.Minute, time.Hour}

// Record implements backend.Recorder.
func (b *Backend) Record(ctx context.Context, record backend.Record) error {
	const op = "record"
	if err := record.Check(); err != nil {
		return &backend.Error{Op: op, Err: err}
	}
	events := make([]string, len(record.Events))
	for i := range record.Events {
		e := record.Events[i]
		e.At = e.At.UTC()
		data, err := json.Marshal(&e)
		if err != nil {
			return &backend.Error{Op: op, Queue: e.Queue, Err: fmt.Errorf("%w: event %d: %w", backend.ErrRejected, i+1, err)}
		}
		events[i] = string(data)
	}
	return b.write(ctx, op, "", 1, func(t *txn) error { return t.record(&record, events) })
}

func (t *txn) record(record *backend.Record, events []string) error {
	fresh, err := t.firstRecord(record.Worker, record.Call)
	if err != nil || !fresh {
		return err
	}
	kinds := map[string]*figureKinds{}
	for i := range record.Figures {
		f := &record.Figures[i]
		q, err := t.find(f.Queue)
		if err != nil {
			return err
		}
		if q == nil {
			continue
		}
		known := kinds[q.name]
		if known == nil {
			if known, err = q.figureKinds(); err != nil {
				return err
			}
			kinds[q.name] = known
		}
		if err := q.addFigure(known, f); err != nil {
			return err
		}
	}
	journals := map[int64]int64{}
	for i := range record.Events {
		id := int64(workersJournal)
		if name := record.Events[i].Queue; name != "" {
			q, err := t.find(name)
			if err != nil {
				return err
			}
			if q == nil {
				continue
			}
			id = q.id
		}
		if err := t.addEvent(journals, id, events[i]); err != nil {
			return err
		}
	}
	for id, last := range journals {
		if _, err := t.exec(`DELETE FROM caddis_event WHERE queue = ? AND number <= ?`, id, last-backend.MaxJournal); err != nil {
			return err
		}
	}
	return nil
}

// firstRecord notes a call and reports whether it was not made before.
func (t *txn) firstRecord(worker string, call uint64) (bool, error) {
	var last int64
	known, err := one(t, `SELECT call FROM caddis_recorder WHERE worker = ?`, []any{worker}, &last)
	if err != nil || known && int64(call) <= last {
		return false, err
	}
	if _, err := t.exec(`INSERT OR REPLACE INTO caddis_recorder (worker, used, call) VALUES (?, ?, ?)`, worker, t.now, int64(call)); err != nil {
		return false, err
	}
	if !known {
		_, err = t.exec(`DELETE FROM caddis_recorder WHERE worker IN (SELECT worker FROM caddis_recorder ORDER BY used DESC LIMIT -1 OFFSET ?)`, maxCallers)
	}
	return true, err
}

// figureKinds are the kinds that a queue has figures of.
type figureKinds struct{ seen map[string]bool }

func (q *queue) figureKinds() (*figureKinds, error) {
	if _, err := q.t.exec(`DELETE FROM caddis_figure_kind WHERE queue = ? AND at <= ?`, q.id, q.t.now-millis(backend.HoursKept)); err != nil {
		return nil, err
	}
	names, err := namesOf(q.t, `SELECT kind FROM caddis_figure_kind WHERE queue = ?`, q.id)
	k := &figureKinds{seen: map[string]bool{}}
	for _, name := range names {
		k.seen[name] = true
	}
	return k, err
}

// addFigure adds figures to those of their minute and hour.
func (q *queue) addFigure(known *figureKinds, f *backend.Figure) error {
	kind := f.Kind
	if !known.seen[kind] && len(known.seen) >= backend.MaxFigureKinds {
		kind = backend.OtherKinds
	}
	known.seen[kind] = true
	if _, err := q.t.exec(`INSERT OR REPLACE INTO caddis_figure_kind (queue, kind, at) VALUES (?, ?, ?)`, q.id, kind, q.t.now); err != nil {
		return err
	}
	for _, base := range bases {
		if !backend.Keeps(base, f.Minute, instant(q.t.now)) {
			continue
		}
		step, at, sum := int64(base/time.Second), f.Minute.Truncate(base).Unix(), f.Figures
		var text string
		found, err := one(q.t, `SELECT data FROM caddis_figure WHERE queue = ? AND step = ? AND at = ? AND kind = ?`, []any{q.id, step, at, kind}, &text)
		if err != nil {
			return err
		}
		if found {
			if sum, err = backend.ParseFigures(text); err != nil {
				q.t.store.log.Error("stored figures cannot be read and are replaced", "queue", q.name, "kind", kind, "error", err)
			}
			sum.Add(&f.Figures)
		}
		if _, err := q.t.exec(`INSERT OR REPLACE INTO caddis_figure (queue, step, at, kind, data) VALUES (?, ?, ?, ?, ?)`,
			q.id, step, at, kind, sum.Text()); err != nil {
			return err
		}
	}
	return nil
}

// addEvent appends an event to a journal. journals has the numbers of the last events.
func (t *txn) addEvent(journals map[int64]int64, id int64, data string) error {
	last, known := journals[id]
	if !known {
		if err := t.forgetEvents(id); err != nil {
			return err
		}
		var number sql.NullInt64
		if _, err := one(t, `SELECT max(number) FROM caddis_event WHERE queue = ?`, []any{id}, &number); err != nil {
			return err
		}
		last = number.Int64
	}
	journals[id] = last + 1
	_, err := t.exec(`INSERT INTO caddis_event (queue, number, at, data) VALUES (?, ?, ?, ?)`, id, last+1, t.now, data)
	return err
}

// forgetEvents removes a journal to which nothing was added for long.
func (t *txn) forgetEvents(id int64) error {
	var at int64
	found, err := one(t, `SELECT at FROM caddis_event WHERE queue = ? ORDER BY number DESC LIMIT 1`, []any{id}, &at)
	if err != nil || !found || at > t.now-millis(backend.HoursKept) {
		return err
	}
	_, err = t.exec(`DELETE FROM caddis_event WHERE queue = ?`, id)
	return err
}

// forgetRecords removes what was recorded of the queue and is kept no longer.
func (q *queue) forgetRecords() error {
	for _, base := range bases {
		kept := backend.MinutesKept
		if base == time.Hour {
			kept = backend.HoursKept
		}
		_, err := q.t.exec(`DELETE FROM caddis_figure WHERE queue = ? AND step = ? AND at < ?`,
			q.id, int64(base/time.Second), instant(q.t.now).Add(-kept).Truncate(base).Unix())
		if err != nil {
			return err
		}
	}
	return q.t.forgetEvents(q.id)
}

// Figures implements backend.Recorder.
func (b *Backend) Figures(ctx context.Context, query backend.FiguresQuery) (s backend.Series, err error) {
	const op = "figures"
	if err := query.Check(); err != nil {
		return s, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	err = b.read(ctx, op, query.Queue, func(x executor) error {
		now, err := b.readNow(x)
		if err != nil {
			return err
		}
		var base time.Duration
		s, base = backend.NewSeries(query, instant(now))
		var id int64
		found, err := one(x, `SELECT id FROM caddis_queue WHERE name = ?`, []any{query.Queue}, &id)
		if err != nil || !found {
			return err
		}
		kinds, err := namesOf(x, `SELECT kind FROM caddis_figure_kind WHERE queue = ? AND at > ? ORDER BY kind`, id, now-millis(backend.HoursKept))
		if err != nil {
			return err
		}
		s.Kinds = append(s.Kinds, kinds...)
		from, to, some := s.Span()
		if !some {
			return nil
		}
		return each(x, `SELECT at, data FROM caddis_figure WHERE queue = ? AND step = ? AND at >= ? AND at < ? AND (kind = ? OR ? = '')`,
			[]any{id, int64(base / time.Second), from.Unix(), to.Unix(), query.Kind, query.Kind}, func(rows *sql.Rows) error {
				var at int64
				var text string
				if err := rows.Scan(&at, &text); err != nil {
					return err
				}
				f, err := backend.ParseFigures(text)
				if err != nil {
					b.log.Error("stored figures cannot be read", "queue", query.Queue, "error", err)
				}
				s.Add(time.Unix(at, 0), &f)
				return nil
			})
	})
	return s, err
}

// Events implements backend.Recorder.
func (b *Backend) Events(ctx context.Context, query backend.EventsQuery) (page backend.EventsPage, err error) {
	const op = "events"
	if err := query.Check(); err != nil {
		return page, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	err = b.read(ctx, op, query.Queue, func(x executor) error {
		page = backend.EventsPage{Events: []backend.Event{}}
		id := int64(workersJournal)
		if query.Queue != "" {
			if _, err := one(x, `SELECT id FROM caddis_queue WHERE name = ?`, []any{query.Queue}, &id); err != nil {
				return err
			}
			if id == workersJournal {
				id = -1 // there is no such queue
			}
		}
		var first, last sql.NullInt64
		if _, err := one(x, `SELECT (SELECT min(number) FROM caddis_event WHERE queue = ?1), (SELECT max(number) FROM caddis_event WHERE queue = ?1)`,
			[]any{id}, &first, &last); err != nil {
			return err
		}
		after, overtaken := query.Begin(uint64(max(1, first.Int64)), uint64(last.Int64))
		page.Overtaken = overtaken
		err := each(x, `SELECT data FROM caddis_event WHERE queue = ? AND number > ? ORDER BY number LIMIT ?`,
			[]any{id, int64(after), query.Limit}, func(rows *sql.Rows) error {
				var data string
				if err := rows.Scan(&data); err != nil {
					return err
				}
				var e backend.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					b.log.Error("a stored event cannot be read", "queue", query.Queue, "error", err)
				}
				page.Events = append(page.Events, e)
				after++
				return nil
			})
		page.Next = strconv.FormatUint(after, 10)
		return err
	})
	return page, err
}
