package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// results are those of this process. The store keeps them too, but only so many.
type results struct {
	bytes atomic.Int64

	mu       sync.Mutex
	sums     map[string]Sum
	failures map[string]string
}

func newResults() *results {
	return &results{sums: map[string]Sum{}, failures: map[string]string{}}
}

func (r *results) read(n int) { r.bytes.Add(int64(n)) }

func (r *results) completed(path string, sum Sum) {
	r.mu.Lock()
	r.sums[path] = sum
	r.mu.Unlock()
}

func (r *results) failed(path string, err error) {
	r.mu.Lock()
	r.failures[path] = err.Error()
	r.mu.Unlock()
}

var finalStates = []backend.State{backend.StateCompleted, backend.StateCancelled, backend.StateDead}

// state is how far the work on the folder is, in all processes.
type state struct {
	scan  backend.State // empty if the work is over and removed
	files map[backend.State]int64
}

func (s *state) left() int64 {
	return s.files[backend.StateWaiting] + s.files[backend.StateScheduled] +
		s.files[backend.StateBlocked] + s.files[backend.StateRunning]
}

func (s *state) drained() bool { return (s.scan == "" || s.scan.Final()) && s.left() == 0 }

// look asks for the scan first: once that is over, the files become fewer only.
func look(ctx context.Context, client *jobs.Client, q queues) (*state, error) {
	s := &state{}
	scan, err := client.Job(ctx, q.scan, scanID)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return s, err
	}
	s.scan = scan.State
	files, err := client.Queue(ctx, q.files)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return s, err
	}
	s.files = files.Counts
	return s, nil
}

// account is what is known of the folder, from all processes.
type account struct {
	// result is that of an earlier start, if that had it complete.
	result   Result
	sums     map[string]Sum
	failures map[string]string
	// left is the number of files to be done; -1 if that is not known.
	left int64
	// scan is nil until the scan is over; scanFailure says why it failed, and
	// scannedBy which worker ended it.
	scan        *Scanned
	scanFailure string
	scannedBy   string
}

// complete reports whether there is nothing left to do.
func (a *account) complete() bool { return a.scan != nil && a.left == 0 }

func (a *account) scanError() error {
	if a.scanFailure == "" {
		return nil
	}
	return fmt.Errorf("the folder could not be walked: %s", a.scanFailure)
}

// collect joins the results of this process and those that the store has from
// earlier and other ones. With an error the account has those of this process.
func collect(ctx context.Context, client *jobs.Client, c *crew) (*account, error) {
	c.own.mu.Lock()
	a := &account{sums: maps.Clone(c.own.sums), failures: maps.Clone(c.own.failures), left: -1}
	c.own.mu.Unlock()

	scan, err := client.Job(ctx, c.queues.scan, scanID)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return a, nil
	case err != nil:
		return a, err
	}
	if scan.State.Final() {
		a.scannedBy = scan.Worker
		found, err := jobs.ResultOf[Scanned](scan)
		switch {
		case scan.State != backend.StateCompleted:
			a.scanFailure = failureOf(scan)
		case err != nil:
			return a, err
		default:
			a.scan = &found
		}
	}
	files, err := client.Queue(ctx, c.queues.files)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return a, err
	}
	for _, final := range finalStates {
		if files.Counts[final] == 0 {
			continue
		}
		query := backend.JobsQuery{Queue: c.queues.files, State: final, Limit: backend.MaxPage}
		for job, err := range client.AllJobs(ctx, query) {
			if err != nil {
				return a, err
			}
			a.add(job)
		}
	}
	if a.scan != nil {
		a.left = (&state{files: files.Counts}).left()
	}
	return a, nil
}

// add takes a finished job over.
func (a *account) add(job jobs.JobInfo) {
	path := "(job " + job.ID + ")"
	if args, err := jobs.ArgsOf[Hash](job); err == nil {
		path = string(args.Path)
	}
	if job.State == backend.StateCompleted {
		if sum, err := jobs.ResultOf[Sum](job); err == nil {
			a.sums[path] = sum
			return
		}
	}
	a.failures[path] = failureOf(job)
}

func failureOf(job jobs.JobInfo) string {
	if n := len(job.Failures); n > 0 {
		return job.Failures[n-1].Error
	}
	return "it was " + string(job.State)
}
