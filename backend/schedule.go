package backend

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
)

// Limits of schedules.
const (
	// MaxSchedules is how many schedules a queue holds (a shard, where it has
	// several).
	MaxSchedules = 10_000
	// MaxSpec is the largest spec of a schedule in bytes.
	MaxSpec = 64 << 10
	// MaxSchedulesPage is the largest page of schedules, MaxTicks the largest
	// batch of ticks.
	MaxSchedulesPage = 100
	MaxTicks         = 100
)

// Scheduler keeps what is to be enqueued again and again. The store knows of a
// schedule when it is next due and what its last job was; what comes after that is
// computed by whoever ticks it. As a tick is a compare-and-advance, any number of
// workers may try each and none leads: one of them enqueues the job.
type Scheduler interface {
	// PutSchedule stores a schedule and answers it with its new version. It is new
	// if its Version is 0, else it takes the place of the one of that version. If
	// what is stored differs in its version the error wraps ErrConflict, unless it
	// has the same Spec, Next and Paused already, as after a lost reply. A queue
	// with MaxSchedules of them takes no new one: ErrFull.
	PutSchedule(ctx context.Context, schedule Schedule) (Schedule, error)

	// DeleteSchedule removes a schedule, or answers ErrNotFound. Its jobs stay.
	DeleteSchedule(ctx context.Context, queue, name string) error

	// Schedules returns one page of the schedules of a queue, in no order that means
	// something, or one by its name. Those that come and go meanwhile may be missed.
	Schedules(ctx context.Context, query SchedulesQuery) (SchedulesPage, error)

	// Tick advances schedules that are due and enqueues their jobs, and answers one
	// result per tick, in order. Each tick is one atomic step; a repeated one changes
	// nothing more.
	Tick(ctx context.Context, ticks []Tick) (TickReply, error)
}

// Schedule is what a store keeps of a schedule.
type Schedule struct {
	// Queue is where it lives, with its jobs; Name is unique there, and made of what
	// kinds are made of.
	Queue string `json:"queue"`
	Name  string `json:"name"`
	// Spec is opaque to the store: when, which job, with which policies. At most
	// MaxSpec bytes.
	Spec []byte `json:"spec,omitempty"`
	// Next is the instant of the next tick, to the millisecond; zero if there is
	// none.
	Next time.Time `json:"next,omitzero"`
	// Paused schedules are not to be ticked.
	Paused bool `json:"paused,omitempty"`

	// What follows is set by the store. Version is another one after each change.
	Version uint64 `json:"version"`
	// Last is the instant of the last tick that enqueued a job, LastJob the job's
	// id, and LastState its state, empty if it has been forgotten.
	Last      time.Time `json:"last,omitzero"`
	LastJob   string    `json:"last_job,omitempty"`
	LastState State     `json:"last_state,omitempty"`
	// Enqueued counts the jobs, Skipped the ticks that had none because of their
	// overlap or because they were missed.
	Enqueued uint64 `json:"enqueued"`
	Skipped  uint64 `json:"skipped"`
}

// Same reports whether two schedules have in common what is put.
func (s *Schedule) Same(other *Schedule) bool {
	return s.Queue == other.Queue && s.Name == other.Name && bytes.Equal(s.Spec, other.Spec) &&
		s.Next.Equal(other.Next) && s.Paused == other.Paused
}

// SchedulesQuery asks for a page of schedules.
type SchedulesQuery struct {
	Queue string
	// Name, if it is not empty, is that of the only one that is asked for.
	Name string
	// Cursor is empty for the first page, and After of the page before else.
	Cursor string
	// Limit is the size of the page: 1 to MaxSchedulesPage; 0 means that.
	Limit int
}

// SchedulesPage is one page. It may be shorter than its limit although others
// follow.
type SchedulesPage struct {
	Schedules []Schedule
	// After is the cursor of the following page, empty after the last.
	After string
	// Now is the store's clock.
	Now time.Time
}

// Overlap says what a tick does while the last job of its schedule has not
// finished.
type Overlap uint8

const (
	// OverlapAllow enqueues the new job all the same.
	OverlapAllow Overlap = iota + 1
	// OverlapSkip enqueues none and goes on to the next instant.
	OverlapSkip
	// OverlapWait leaves the tick due until the last job has finished.
	OverlapWait
	// OverlapCancel cancels the last job, as Operator.Cancel does, and enqueues the
	// new one.
	OverlapCancel
)

var overlaps = [...]string{"", "allow", "skip", "wait", "cancel"}

func (o Overlap) String() string {
	if int(o) < len(overlaps) && o > 0 {
		return overlaps[o]
	}
	return "invalid"
}

// ParseOverlap undoes String; of another text it makes one that is not valid.
func ParseOverlap(text string) Overlap {
	for o, name := range overlaps {
		if name == text {
			return Overlap(o)
		}
	}
	return 0
}

// Tick advances a schedule.
type Tick struct {
	Queue, Name string
	// Version is that of the schedule from which the tick was computed.
	Version uint64
	// At is the instant of the tick, to the millisecond.
	At time.Time
	// Next is the instant of the following one; zero if there is none.
	Next time.Time
	// Missed counts the instants that are passed over: they go into Skipped.
	Missed uint64
	// Job is to be enqueued, in the schedule's queue, under the id that TickID
	// makes of the name and At. nil if At is passed over as well.
	Job *NewJob
	// Overlap says what to do while the last job has not finished.
	Overlap Overlap
}

const tickPrefix = "schedule:"

// tickTime is how an instant is written in an id: in a fixed width, to the
// millisecond.
const tickTime = "2006-01-02T15:04:05.000Z"

