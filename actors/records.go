package actors

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// records gathers what the worker has to tell to the store: figures, added up by minute,
// queue and kind, and events, of which a batch has a bounded number. The recorder brings
// them there. A nil *records takes all and keeps nothing.
type records struct {
	worker string
	clock  *storeClock
	// most is how many events a batch has, but for those that tell of left out ones.
	most int

	mu     sync.Mutex
	series map[seriesKey]*tally
	// recent is the series that was last added to, as the next run mostly is of the same.
	recentKey seriesKey
	recent    *tally
	events    []backend.Event
	ordinary  int            // of events
	left      map[string]int // events left out, by queue, beside those of the series
	call      uint64
	sent      *backend.Record // that was not answered
	more      bool            // it had no room for all
	sentAt    time.Time
	farewell  bool
	// dropped counts what the store's figures lack, spilled what of it was for lack of
	// room since the last answer.
	dropped, spilled uint64
}

type seriesKey struct {
	queue, kind string
	minute      int64 // since 1970
}

// tally is what was counted of a queue and kind in a minute, and how many events about
// that were left out.
type tally struct {
	backend.Figures
	left int
}

const (
	// maxSeries bounds the series that wait for the store.
	maxSeries = 5000
	// recordAge is for how long a batch is kept while the store does not take it: less
	// than the store remembers calls, so that none counts twice.
	recordAge = 5 * time.Minute
)

func newRecords(config *Config, worker string, clock *storeClock) *records {
	if config.Record.Off {
		return nil
	}
	return &records{
		worker: worker, clock: clock, most: max(0, config.Record.Events),
		series: map[seriesKey]*tally{}, left: map[string]int{},
	}
}

// of returns the tally of a run's kind in a minute; nil if there is no room for more.
func (c *records) of(r *run, minute int64) *tally {
	job := &r.lease.Job
	key := seriesKey{job.Queue, job.Kind, minute}
	if c.recent != nil && key == c.recentKey {
		return c.recent
	}
	f := c.series[key]
	if f == nil {
		if len(c.series) >= maxSeries {
			c.spilled++
			return nil
		}
		f = &tally{}
		c.series[key] = f
	}
	c.recentKey, c.recent = key, f
	return f
}

// ended notes runs that the store has answered for.
func (c *records) ended(runs []*run, results []backend.SettleResult) {
	if c == nil {
		return
	}
	now := c.clock.now()
	minute := minuteOf(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, r := range runs {
		c.begun(r)
		result := &results[i]
		if result.Err != nil || result.Stale {
			continue
		}
		what := r.became(result.State)
		f := c.of(r, minute)
		if f != nil {
			*countOf(&f.Figures, what)++
			if r.started.Load() && r.ending != endingAbandoned {
				f.Running.Observe(r.result.Took)
			}
		}
		if c.room(r.lease.Job.Queue, what, f) {
			e := c.about(r, what, now)
			if r.ending != endingAbandoned {
				e.Took = r.result.Took
				if r.result.Err != nil {
					e.Error = cut(r.result.Err)
				}
			}
			c.events = append(c.events, e)
		}
	}
}

// countOf is where a kind of end is counted.
func countOf(f *backend.Figures, what jobs.EventType) *int64 {
	switch what {
	case jobs.EventCompleted:
		return &f.Completed
	case jobs.EventRetried:
		return &f.Retried
	case jobs.EventSnoozed:
		return &f.Snoozed
	case jobs.EventCancelled:
		return &f.Cancelled
	case jobs.EventHandedBack:
		return &f.HandedBack
	case jobs.EventParked:
		return &f.Parked
	default:
		return &f.Died
	}
}

// begun notes that a run has started, once.
func (c *records) begun(r *run) {
	if r.noted || !r.started.Load() {
		return
	}
	r.noted = true
	job := &r.lease.Job
	f := c.of(r, minuteOf(r.began))
	if f != nil {
		f.Started++
		if h := &r.lease.History; h.Attempts == 0 && h.Snoozes == 0 && r.lease.Crashes == 0 {
			f.Waiting.Observe(r.began.Sub(job.DueAt))
		}
	}
	if c.room(job.Queue, jobs.EventStarted, f) {
		c.events = append(c.events, c.about(r, jobs.EventStarted, r.began))
	}
}

// room reports whether one more event goes into the batch; else it is counted as left
// out, in the tally if there is one. What happens all the time has half of the room, so that the rest is not crowded
// out.
func (c *records) room(queue string, what jobs.EventType, f *tally) bool {
	plain := false
	switch what {
	case jobs.EventEnqueued, jobs.EventScheduled, jobs.EventStarted, jobs.EventCompleted, jobs.EventSnoozed, jobs.EventHandedBack:
		plain = true
	}
	if len(c.events) >= c.most || plain && c.ordinary >= c.most/2 {
		switch {
		case c.most == 0: // there is no journal
		case f != nil:
			f.left++
		default:
			c.left[queue]++
		}
		return false
	}
	if plain {
		c.ordinary++
	}
	return true
}

// about is an event about the job of a run.
func (c *records) about(r *run, what jobs.EventType, at time.Time) backend.Event {
	job := &r.lease.Job
	return backend.Event{
		Type: what, At: at, Queue: job.Queue, Worker: c.worker, ID: job.ID, Kind: job.Kind, Attempt: r.lease.Attempt(),
	}
}

// enqueued notes a job that this worker has stored.
func (c *records) enqueued(job *backend.Job, state backend.State) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enter(job, state)
}

