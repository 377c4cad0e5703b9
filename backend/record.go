package backend

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Limits of what is recorded.
const (
	// MaxRecordFigures and MaxRecordEvents bound one call of Record.
	MaxRecordFigures = 1000
	MaxRecordEvents  = 1000
	// MaxFigureKinds is of how many kinds a queue has figures of their own at a time;
	// those of further kinds are summed up under OtherKinds.
	MaxFigureKinds = 100
	// MaxJournal is how many events a journal keeps at least, the last ones; a store may
	// keep some more.
	MaxJournal = 2000
	// MaxEvents is the largest page of events.
	MaxEvents = 1000
	// MaxEventError bounds the error of an event, in bytes.
	MaxEventError = 300

	// MinutesKept and HoursKept are how long figures are kept in steps of a minute and
	// of an hour. A journal is forgotten HoursKept after its last event.
	MinutesKept = 3 * time.Hour
	HoursKept   = 8 * 24 * time.Hour
)

// OtherKinds stands for the kinds beyond MaxFigureKinds, and for those that are not known.
// No kind has this name.
const OtherKinds = "*"

// Recorder keeps what has happened: of each queue figures over time and a journal of
// the last events. Nothing is decided by them: they are written by the workers, beside
// the work and some seconds later, and are incomplete where a worker vanished or the
// store was away for long.
type Recorder interface {
	// Record adds figures and events of one worker. It is atomic per queue. Of a queue
	// that is not there nothing is kept.
	//
	// After an error the whole call is to be repeated with the same Call number: what
	// was recorded the first time is not recorded again, as long as no other Record of
	// the same worker comes between.
	Record(ctx context.Context, record Record) error

	// Figures returns the figures of a queue over time. Of a queue that is not there it
	// answers a series without kinds, in which all is zero.
	Figures(ctx context.Context, query FiguresQuery) (Series, error)

	// Events returns a page of the journal of a queue, the oldest event first.
	Events(ctx context.Context, query EventsQuery) (EventsPage, error)
}

// Record is what one worker has to tell.
type Record struct {
	Worker string
	// Call numbers the worker's calls of Record, from 1, each new one higher.
	Call    uint64
	Figures []Figure
	Events  []Event
}

// Figure is what is to be added to the figures of a kind in a minute.
type Figure struct {
	Queue, Kind string
	// Minute is the beginning of the minute, by the store's clock. What is further back
	// than is kept, or more than a minute ahead, is left out.
	Minute time.Time
	Figures
}

// EventType says what an event is about; package jobs has the words.
type EventType string