// TickID is the id of the job of a tick. It is the same whoever ticks, so that no
// repetition makes a second job.
func TickID(name string, at time.Time) string {
	return tickPrefix + name + "@" + at.UTC().Format(tickTime)
}

// ParseTickID undoes TickID; ok is false for other ids.
func ParseTickID(id string) (name string, at time.Time, ok bool) {
	rest, ok := strings.CutPrefix(id, tickPrefix)
	stop := strings.LastIndexByte(rest, '@')
	if !ok || stop < 0 {
		return "", time.Time{}, false
	}
	at, err := time.Parse(tickTime, rest[stop+1:])
	if err != nil {
		return "", time.Time{}, false
	}
	return rest[:stop], at, true
}

// ShardKey is the part of a job's id that decides its shard, where a queue has
// several: all of it, but for the jobs of a schedule what they have in common, as a
// tick is atomic with its job, and for those with a unique key, see [KeyedID], the key.
func ShardKey(id string) string {
	if key := keyOf(id); key != "" {
		return key
	}
	if strings.HasPrefix(id, tickPrefix) {
		if stop := strings.LastIndexByte(id, '@'); stop > 0 {
			return id[:stop]
		}
	}
	return id
}

// TickOutcome is what became of a tick.
type TickOutcome uint8

const (
	// TickEnqueued: the job is stored, by this call or before, and the schedule has
	// advanced.
	TickEnqueued TickOutcome = iota + 1
	// TickPassed: the schedule has advanced without a job, as the tick has none.
	TickPassed
	// TickSkipped: it has advanced without a job because of OverlapSkip, or as another
	// job holds the unique key of the new one.
	TickSkipped
	// TickWaits: nothing has changed, because of OverlapWait.
	TickWaits
	// TickEarly: nothing has changed, as At has not come by the store's clock.
	TickEarly
	// TickStale: nothing has changed, as the schedule is another one by now, or gone.
	TickStale
)

var tickOutcomes = [...]string{"", "enqueued", "passed", "skipped", "waits", "early", "stale"}

func (o TickOutcome) String() string {
	if int(o) < len(tickOutcomes) && o > 0 {
		return tickOutcomes[o]
	}
	return "invalid"
}

// TickResult says what became of one tick.
type TickResult struct {
	Outcome TickOutcome
	// Schedule is as it is afterwards; it has no Name if it is gone.
	Schedule Schedule
	// Err is why the tick could not be done: nothing has changed.
	Err error
}

// TickReply answers ticks.
type TickReply struct {
	Results []TickResult
	// Now is the store's clock.
	Now time.Time
}

// Check says what is wrong with a schedule that is to be stored.
func (s *Schedule) Check() error {
	if err := CheckQueue(s.Queue); err != nil {
		return err
	}
	if err := CheckSchedule(s.Name); err != nil {
		return err
	}
	switch {
	case len(s.Spec) > MaxSpec:
		return reject("the spec has %d bytes, %d are allowed; store large data elsewhere and say in the args where it is", len(s.Spec), MaxSpec)
	case !wholeMilli(s.Next):
		return reject("the next instant is %v; give one in whole milliseconds after 1970", s.Next)
	}
	return nil
}

// CheckSchedule says what is wrong with the name of a schedule.
func CheckSchedule(name string) error {
	if err := checkName("schedule", name); err != nil {
		return err
	}
	return checkLetters("the name of the schedule", name, "_-.:/")
}

// Check says what is wrong with a query and sets its default limit.
func (q *SchedulesQuery) Check() error {
	if q.Limit == 0 {
		q.Limit = MaxSchedulesPage
	}
	if q.Limit < 0 || q.Limit > MaxSchedulesPage {
		return reject("a page of %d schedules; 1 to %d are allowed", q.Limit, MaxSchedulesPage)
	}
	return CheckQueue(q.Queue)
}

// CheckTicks says what is wrong with a batch of ticks, naming the first bad one.
func CheckTicks(ticks []Tick) error {
	if len(ticks) > MaxTicks {
		return reject("%d ticks in one call, %d are allowed", len(ticks), MaxTicks)
	}
	for i := range ticks {
		if err := ticks[i].Check(); err != nil {
			return &Error{Op: "tick", Queue: ticks[i].Queue, Err: fmt.Errorf("schedule %q: tick %d of %d: %w", ticks[i].Name, i+1, len(ticks), err)}
		}
	}
	return nil
}

// Check says what is wrong with a tick.
func (t *Tick) Check() error {
	if err := CheckQueue(t.Queue); err != nil {
		return err
	}
	if err := CheckSchedule(t.Name); err != nil {
		return err
	}
	switch {
	case t.At.IsZero() || !wholeMilli(t.At):
		return reject("the instant is %v; give one in whole milliseconds after 1970", t.At)
	case !wholeMilli(t.Next):
		return reject("the next instant is %v; give one in whole milliseconds after 1970", t.Next)
	case t.Overlap.String() == "invalid":
		return reject("overlap %d is none", t.Overlap)
	case t.Job == nil:
		return nil
	case t.Job.Queue != t.Queue:
		return reject("the job is for queue %q and the schedule in %q; they must be the same", t.Job.Queue, t.Queue)
	case t.Job.ID != TickID(t.Name, t.At):
		return reject("the job has the id %q; it must be %q", t.Job.ID, TickID(t.Name, t.At))
	}
	return t.Job.Check()
}

// wholeMilli reports whether a store can keep an instant: zero, or whole
// milliseconds after 1970.
func wholeMilli(t time.Time) bool {
	return t.IsZero() || t.Nanosecond()%int(time.Millisecond) == 0 && t.Unix() > 0 && t.Year() < 10_000
}
