package operate

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Request says which act is to be done to which jobs.
type Request struct {
	Act Act `json:"act"`
	// Queues are those of the jobs, and State their state.
	Queues []string      `json:"queues"`
	State  backend.State `json:"state"`
	Filter Filter        `json:"filter"`
	// DryRun only counts the jobs that match.
	DryRun bool `json:"dry_run,omitempty"`
	// By names who asks, for people.
	By string `json:"by,omitempty"`
}

// maxQueues bounds the queues of a request.
const maxQueues = 1000

// Check says what is wrong with a request.
func (r *Request) Check() error {
	if _, err := ParseAct(string(r.Act)); err != nil {
		return err
	}
	switch {
	case len(r.Queues) == 0:
		return fmt.Errorf("%w: no queue is named", backend.ErrRejected)
	case len(r.Queues) > maxQueues:
		return fmt.Errorf("%w: %d queues in one operation, %d are allowed", backend.ErrRejected, len(r.Queues), maxQueues)
	}
	if err := backend.CheckQueues(r.Queues); err != nil {
		return err
	}
	if err := r.Act.check(r.State); err != nil {
		return err
	}
	return r.Filter.Check()
}

// Phase is how far an operation is.
type Phase string

const (
	PhaseRunning Phase = "running"
	// PhaseDone: it came to its end.
	PhaseDone Phase = "done"
	// PhaseStopped: somebody stopped it. What was done stays done.
	PhaseStopped Phase = "stopped"
	// PhaseFailed: the store failed. To begin it again goes on.
	PhaseFailed Phase = "failed"
)

// Operation is an act on all jobs that match, and how far it is.
type Operation struct {
	ID string `json:"id"`
	Request
	Phase      Phase     `json:"phase"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// Looked is how many jobs were looked at, Of how many there were in that state when
	// it began, Applied to how many the act was done, or would be in a dry run.
	Looked  int64 `json:"looked"`
	Of      int64 `json:"of"`
	Applied int64 `json:"applied"`
	// Error is why it failed.
	Error string `json:"error,omitempty"`
}

// Took is how long it took, up to now if it has not ended.
func (o *Operation) Took(now time.Time) time.Duration {
	if o.FinishedAt.IsZero() {
		return max(0, now.Sub(o.StartedAt))
	}
	return o.FinishedAt.Sub(o.StartedAt)
}

// The work of an operation goes on between pauses, as others wait for the store: each page
// is followed by one of restFactor times what it took, up to maxRest.
const (
	restFactor = 4
	maxRest    = 2 * time.Second
)

// perform does the work of an operation, and tells progress of how far it is.
func perform(ctx context.Context, client *jobs.Client, r *Request, progress func(change func(*Operation))) error {
	do := r.Act.With(client)
	if r.DryRun {
		do = func(_ context.Context, _ string, ids ...string) ([]backend.ActResult, error) {
			return make([]backend.ActResult, len(ids)), nil
		}
	}
	began := time.Now()
	paced := func(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error) {
		results, err := do(ctx, queue, ids...)
		applied := int64(0)
		for i := range results {
			if results[i].Err == nil {
				applied++
			}
		}
		progress(func(o *Operation) { o.Applied += applied })
		select {
		case <-time.After(min(restFactor*time.Since(began), maxRest)):
		case <-ctx.Done():
			return results, ctx.Err()
		}
		began = time.Now()
		return results, err
	}
	for _, queue := range slices.Sorted(slices.Values(r.Queues)) {
		looked := func(job jobs.JobInfo) bool {
			progress(func(o *Operation) { o.Looked++ })
			return r.Filter.Matches(job)
		}
		_, err := client.ForAll(ctx, queue, r.State, paced, looked)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newID names an operation so that nobody guesses it.
func newID() string { return rand.Text() }
