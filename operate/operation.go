package operate

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
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
	// By names who asks, and Errors says what the errors of the group of the filter have in
	// common, both for people.
	By     string `json:"by,omitempty"`
	Errors string `json:"errors,omitempty"`
}

const (
	// maxQueues bounds the queues of a request, maxRequest its bytes in JSON: it is kept
	// in a memo together with the ids of the jobs that are in hand.
	maxQueues  = 1000
	maxRequest = 16 << 10
)

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
	if err := r.Filter.Check(); err != nil {
		return err
	}
	if text, err := json.Marshal(r); err != nil || len(text) > maxRequest {
		return fmt.Errorf("%w: the names in the operation have %d bytes, %d are allowed; name fewer queues", backend.ErrRejected, len(text), maxRequest)
	}
	return nil
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
	// Runner names the process that works at it; empty if none does, until one takes it
	// over. Moved counts how often another one went on with it.
	Runner string `json:"runner,omitempty"`
	Moved  int    `json:"moved,omitempty"`
	// Stopping is true if somebody, StoppedBy, has asked for its end.
	Stopping  bool   `json:"stopping,omitempty"`
	StoppedBy string `json:"stopped_by,omitempty"`
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

// newID names an operation so that nobody guesses it.
func newID() string { return rand.Text() }
