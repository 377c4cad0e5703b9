package dashboard

import (
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// executorRow is an executor that has a job.
type executorRow struct {
	jobs.WorkerExecutor
	// Says is how it is with the job; Late is true if the job should have ended.
	Says string
	Late bool
}

// treeAge is how old a tree may be that is shown as it is.
const treeAge = 15 * time.Second

// grow takes over what the worker has told of itself, unless that was too long ago, and
// answers the later of two instants of the store's clock.
func (r *workerRow) grow(tree *jobs.WorkerTree, now time.Time) time.Time {
	if tree == nil || tree.Report == nil && (r.Gone || now.Sub(tree.At) > treeAge) {
		return now
	}
	if tree.At.After(now) {
		now = tree.At
	}
	r.Tree, r.State, r.Gone = tree, tree.State, false
	r.At = slices.Index(stopSteps, tree.State)
	if tree.Report != nil {
		r.Queues, r.StartedAt = nil, tree.Report.StartedAt
		return now
	}
	r.Running, r.Concurrency = tree.Running, tree.Concurrency
	for _, e := range tree.Executors {
		row := executorRow{WorkerExecutor: e, Says: "runs"}
		switch {
		case e.Left:
			row.Says, row.Late = "was handed back, and its handler still runs: it ignores its context", true
		case e.Returned:
			row.Says = "has returned; the store is to confirm it"
		case e.Began.IsZero():
			row.Says = "is about to begin"
		case !e.CancelledAt.IsZero():
			row.Says, row.Late = "was told to end "+operate.Ago(e.CancelledAt, now)+", and still runs", true
		}
		r.Executors = append(r.Executors, row)
	}
	return now
}

// Stopping is true while the worker stops.
func (r workerRow) Stopping() bool {
	return r.Tree != nil && r.Tree.Stop != nil && r.Tree.Report == nil
}

// Ended is true of a worker that has told its report.
func (r workerRow) Ended() bool { return r.Tree != nil && r.Tree.Report != nil }

// HeldUp says in words what a stop waits for.
func (r workerRow) HeldUp() string {
	switch n := len(r.Executors) + r.Tree.Omitted; {
	case n > 0:
		return numbered(n, "job that has not ended.", "jobs that have not ended.")
	case r.Tree.Unconfirmed > 0:
		return "the store, which is to confirm what became of " + numbered(r.Tree.Unconfirmed, "job.", "jobs.")
	}
	return "its last steps."
}

// phase is a part of a stop that is still to come.
type phase struct {
	Text string
	At   time.Time
}

// Ahead are the parts of a stop that are still to come.
func (r workerRow) Ahead(now time.Time) (all []phase) {
	s := r.Tree.Stop
	for _, p := range []phase{
		{"The contexts of what still runs are cancelled", s.CancelAt}, {"What still runs is handed back", s.HandBackAt}, {"It is over, at the latest", s.EndAt},
	} {
		if p.At.After(now) {
			all = append(all, p)
		}
	}
	return all
}

// words are a name of the JSON as it is read.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
