package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// The figures of minutes are in a hash per hour, those of hours in a hash per day.
const (
	minutesKept = int64(backend.MinutesKept / time.Minute)
	hoursKept   = int64(backend.HoursKept / time.Hour)
)

// figuresKey is the hash that has the figures of a minute or of an hour, by its number
// since 1970.
func figuresKey(base time.Duration, number int64) string {
	if base == time.Minute {
		return "figures:m:" + strconv.FormatInt(number/60, 10)
	}
	return "figures:h:" + strconv.FormatInt(number/24, 10)
}

// Record implements backend.Recorder. What is recorded of a queue that has several shards
// lies in the first one.
func (b *Backend) Record(ctx context.Context, record backend.Record) error {
	const op = "record"
	if err := record.Check(); err != nil {
		return b.fail(op, "", err)
	}
	calls := map[string]*recordCall{}
	var order []*call
	// to returns the call to a queue, the one to the workers' journal for none, and nil
	// if there is no such queue.
	to := func(queue string) (*recordCall, error) {
		if c, known := calls[queue]; known {
			return c, nil
		}
		base := b.directoryKey("")
		if queue != "" {
			q, found, err := b.find(ctx, queue)
			if err != nil || !found {
				calls[queue] = nil
				return nil, err
			}
			base = q.tags[0].base
		}
		calls[queue] = &recordCall{base: base}
		return calls[queue], nil
	}
	for i := range record.Figures {
		c, err := to(record.Figures[i].Queue)
		if err != nil {
			return b.fail(op, record.Figures[i].Queue, err)
		}
		if c != nil {
			c.addFigure(&record.Figures[i])
		}
	}
	for i := range record.Events {
		c, err := to(record.Events[i].Queue)
		if err == nil && c != nil {
			err = c.addEvent(record.Events[i])
		}
		if err != nil {
			return b.fail(op, record.Events[i].Queue, err)
		}
	}
	for _, c := range calls {
		if c != nil {
			order = append(order, c.call(record.Worker, record.Call))
		}
	}
	if err := b.run(ctx, order...); err != nil {
		return b.fail(op, "", err)
	}
	for _, c := range order {
		if _, err := c.result(); err != nil {
			return b.fail(op, "", err)
		}
	}
	return nil
}

// recordCall gathers what is recorded of one queue.
type recordCall struct {
	base            string
	hashes          []string
	figures, events []any
}

// place is that of a hash among those of the call.
func (c *recordCall) place(hash string) int {
	i := slices.Index(c.hashes, hash)
	if i < 0 {
		i = len(c.hashes)
		c.hashes = append(c.hashes, hash)
	}
	return i + 1
}

func (c *recordCall) addFigure(f *backend.Figure) {
	minute := f.Minute.Unix() / 60
	c.figures = append(c.figures, minute, c.place(figuresKey(time.Minute, minute)), c.place(figuresKey(time.Hour, minute/60)),
		f.Kind, f.Figures.Text())
}

func (c *recordCall) addEvent(e backend.Event) error {
	e.At = e.At.UTC()
	data, err := json.Marshal(&e)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrRejected, err)
	}
	c.events = append(c.events, data)
	return nil
}

func (c *recordCall) call(worker string, number uint64) *call {
	keys := append([]string{"last:r:" + worker}, c.hashes...)
	made := recordScript.on(c.base, keys...)
	made.add(number, backend.MaxFigureKinds, backend.OtherKinds, backend.MaxJournal, minutesKept, hoursKept, len(c.figures)/5)
	made.add(c.figures...)
	made.add(c.events...)
	return made
}

// on makes a call of a script on the keys that begin with base: its own, and more.
func (s *script) on(base string, more ...string) *call {
	args := s.head(func(what string) string { return base + what })
	for _, key := range more {
		args = append(args, base+key)
	}
	args[2] = len(args) - 3
	return &call{script: s, args: args}
}

