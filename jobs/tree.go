package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// WorkerTree is what a worker tells of itself, actor by actor, while somebody looks (see
// [Client.WatchWorkers]) and while it stops. All instants are by the store's clock, as far
// as the worker knows it.
type WorkerTree struct {
	Worker string `json:"worker"`
	// At is when it was so.
	At time.Time `json:"at,omitzero"`
	// State is that of the worker, Since when it began.
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Stop is how far a stop is; nil if none has begun.
	Stop *WorkerStop `json:"stop,omitempty"`
	// Concurrency is how many executors there are, Running how many of them have a job,
	// Unconfirmed how many settlements the store has not confirmed yet.
	Concurrency int `json:"concurrency"`
	Running     int `json:"running"`
	Unconfirmed int `json:"unconfirmed,omitempty"`
	// StoreError is what the store's last failure said; empty while it answers.
	StoreError string `json:"store_error,omitempty"`
	// Parts are the actors below the supervisor, in the order in which they began.
	Parts []WorkerPart `json:"parts,omitempty"`
	// Executors are those that have a job, the one that has run longest first. Omitted
	// counts those of which there was no room to tell.
	Executors []WorkerExecutor `json:"executors,omitempty"`
	Omitted   int              `json:"omitted,omitempty"`
	// Report is the account of a worker that has stopped; it is then the last that the
	// worker told.
	Report *WorkerReport `json:"report,omitempty"`
}

// WorkerStop is the timetable of a stop.
type WorkerStop struct {
	Began time.Time `json:"began"`
	// CancelAt is when the contexts of the jobs that still run are cancelled, HandBackAt
	// when they are handed back, EndAt when the stop is over at the latest.
	CancelAt   time.Time `json:"cancel_at"`
	HandBackAt time.Time `json:"hand_back_at"`
	EndAt      time.Time `json:"end_at"`
}

// Told says in words how far the stop is at an instant.
func (s *WorkerStop) Told(at time.Time) string {
	step := func(what string, due time.Time) string {
		if due.After(at) {
			return fmt.Sprintf("are %s in %v", what, tenths(due.Sub(at)))
		}
		return fmt.Sprintf("were %s %v ago", what, tenths(at.Sub(due)))
	}
	return fmt.Sprintf("It began %v ago. Jobs %s, those that are left %s, and all is over in %v at the latest.",
		tenths(at.Sub(s.Began)), step("cancelled", s.CancelAt), step("handed back", s.HandBackAt), tenths(s.EndAt.Sub(at)))
}

// WorkerPart is an actor of a worker: fetcher, pool, settler, recorder, keeper or clock.
type WorkerPart struct {
	Name string `json:"name"`
	// Ended is true if it has ended, as all do in a stop. Failures counts how often it
	// failed and was started again.
	Ended    bool `json:"ended,omitempty"`
	Failures int  `json:"failures,omitempty"`
	// Does says in words what it has in hand; it may be empty.
	Does string `json:"does,omitempty"`
}

// WorkerExecutor is an executor and its job.
type WorkerExecutor struct {
	Name  string `json:"name"`
	Queue string `json:"queue"`
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	// Began is when the handler was called; zero before.
	Began time.Time `json:"began,omitzero"`
	// CancelledAt is when the handler's context was cancelled; zero if it was not. A
	// handler that still runs ignores it, or needs time to end.
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	// Returned is true if the handler has returned, and the store is to be told. Left is
	// true if the job was handed back, or is somebody else's, although the handler has not
	// returned.
	Returned bool `json:"returned,omitempty"`
	Left     bool `json:"left,omitempty"`
}

// Note says in words what is special about an executor at an instant; empty if nothing is.
func (e *WorkerExecutor) Note(at time.Time) string {
	switch {
	case e.Left:
		return "handed back; its handler has not returned"
	case e.Returned:
		return "done; the store is told"
	case !e.CancelledAt.IsZero():
		return fmt.Sprintf("its context ended %v ago", tenths(at.Sub(e.CancelledAt)))
	}
	return ""
}

// tenths is a time for people, in tenths of a second.
func tenths(d time.Duration) time.Duration { return max(0, d).Round(100 * time.Millisecond) }

// WorkerReport is the account of a worker that has stopped: what its log and its Future
// tell, but for what happens in its very last moment.
type WorkerReport struct {
	// Reason says in words why the worker ended.
	Reason string `json:"reason"`
	// StartedAt is when it started, StoppedAt when it had stopped, Took the time from the
	// first word of the stop until then; in JSON it is in nanoseconds.
	StartedAt time.Time     `json:"started_at"`
	StoppedAt time.Time     `json:"stopped_at"`
	Took      time.Duration `json:"took"`
	// Leased counts the jobs that it took, Became what became of them, as far as there
	// were any.
	Leased int      `json:"leased"`
	Became []Became `json:"became,omitempty"`
	// Abandoned and Unconfirmed are such jobs, at most 20 of each; their handlers ignored
	// their context, or the store never said what it made of their settlement.
	Abandoned   []WorkerExecutor `json:"abandoned,omitempty"`
	Unconfirmed []WorkerExecutor `json:"unconfirmed,omitempty"`
}

// String says what became of the jobs, such as "5 leased, 4 completed, 1 handed back".
func (r *WorkerReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d leased", r.Leased)
	for _, became := range r.Became {
		fmt.Fprintf(&b, ", %d %s", became.Jobs, strings.ReplaceAll(became.How, "_", " "))
	}
	return b.String()
}

// Became is how many jobs ended in one way.
type Became struct {
	How  string `json:"how"`
	Jobs int    `json:"jobs"`
}

const (
	treesMemo = "caddis:trees"
	// WatchTime is for how long a worker tells its tree after somebody has asked for it.
	WatchTime = 30 * time.Second
	// treeKept is how long a tree is kept that its worker tells no more, ReportKept how
	// long one with a report.
	treeKept   = time.Minute
	ReportKept = time.Hour
	// MaxTreeExecutors is of how many executors a tree tells.
	MaxTreeExecutors = 50
)

// WatchWorkers has workers tell how they are, actor by actor, for [WatchTime], several
// times a second if that changes: those with the ids, or all without ids. [Client.WorkerTree]
// reads it. A worker tells it without being asked while it stops. See
// [Client.QuietWorkers] for the errors.
func (c *Client) WatchWorkers(ctx context.Context, ids ...string) error {
	_, err := c.order(ctx, OrderWatch, 0, ids)
	return err
}

// WorkerTree reads what a worker has told last of itself. found is false if it has told
// nothing, or that was too long ago: a tree is kept for a minute, the report of a worker that
// has stopped for an hour.
func (c *Client) WorkerTree(ctx context.Context, id string) (tree WorkerTree, found bool, err error) {
	if err := backend.CheckID(id); err != nil {
		return tree, false, &Error{Op: "worker tree", Err: err}
	}
	found, err = control(c.backend, treesMemo).Get(ctx, id, &tree)
	return tree, found, err
}

// TellTree is what a worker tells. It tells of as many executors as there is room for.
func TellTree(ctx context.Context, store backend.Backend, tree WorkerTree) error {
	memo, kept := control(store, treesMemo), treeKept
	if tree.Report != nil {
		kept = ReportKept
	}
	for {
		err := memo.Set(ctx, tree.Worker, tree, ForgetAfter(kept))
		half := len(tree.Executors) / 2
		if !errors.Is(err, ErrPayload) || len(tree.Executors) == 0 {
			return err
		}
		tree.Omitted += len(tree.Executors) - half
		tree.Executors = tree.Executors[:half]
	}
}
