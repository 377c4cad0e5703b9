package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// results are those that this process knows.
type results struct {
	bytes atomic.Int64

	mu       sync.Mutex
	sums     map[string]Sum
	failures map[string]string
	// unsaved are those of the sums that are in no Part.
	unsaved []Summed
}

func newResults() *results {
	return &results{sums: map[string]Sum{}, failures: map[string]string{}}
}

func (r *results) read(n int) { r.bytes.Add(int64(n)) }

// completed adds a file. It returns the part that is to be saved, if one is full.
func (r *results) completed(path string, sum Sum) *Part {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sums[path] = sum
	r.unsaved = append(r.unsaved, Summed{Path: []byte(path), Sum: sum})
	return r.take(partSize)
}

// rest returns the part of what is not saved, nil if that is nothing.
func (r *results) rest() *Part {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.take(1)
}

func (r *results) take(enough int) *Part {
	if len(r.unsaved) < enough {
		return nil
	}
	n := min(len(r.unsaved), partSize)
	part := &Part{Files: r.unsaved[:n:n]}
	r.unsaved = r.unsaved[n:]
	return part
}

func (r *results) putBack(part *Part) {
	r.mu.Lock()
	r.unsaved = append(r.unsaved, part.Files...)
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
	// at is when it was known.
	at time.Time
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
	parts := backend.JobsQuery{Queue: c.queues.results, State: backend.StateWaiting, Limit: 10}
	for job, err := range client.AllJobs(ctx, parts) {
		if errors.Is(err, backend.ErrNotFound) {
			break
		}
		if err != nil {
			return a, err
		}
		if part, err := jobs.ArgsOf[Part](job); err == nil {
			for _, file := range part.Files {
				a.sums[string(file.Path)] = file.Sum
			}
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
