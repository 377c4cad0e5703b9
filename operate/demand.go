package operate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Need says whose demand is asked for, and of what.
type Need struct {
	// Queues are those whose jobs count; empty for all that there are.
	Queues []string
	// DrainWithin is the time in which what waits is to be done; 0 means a minute.
	DrainWithin time.Duration
	// PerWorker is how many executors a worker has. 0 means as many as those that run and
	// take from the queues have on average, or 10 if none runs.
	PerWorker int
	// Min and Max bound the number of workers; a Max of 0 is none.
	Min, Max int
}

// Demand is how many executors, and how many workers, some jobs need.
type Demand struct {
	// Executors is Busy and what drains the backlog in time; at least 1 if a job waits or is
	// blocked, or a schedule is overdue.
	Executors int `json:"executors"`
	// Workers is how many have so many executors, within the bounds.
	Workers int `json:"workers"`
	// Waiting counts the jobs that wait and are due, Running those that run. Blocked are those
	// that are parked, or of a kind that no worker knew: more workers do not help them, but with
	// none nobody sees that there is room, or that a new program knows the kind. What waits in a
	// paused queue, or is blocked there, does not count.
	Waiting int64 `json:"waiting"`
	Running int64 `json:"running"`
	Blocked int64 `json:"blocked"`
	// Overdue is a schedule whose tick is overdue, as "queue/name", in a queue that no worker
	// takes from. It is looked for if nothing else needs an executor.
	Overdue string `json:"overdue,omitempty"`
	// Busy is how many executors had a job on average over the last five whole minutes, or
	// since the workers have started, or have one now.
	Busy float64 `json:"busy"`
	// Took is how long a job took on average; 0 if that is not known. In JSON it is in
	// nanoseconds.
	Took time.Duration `json:"took"`
}

const (
	// demandMinutes is over how many whole minutes Busy is an average. If nothing ended in
	// them, the mean time of a job is that of demandLook minutes.
	demandMinutes = 5
	demandLook    = 60
	// shortRun is the least time over which Busy is an average.
	shortRun = 10 * time.Second
	// longJob is from when on the jobs that run are counted instead: what ended in some
	// minutes says little of them.
	longJob = time.Minute
	// executorsByDefault is actors.DefaultConcurrency.
	executorsByDefault = 10
)

// DemandFor answers how many executors and workers some queues need, for an autoscaler. By
// Little's law (J. D. C. Little, A Proof for the Queuing Formula: L = λW, 1961) as many
// executors are busy as jobs come in a second, times the seconds that one takes. What was
// busy in the last five minutes stands for that, and to it comes what drains the backlog:
//
//	executors = busy + waiting × took / DrainWithin
//
// where each waiting job counts for one executor at most. Where jobs take a minute or more, or
// none has ended in that time, those that run now stand for what is busy. As long as it is not
// known how long jobs take, what waits needs one executor. So does what only a worker can find
// out: whether a blocked job may go on, and that a schedule is due.
//
// It makes three calls, and one for each queue whose figures count, see [Busiest]; and if
// nothing needs an executor one more for each queue that no worker takes from, whose schedules
// it reads. It changes with the
// backlog at once, and with the rate once a minute: the autoscaler is to wait some minutes
// before it scales down, as those of Kubernetes do.
func DemandFor(ctx context.Context, client *jobs.Client, need Need) (Demand, error) {
	var d Demand
	if err := need.check(); err != nil {
		return d, err
	}
	look, err := Glance(ctx, client)
	if err != nil {
		return d, err
	}
	queues := slices.DeleteFunc(look.Queues, func(q backend.QueueInfo) bool {
		return len(need.Queues) > 0 && !slices.Contains(need.Queues, q.Name)
	})
	for i := range queues {
		q := &queues[i]
		if d.Running += q.Counts[backend.StateRunning]; !q.Paused {
			d.Waiting += q.Counts[backend.StateWaiting]
			d.Blocked += q.Counts[backend.StateBlocked]
		}
	}
	series, err := Figures(ctx, client, Busiest(queues), backend.FiguresQuery{From: look.At.Add(-demandLook * time.Minute), Step: time.Minute})
	if err != nil {
		return d, err
	}
	takers := slices.DeleteFunc(look.Workers, func(w backend.WorkerInfo) bool {
		return !slices.ContainsFunc(queues, func(q backend.QueueInfo) bool { return slices.Contains(w.Queues, q.Name) })
	})
	d.measure(&series, firstStart(takers))
	if d.Busy == 0 && d.Waiting+d.Blocked == 0 {
		if d.Overdue, err = overdueSchedule(ctx, client, queues, takers, look.At); err != nil {
			return d, err
		}
	}
	d.sum(&need, need.perWorker(takers))
	return d, nil
}

