package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// StateVanished is the state of a worker that is not there any more and has left no report: it
// was killed, or cut off. What it ran runs again when its leases have expired.
const StateVanished = "vanished"

const (
	// stopPause is how often it is looked who has stopped.
	stopPause = 250 * time.Millisecond
	// reportWait is how long the report of a worker that is not listed any more is waited for;
	// it comes after the farewell.
	reportWait = 5 * time.Second
)

// Stopped is how a worker ended that was told to stop.
type Stopped struct {
	ID   string `json:"id"`
	Host string `json:"host"`
	PID  int    `json:"pid"`
	// State is "stopped", "crashed" or [StateVanished].
	State string `json:"state"`
	// Report is the account of its jobs; nil if it vanished.
	Report *jobs.WorkerReport `json:"report,omitempty"`
}

// Stopping is a worker that has been told to stop and has not ended yet.
type Stopping struct {
	backend.WorkerInfo
	// EndsBy is when it will have ended at the latest, by the clock of this machine; zero if
	// that is not known.
	EndsBy time.Time
}

// Account says in words what became of its jobs, such as "5 leased, 4 completed, 1 interrupted".
func (s Stopped) Account() string {
	if s.Report == nil {
		return "no report"
	}
	return s.Report.String()
}

// StopWorkers begins the graceful stop of workers, or without ids of all that there are, and
// waits until all of them have ended. ended is called for each as it ends, one at a time, and
// waits, unless it is nil, a few times a second with those that have not.
//
// It goes on while the store is away. When ctx ends it answers those that have not ended, with
// an error that has the cause of ctx in it; they go on stopping. An id that is not there is a
// [backend.ErrNotFound], and then none was told.
func StopWorkers(ctx context.Context, client *jobs.Client, ids []string, ended func(Stopped), waits func([]Stopping)) (left []backend.WorkerInfo, err error) {
	// They are noted before they are told: one may end at once.
	listed, err := client.Workers(ctx)
	if err != nil {
		return nil, err
	}
	left = slices.DeleteFunc(listed, func(w backend.WorkerInfo) bool { return len(ids) > 0 && !slices.Contains(ids, w.ID) })
	if err := client.StopWorkers(ctx, ids...); err != nil {
		return nil, err
	}
	gone := map[string]time.Time{} // since when they are not listed any more
	ends := map[string]time.Time{}
	var away error
	for {
		if left, err = lookAfter(ctx, client, left, gone, ended); len(left) == 0 {
			return nil, nil
		}
		if waits != nil && err == nil {
			waits(stopping(ctx, client, left, ends))
		}
		pause := stopPause
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, backend.ErrUnavailable) {
				return left, err
			}
			pause = time.Second
		}
		away = err
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return left, errors.Join(fmt.Errorf("%s not stopped: %w", workersHave(len(left)), context.Cause(ctx)), away)
		}
	}
}

// maxTimetables is how many workers are asked for when they will have ended.
const maxTimetables = 20

// stopping adds when the workers will have ended, as far as that is known. ends keeps it.
func stopping(ctx context.Context, client *jobs.Client, left []backend.WorkerInfo, ends map[string]time.Time) (all []Stopping) {
	for i, w := range left {
		if _, known := ends[w.ID]; !known && i < maxTimetables {
			tree, found, err := client.WorkerTree(ctx, w.ID)
			if err == nil && found && tree.Stop != nil {
				if now, err := client.StoreTime(ctx); err == nil {
					ends[w.ID] = time.Now().Add(tree.Stop.EndAt.Sub(now))
				}
			}
		}
		all = append(all, Stopping{w, ends[w.ID]})
	}
	return all
}

// lookAfter tells which of the workers have ended, and answers the others as they are now.
func lookAfter(ctx context.Context, client *jobs.Client, workers []backend.WorkerInfo, gone map[string]time.Time, ended func(Stopped)) ([]backend.WorkerInfo, error) {
	listed, err := client.Workers(ctx)
	if err != nil {
		return workers, err
	}
	var left []backend.WorkerInfo
	for i, w := range workers {
		if at := slices.IndexFunc(listed, func(l backend.WorkerInfo) bool { return l.ID == w.ID }); at >= 0 {
			delete(gone, w.ID)
			left = append(left, listed[at])
			continue
		}
		tree, _, err := client.WorkerTree(ctx, w.ID)
		if err != nil {
			return append(left, workers[i:]...), err
		}
		s := Stopped{ID: w.ID, Host: w.Host, PID: w.PID, State: StateVanished, Report: tree.Report}
		if s.Report != nil {
			s.State = tree.State
		} else if since, seen := gone[w.ID]; !seen || time.Since(since) < reportWait {
			if !seen {
				gone[w.ID] = time.Now()
			}
			left = append(left, w)
			continue
		}
		ended(s)
	}
	return left, nil
}

func workersHave(n int) string {
	if n == 1 {
		return "1 worker has"
	}
	return fmt.Sprintf("%d workers have", n)
}