// stored notes the jobs that clients of this worker have stored.
func (c *records) stored(batch []backend.NewJob, receipts []backend.Receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range receipts {
		if job, stored := jobs.Stored(&batch[i], &receipts[i]); stored {
			c.enter(&job, receipts[i].State)
		}
	}
}

func (c *records) enter(job *backend.Job, state backend.State) {
	what := jobs.EventEnqueued
	if state == backend.StateScheduled {
		what = jobs.EventScheduled
	}
	if c.room(job.Queue, what, nil) {
		c.events = append(c.events, backend.Event{
			Type: what, At: c.clock.now(), Queue: job.Queue, Worker: c.worker, ID: job.ID, Kind: job.Kind,
		})
	}
}

// tell notes what happened to the worker.
func (c *records) tell(what jobs.EventType, n int, err error) {
	if c == nil {
		return
	}
	e := backend.Event{Type: what, Worker: c.worker, Jobs: n}
	if err != nil {
		e.Error = cut(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if what == jobs.EventWorkerStopped {
		if c.farewell {
			return
		}
		c.farewell = true
	}
	if c.room("", what, nil) {
		e.At = c.clock.now()
		c.events = append(c.events, e)
	}
}

// next is the batch to bring to the store: the one that was not answered, or a new one;
// nil if there is nothing. running are the runs that have not ended.
func (c *records) next(running []*run) *backend.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range running {
		c.begun(r)
	}
	if c.sent != nil {
		return c.sent
	}
	record := &backend.Record{Worker: c.worker}
	for key, f := range c.series {
		if len(record.Figures) == backend.MaxRecordFigures {
			break
		}
		kind := key.kind
		if kind == "" {
			kind = backend.OtherKinds // what is stored of the job cannot be read
		}
		record.Figures = append(record.Figures, backend.Figure{
			Queue: key.queue, Kind: kind, Minute: time.Unix(key.minute*60, 0).UTC(), Figures: f.Figures,
		})
		if f.left > 0 {
			c.left[key.queue] += f.left
		}
		delete(c.series, key)
	}
	c.recent = nil
	n := min(len(c.events), backend.MaxRecordEvents)
	record.Events, c.events = c.events[:n:n], c.events[n:]
	if len(c.events) == 0 {
		c.events, c.ordinary = nil, 0
	}
	for queue, n := range c.left {
		if len(record.Events) == backend.MaxRecordEvents {
			break
		}
		record.Events = append(record.Events, backend.Event{
			Type: jobs.EventLeftOut, At: c.clock.now(), Queue: queue, Worker: c.worker, Jobs: n,
		})
		delete(c.left, queue)
	}
	if len(record.Figures) == 0 && len(record.Events) == 0 {
		return nil
	}
	c.more = len(c.series) > 0 || len(c.events) > 0 || len(c.left) > 0
	c.call++
	record.Call = c.call
	c.sent, c.sentAt = record, time.Now()
	return record
}

// answered notes that the store has taken the batch. It returns how much had no room, and
// whether the next batch is to follow at once: what came meanwhile has time.
func (c *records) answered() (spilled uint64, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spilled = c.spilled
	c.dropped += spilled
	c.sent, c.spilled = nil, 0
	return spilled, c.more
}

// failed notes that the store has not taken the batch, and drops what it will not take
// any more. It returns how much that is.
func (c *records) failed(err error) (dropped uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sent != nil && (errors.Is(err, backend.ErrRejected) || time.Since(c.sentAt) > recordAge) {
		for i := range c.sent.Figures {
			dropped += happenings(&c.sent.Figures[i].Figures)
		}
		c.sent = nil
	}
	oldest := minuteOf(c.clock.now().Add(-recordAge)) - 1
	for key, f := range c.series {
		if key.minute < oldest {
			dropped += happenings(&f.Figures)
			delete(c.series, key)
		}
	}
	c.recent = nil
	c.dropped += dropped
	return dropped
}

// missing counts what the store's figures lack: what was dropped, and what has not come
// there yet.
func (c *records) missing() (n uint64) {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n = c.dropped + c.spilled
	if c.sent != nil {
		for i := range c.sent.Figures {
			n += happenings(&c.sent.Figures[i].Figures)
		}
	}
	for _, f := range c.series {
		n += happenings(&f.Figures)
	}
	return n
}

// minuteOf is the number of an instant's minute since 1970.
func minuteOf(at time.Time) int64 { return at.Unix() / 60 }

// happenings is how many starts and ends are counted in figures.
func happenings(f *backend.Figures) uint64 {
	return uint64(f.Started + f.Completed + f.Retried + f.Snoozed + f.Cancelled + f.Died + f.HandedBack + f.Parked)
}

// cut is the text of an error as an event has it.
func cut(err error) string {
	text := strings.ToValidUTF8(fmt.Sprint(err), "\uFFFD")
	const more = "…"
	if len(text) > backend.MaxEventError {
		text = strings.ToValidUTF8(text[:backend.MaxEventError-len(more)], "") + more
	}
	return text
}
