package dashboard

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// workerRow is a worker and what it holds.
type workerRow struct {
	backend.WorkerInfo
	// Steps are those of a stop, and At which of them it is, from 0; -1 if it does not
	// stop.
	Steps []string
	At    int
	Jobs  []jobs.JobInfo
	// More is true if not all of the jobs that run were looked at.
	More bool
	// Gone is true if it is not listed any more, although there is something to tell of it.
	Gone bool
	// Tree is what it has told of itself; nil if that is nothing, or too long ago. Executors
	// are those of the tree that have a job.
	Tree      *jobs.WorkerTree
	Executors []executorRow
}

// stopSteps are the states of a worker that stops, in order.
var stopSteps = []string{"draining", "cancelling", "handing-back", "stopped"}

// Silent reports whether the worker has not been heard of for longer than is usual.
func (r workerRow) Silent(v *view) bool { return v.Now.Sub(r.SeenAt).Seconds() > 10 }

func rowsOf(workers []backend.WorkerInfo) []workerRow {
	rows := make([]workerRow, len(workers))
	for i, w := range workers {
		rows[i] = workerRow{WorkerInfo: w, Steps: stopSteps, At: slices.Index(stopSteps, w.State)}
	}
	return rows
}

func (d *Dashboard) workers(q *request) error {
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	body := struct {
		Workers      []workerRow
		Busy, Places int
		Stopped      []backend.Event
	}{Workers: rowsOf(look.Workers)}
	for _, w := range look.Workers {
		body.Busy, body.Places = body.Busy+w.Running, body.Places+w.Concurrency
	}
	if body.Stopped, err = d.stopped(q.Context(), look.At); err != nil {
		return err
	}
	return d.render(q, http.StatusOK, view{Name: "workers", Title: "Workers", Nav: "workers", Now: look.At, Every: 2, Body: body})
}

// lastWorkerEvents is how much of the journal of the workers is looked at, for those that
// have stopped.
const lastWorkerEvents = 100

// stopped are the ends of workers that have told a report which is still there, the last
// first.
func (d *Dashboard) stopped(ctx context.Context, now time.Time) (ends []backend.Event, err error) {
	page, err := d.client.Events(ctx, backend.EventsQuery{Last: lastWorkerEvents, Limit: lastWorkerEvents})
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(page.Events) {
		if e.Type == backend.EventType(jobs.EventWorkerStopped) && now.Sub(e.At) < jobs.ReportKept && len(ends) < 20 {
			ends = append(ends, e)
		}
	}
	return ends, nil
}

// maxHeld is how many running jobs are looked at to find those of a worker, shownHeld how
// many of them are listed.
const (
	maxHeld   = 5000
	shownHeld = 100
)

// workerLeast is how many milliseconds lie between two readings of the page of a worker.
const workerLeast = 100

func (d *Dashboard) worker(q *request) error {
	id := q.URL.Query().Get("id")
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	row := workerRow{WorkerInfo: backend.WorkerInfo{ID: id, State: "gone"}, Steps: stopSteps, At: -1, Gone: true}
	queues := look.Queues
	if i := slices.IndexFunc(look.Workers, func(w backend.WorkerInfo) bool { return w.ID == id }); i >= 0 {
		row = rowsOf(look.Workers[i : i+1])[0]
		queues = slices.DeleteFunc(slices.Clone(queues), func(q backend.QueueInfo) bool { return !slices.Contains(row.Queues, q.Name) })
		d.watch.ask(q.Context(), id)
	}
	now := look.At
	if backend.CheckID(id) == nil {
		tree, err := readTree(q.Context(), d.client, id)
		if err != nil {
			return err
		}
		now = row.grow(tree, now)
	}
	if row.Tree == nil {
		if row.Jobs, row.More, err = d.held(q.Context(), queues, id); err != nil {
			return err
		}
	}
	if row.Gone && len(row.Jobs) == 0 && row.Tree == nil {
		return failed(http.StatusNotFound, "there is no worker %q any more, and it holds no job; the report of one that has stopped is kept for an hour", id)
	}
	stream, err := address(livePath, "worker", id)
	if err != nil {
		return err
	}
	return d.render(q, http.StatusOK, view{
		Name: "worker", Title: "Worker " + visible(id), Nav: "workers", Now: now, Every: 1, Least: workerLeast, Stream: stream, Body: &row,
	})
}

// held are the jobs that a worker holds.
func (d *Dashboard) held(ctx context.Context, queues []backend.QueueInfo, worker string) (found []jobs.JobInfo, more bool, err error) {
	looked := 0
	search := operate.Search{States: []backend.State{backend.StateRunning}, Limit: maxHeld, Scan: maxHeld}
	errEnough := errors.New("enough")
	next, _, err := search.Find(ctx, d.client, queues, func(page []jobs.JobInfo) error {
		for _, job := range page {
			looked++
			if job.LeasedBy == worker {
				found = append(found, job)
			}
		}
		if len(found) >= shownHeld {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return found[:shownHeld], true, nil
	}
	return found, next != "", err
}