// overdueSchedule finds a schedule that waits for a worker, as there is none.
func overdueSchedule(ctx context.Context, client *jobs.Client, queues []backend.QueueInfo, takers []backend.WorkerInfo, now time.Time) (string, error) {
	for _, q := range queues {
		if q.Paused || slices.ContainsFunc(takers, func(w backend.WorkerInfo) bool { return slices.Contains(w.Queues, q.Name) }) {
			continue
		}
		for s, err := range client.AllSchedules(ctx, q.Name) {
			if err != nil {
				return "", err
			}
			if s.Err == nil && !s.Paused && !s.Next.IsZero() && s.Next.Before(now) {
				return q.Name + "/" + s.Name, nil
			}
		}
	}
	return "", nil
}

// firstStart is when the first of some workers has started; zero if there is none.
func firstStart(workers []backend.WorkerInfo) (first time.Time) {
	for i := range workers {
		if at := workers[i].StartedAt; first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

func (n *Need) check() error {
	switch {
	case n.DrainWithin < 0:
		return fmt.Errorf("%w: DrainWithin is %v; give a positive time, or 0 for a minute", backend.ErrRejected, n.DrainWithin)
	case n.PerWorker < 0:
		return fmt.Errorf("%w: PerWorker is %d; give a number from 1, or 0 for that of the workers that run", backend.ErrRejected, n.PerWorker)
	case n.Min < 0 || n.Max < 0 || n.Max > 0 && n.Max < n.Min:
		return fmt.Errorf("%w: from %d to %d workers; give a Min from 0 and a Max that is not less, or 0 for none", backend.ErrRejected, n.Min, n.Max)
	}
	for _, queue := range n.Queues {
		if err := backend.CheckQueue(queue); err != nil {
			return err
		}
	}
	return nil
}

// perWorker is how many executors a worker has.
func (n *Need) perWorker(takers []backend.WorkerInfo) float64 {
	if n.PerWorker > 0 {
		return float64(n.PerWorker)
	}
	workers, executors := 0, 0
	for _, w := range takers {
		if w.Concurrency > 0 {
			workers, executors = workers+1, executors+w.Concurrency
		}
	}
	if workers == 0 {
		return executorsByDefault
	}
	return float64(executors) / float64(workers)
}

// measure takes from figures how long jobs take and how many executors were busy. Where nothing
// ran before the workers have started, it is an average over the time since.
func (d *Demand) measure(minutes *backend.Series, started time.Time) {
	var last, all backend.Histogram
	n := 0
	measured, before := demandMinutes*time.Minute, false
	for i := len(minutes.Points) - 1; i >= 0; i-- {
		p := &minutes.Points[i]
		all.Add(&p.Running)
		if n < demandMinutes && !minutes.Now.Before(p.At.Add(minutes.Step)) {
			last.Add(&p.Running)
			n++
			end := p.At.Add(minutes.Step)
			before = before || p.Running.Count() > 0 && !end.After(started)
			if n == 1 && !started.IsZero() {
				measured = min(measured, max(shortRun, end.Sub(started)))
			}
		}
	}
	if d.Took = last.Mean(); d.Took == 0 {
		d.Took = all.Mean()
	}
	if before {
		measured = demandMinutes * time.Minute
	}
	d.Busy = float64(last.Micros) / measured.Seconds() / 1e6
	if d.Took >= longJob || last.Micros == 0 {
		d.Busy = float64(d.Running)
	}
}

// sum makes numbers of executors and workers of what was measured.
func (d *Demand) sum(need *Need, perWorker float64) {
	within := cmp.Or(need.DrainWithin, time.Minute)
	backlog := float64(d.Waiting) * min(1, d.Took.Seconds()/within.Seconds())
	executors := math.Ceil(d.Busy + backlog - 1e-9) // 3.0000000001 is 3
	if d.Waiting+d.Blocked > 0 || d.Overdue != "" {
		executors = max(1, executors)
	}
	d.Executors = int(min(executors, math.MaxInt32))
	d.Workers = max(need.Min, int(math.Ceil(float64(d.Executors)/perWorker)))
	if need.Max > 0 {
		d.Workers = min(need.Max, d.Workers)
	}
}

// DemandHandler answers the [Demand] of jobs as JSON, such as for the metrics-api scaler of
// KEDA. Queues are taken from the query, such as ?queue=mail&queue=reports, and else from need.
// It asks nobody who he is: mount it where only the autoscaler comes.
func DemandHandler(client *jobs.Client, need Need) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		need := need
		if queues := r.URL.Query()["queue"]; len(queues) > 0 {
			need.Queues = queues
		}
		d, err := DemandFor(r.Context(), client, need)
		switch {
		case errors.Is(err, backend.ErrRejected):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, "the job store does not answer", http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(d)
		}
	})
}
