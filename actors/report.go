package actors

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Counts says what became of the jobs that a worker took. Each lease counts once,
// when the store has confirmed its end:
//
//	Leased = Completed + Retried + Dead + Cancelled + Snoozed + Blocked +
//	         HandedBack + Returned + Interrupted + Abandoned + Lost + Unconfirmed +
//	         running
type Counts struct {
	// Leased counts the jobs that the store handed to this worker.
	Leased int `json:"leased"`
	// Completed ended well.
	Completed int `json:"completed"`
	// Retried failed and will be tried again.
	Retried int `json:"retried"`
	// Dead failed for good.
	Dead int `json:"dead"`
	// Cancelled were cancelled, by their handler or from outside, or expired.
	Cancelled int `json:"cancelled"`
	// Snoozed were put off by their handler.
	Snoozed int `json:"snoozed"`
	// Blocked wait for a worker that knows their kind.
	Blocked int `json:"blocked"`
	// HandedBack had not started, and are back at the front of their queue.
	HandedBack int `json:"handed_back"`
	// Returned were leased ahead, for executors that were busy for longer than
	// expected, and are back at the front of their queue for other workers.
	Returned int `json:"returned"`
	// Interrupted had started, ended because their context was cancelled by the
	// stop, and are back at the front of their queue.
	Interrupted int `json:"interrupted"`
	// Abandoned ignored their context and are back at the front of their queue
	// all the same. Their handlers may still run in this process.
	Abandoned int `json:"abandoned"`
	// Lost were taken by another worker, as their lease had expired.
	Lost int `json:"lost"`
	// Unconfirmed were settled, but the store never said so; where it did not
	// hear of it, they run again when their lease expires.
	Unconfirmed int `json:"unconfirmed"`
}

// Failed counts the attempts that failed.
func (c Counts) Failed() int { return c.Retried + c.Dead }

// Ended sums up all that are not running.
func (c Counts) Ended() int {
	return c.Completed + c.Retried + c.Dead + c.Cancelled + c.Snoozed + c.Blocked +
		c.HandedBack + c.Returned + c.Interrupted + c.Abandoned + c.Lost + c.Unconfirmed
}

// Ref names a job.
type Ref struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
	Kind  string `json:"kind"`
}

// Report is the account of a worker's life, given when it has stopped.
type Report struct {
	Worker string `json:"worker"`
	// State is StateStopped or StateCrashed.
	State State `json:"state"`
	// Reason says in words why the worker ended.
	Reason string `json:"reason"`
	// Err is why it crashed; nil if it did not.
	Err error `json:"-"`
	Counts
	// AbandonedJobs and UnconfirmedJobs list the jobs that are counted so.
	AbandonedJobs   []Ref `json:"abandoned_jobs,omitempty"`
	UnconfirmedJobs []Ref `json:"unconfirmed_jobs,omitempty"`
	// StartedAt is when the worker started, StoppedAt when it had stopped;
	// StopTook is the time from the first Stop until then.
	StartedAt time.Time     `json:"started_at"`
	StoppedAt time.Time     `json:"stopped_at"`
	StopTook  time.Duration `json:"stop_took"`
	// EventsDropped counts the events that Config.OnEvent was not told of, as it is too
	// slow.
	EventsDropped uint64 `json:"events_dropped,omitempty"`
	// Unrecorded counts the starts and ends of jobs that the figures in the store lack: the
	// store has not taken them yet, or was away for too long.
	Unrecorded uint64 `json:"unrecorded,omitempty"`
	// Gates says how each of Config.Gates was at the end.
	Gates []GateStatus `json:"gates,omitempty"`
	// Stuck names those whose code had not returned when the worker ended: the job
	// store with the call, the supervision strategy, a subscriber. Their goroutines are
	// left behind.
	Stuck []string `json:"stuck,omitempty"`
}

func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %v (%s): %d leased", r.State, r.StopTook.Round(time.Millisecond), r.Reason, r.Leased)
	for _, part := range r.parts() {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, strings.ReplaceAll(part.name, "_", " "))
		}
	}
	return b.String()
}

// LogValue makes a report readable in logs. Its keys are those of the JSON.
func (r *Report) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("state", string(r.State)), slog.String("reason", r.Reason),
		slog.Duration("stop_took", r.StopTook), slog.Int("leased", r.Leased),
	}
	for _, part := range r.parts() {
		if part.n > 0 {
			attrs = append(attrs, slog.Int(part.name, part.n))
		}
	}
	if len(r.Stuck) > 0 {
		attrs = append(attrs, slog.Any("stuck", r.Stuck))
	}
	return slog.GroupValue(attrs...)
}

// part is a count under its key in JSON.
type part struct {
	name string
	n    int
}

func (c Counts) parts() []part {
	return []part{
		{"completed", c.Completed}, {"retried", c.Retried}, {"dead", c.Dead},
		{"cancelled", c.Cancelled}, {"snoozed", c.Snoozed}, {"blocked", c.Blocked},
		{"handed_back", c.HandedBack}, {"returned", c.Returned},
		{"interrupted", c.Interrupted}, {"abandoned", c.Abandoned}, {"lost", c.Lost}, {"unconfirmed", c.Unconfirmed},
	}
}