// Figures implements backend.Recorder. Where they are depends on the server's clock, so
// it asks once more if that shows another time than was thought.
func (b *Backend) Figures(ctx context.Context, query backend.FiguresQuery) (backend.Series, error) {
	const op = "figures"
	if err := query.Check(); err != nil {
		return backend.Series{}, b.fail(op, query.Queue, err)
	}
	q, _, err := b.find(ctx, query.Queue)
	if err != nil {
		return backend.Series{}, b.fail(op, query.Queue, err)
	}
	for now, tries := time.Now(), 0; ; tries++ {
		thought := now
		s, base := backend.NewSeries(query, thought)
		w := window{kind: query.Kind, base: base}
		w.span(&s)
		reply, err := b.list(ctx, w.call(q.tags[0].base))
		if err != nil {
			return backend.Series{}, b.fail(op, query.Queue, err)
		}
		now = time.UnixMilli(asInt(reply[0]))
		if tries < 2 && !now.Truncate(base).Equal(thought.Truncate(base)) {
			continue
		}
		s.Now = now.UTC()
		kinds, _ := reply[1].([]any)
		for _, kind := range kinds {
			s.Kinds = append(s.Kinds, asString(kind))
		}
		slices.Sort(s.Kinds)
		hashes, _ := reply[2].([]any)
		for i := range min(len(hashes), len(w.numbers)) {
			texts, _ := hashes[i].([]any)
			for j := range min(len(texts), len(w.numbers[i])) {
				f, err := backend.ParseFigures(asString(texts[j]))
				if err != nil {
					b.log.Error("stored figures cannot be read", "queue", query.Queue, "error", err)
				}
				s.Add(time.Unix(w.numbers[i][j]*int64(base/time.Second), 0), &f)
			}
		}
		return s, nil
	}
}

// window is what is read for a series: of each hash the numbers of minutes or hours.
type window struct {
	kind    string
	base    time.Duration
	hashes  []string
	numbers [][]int64
}

func (w *window) span(s *backend.Series) {
	from, to, some := s.Span()
	if !some {
		return
	}
	unit := int64(w.base / time.Second)
	for number := from.Unix() / unit; number*unit < to.Unix(); number++ {
		hash := figuresKey(w.base, number)
		if n := len(w.hashes); n == 0 || w.hashes[n-1] != hash {
			w.hashes, w.numbers = append(w.hashes, hash), append(w.numbers, nil)
		}
		last := len(w.numbers) - 1
		w.numbers[last] = append(w.numbers[last], number)
	}
}

func (w *window) call(base string) *call {
	c := figuresScript.on(base, w.hashes...)
	c.add(hoursKept)
	for _, numbers := range w.numbers {
		c.add(len(numbers))
		for _, number := range numbers {
			c.add(strings.TrimRight(strconv.FormatInt(number, 10)+" "+w.kind, " "))
		}
	}
	return c
}

// Events implements backend.Recorder.
func (b *Backend) Events(ctx context.Context, query backend.EventsQuery) (backend.EventsPage, error) {
	const op = "events"
	fail := func(err error) (backend.EventsPage, error) {
		return backend.EventsPage{}, b.fail(op, query.Queue, err)
	}
	if err := query.Check(); err != nil {
		return fail(err)
	}
	base := b.directoryKey("")
	if query.Queue != "" {
		q, _, err := b.find(ctx, query.Queue)
		if err != nil {
			return fail(err)
		}
		base = q.tags[0].base
	}
	c := eventsScript.on(base)
	c.add(query.After, query.Last, query.Limit)
	reply, err := b.list(ctx, c)
	if err != nil {
		return fail(err)
	}
	if len(reply) != 3 {
		return fail(fmt.Errorf("%w: the journal was answered by %d values", backend.ErrUnavailable, len(reply)))
	}
	entries, _ := reply[2].([]any)
	page := backend.EventsPage{Events: make([]backend.Event, len(entries))}
	after, overtaken := query.Begin(uint64(max(1, asInt(reply[0]))), uint64(asInt(reply[1])))
	for i, entry := range entries {
		if err := json.Unmarshal([]byte(asString(entry)), &page.Events[i]); err != nil {
			b.log.Error("a stored event cannot be read", "queue", query.Queue, "error", err)
		}
	}
	page.Overtaken, page.Next = overtaken, strconv.FormatUint(after+uint64(len(entries)), 10)
	return page, nil
}