// Event is an entry of a journal.
type Event struct {
	Type EventType `json:"type"`
	// At is when, by the store's clock as far as the worker knew it.
	At time.Time `json:"at"`
	// Queue is whose journal has it; empty for the journal of the workers.
	Queue  string `json:"queue,omitempty"`
	Worker string `json:"worker,omitempty"`
	// ID, Kind and Attempt are those of the job, if the event is about one.
	ID      string `json:"id,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Error is what the attempt failed with, cut to MaxEventError bytes.
	Error string `json:"error,omitempty"`
	// Took is how long the handler ran. In JSON it is in nanoseconds.
	Took time.Duration `json:"took,omitempty"`
	// Jobs is how many jobs it is about, if they are not one that is named.
	Jobs int `json:"jobs,omitempty"`
}

// EventsQuery asks for a page of a journal.
type EventsQuery struct {
	// Queue is whose journal; empty for the journal of the workers, in which they tell of
	// themselves.
	Queue string
	// After is Next of the page before. If it is empty, the page begins with the oldest
	// event that is kept.
	After string
	// Last, if it is not 0 and After is empty, has the page begin with the last ones:
	// as many as this, at most Limit.
	Last int
	// Limit is the size of the page: 1 to MaxEvents; 0 means DefaultPage.
	Limit int
}

// EventsPage is a part of a journal.
type EventsPage struct {
	Events []Event `json:"events"`
	// Next is where the journal goes on after these events, also if there are none yet:
	// the same query with it as After answers what came since.
	Next string `json:"next"`
	// Overtaken is true if events after the query's After were forgotten before they
	// were asked for.
	Overtaken bool `json:"overtaken,omitempty"`
}

// Check says what is wrong with a record, naming the first bad part.
func (r *Record) Check() error {
	switch {
	case r.Worker == "":
		return reject("the record names no worker")
	case r.Call == 0 || r.Call > 1<<53:
		return reject("the record has the call number %d; they go from 1", r.Call)
	case len(r.Figures) > MaxRecordFigures:
		return reject("%d figures in one call, %d are allowed", len(r.Figures), MaxRecordFigures)
	case len(r.Events) > MaxRecordEvents:
		return reject("%d events in one call, %d are allowed", len(r.Events), MaxRecordEvents)
	}
	for i := range r.Figures {
		if err := r.Figures[i].check(); err != nil {
			return fmt.Errorf("figure %d of %d: %w", i+1, len(r.Figures), err)
		}
	}
	for i := range r.Events {
		if err := r.Events[i].check(); err != nil {
			return fmt.Errorf("event %d of %d: %w", i+1, len(r.Events), err)
		}
	}
	return nil
}

func (f *Figure) check() error {
	if err := CheckQueue(f.Queue); err != nil {
		return err
	}
	if f.Kind != OtherKinds {
		if err := CheckKind(f.Kind); err != nil {
			return err
		}
	}
	if !f.Minute.Equal(f.Minute.Truncate(time.Minute)) || f.Minute.Unix() <= 0 || !expressible(f.Minute) {
		return reject("the minute is %v; give the beginning of one after 1970", f.Minute)
	}
	return f.Figures.check()
}

func (e *Event) check() error {
	if e.Queue != "" {
		if err := CheckQueue(e.Queue); err != nil {
			return err
		}
	}
	if err := checkName("event", string(e.Type)); err != nil {
		return err
	}
	switch {
	case len(e.ID) > MaxIDLength, len(e.Kind) > MaxNameLength, len(e.Worker) > MaxIDLength:
		return reject("the names in it are longer than those of jobs may be")
	case len(e.Error) > MaxEventError:
		return reject("its error has %d bytes, %d are allowed; cut it", len(e.Error), MaxEventError)
	case e.Attempt < 0, e.Jobs < 0, e.Took < 0:
		return reject("it has a negative number")
	case !expressible(e.At):
		return reject("it is of the year %d; the years go from 0 to 9999", e.At.Year())
	}
	return nil
}

// Check says what is wrong with a query and sets its default limit.
func (q *EventsQuery) Check() error {
	if q.Queue != "" {
		if err := CheckQueue(q.Queue); err != nil {
			return err
		}
	}
	if q.Limit == 0 {
		q.Limit = DefaultPage
	}
	switch {
	case q.Limit < 0 || q.Limit > MaxEvents:
		return reject("a page of %d events; 1 to %d are allowed", q.Limit, MaxEvents)
	case q.Last < 0:
		return reject("the last %d events; give a number from 1, or 0 for all that are kept", q.Last)
	}
	q.Last = min(q.Last, q.Limit)
	_, err := q.Position()
	return err
}

// Position is After as a number: that of the event that was read last, 0 for none. The
// events of a journal are numbered from 1 without gaps, anew after it was forgotten.
func (q *EventsQuery) Position() (uint64, error) {
	if q.After == "" {
		return 0, nil
	}
	at, err := strconv.ParseUint(q.After, 10, 63)
	if err != nil {
		return 0, reject("the position %q is none; give Next of the page before, or nothing", q.After)
	}
	return at, nil
}

// Begin is after which event the page begins, of a journal that has those from first to
// last, and whether the query was overtaken. It is for stores.
func (q *EventsQuery) Begin(first, last uint64) (after uint64, overtaken bool) {
	after, _ = q.Position()
	switch forgotten := first - 1; {
	case q.After == "" && q.Last > 0:
		return max(forgotten, last-min(last, uint64(q.Last))), false
	case q.After == "":
		return forgotten, false
	case last == 0: // there is nothing, be it that it was forgotten
		return after, false
	case after < forgotten, after > last:
		return forgotten, true
	}
	return after, false
}
