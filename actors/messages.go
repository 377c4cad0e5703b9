package actors

import (
	"fmt"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// Stop asks the supervisor to stop the tree. Sent as a request, it is answered
// with a *Stopped when the tree is down; any number may ask, at any time, and
// all get the same report. A further Stop can make a stop more urgent, never
// less.
//
// A PoisonPill to the supervisor is a Stop with the configured grace.
type Stop struct {
	// Grace is how long the stop may take in total; 0 means Config.Grace. The
	// last parts of it are Config.CancelTime and Config.HandBackTime.
	Grace time.Duration
	// Urgency skips steps of the stop.
	Urgency Urgency
}

// Urgency says with which step a stop begins.
type Urgency int

const (
	// Drain lets running jobs finish.
	Drain Urgency = iota
	// Cancel cancels the contexts of the running jobs at once.
	Cancel
	// HandBack gives all jobs back at once, also those that still run.
	HandBack
)

// Stopped is the answer to Stop.
type Stopped struct{ Report }

// Quiet stops the taking of jobs; running jobs go on. Resume undoes it. Both do
// nothing once a stop has begun.
type Quiet struct{}

// Resume ends Quiet.
type Resume struct{}

// Resize changes the number of executors. A smaller pool lets the executors that
// go finish their jobs first. Answered, if sent as a request, with a *Resized.
type Resize struct{ Concurrency int }

// Resized is the answer to Resize.
type Resized struct {
	// Err says why the size was not changed.
	Err error
}

// Inspect asks the supervisor for a *Status.
type Inspect struct{}

// Status describes a running tree.
type Status struct {
	Worker string `json:"worker"`
	State  State  `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since"`
	// Concurrency is the number of executors, Running of the jobs they run.
	Concurrency int `json:"concurrency"`
	Running     int `json:"running"`
	// Unconfirmed counts settlements that the store has not confirmed yet.
	Unconfirmed int `json:"unconfirmed"`
	// StopBy is when a stop that has begun will be over at the latest.
	StopBy time.Time `json:"stop_by,omitzero"`
	// BackendError is what the store's last failure said; empty while it
	// answers.
	BackendError string `json:"backend_error,omitempty"`
	// StuckCalls counts calls to the store that do not end although their time has
	// long been up: nothing but a restart of the process helps.
	StuckCalls int `json:"stuck_calls,omitempty"`
	// Stuck names those whose code does not return although its time is up: the job
	// store with the call, the supervision strategy, a subscriber.
	Stuck []string `json:"stuck,omitempty"`
	// EventsDropped counts the events that Config.OnEvent was not told of, as it is too
	// slow.
	EventsDropped uint64 `json:"events_dropped,omitempty"`
	// Unrecorded counts the starts and ends of jobs that the figures in the store lack: the
	// store has not taken them yet, or was away for too long.
	Unrecorded uint64 `json:"unrecorded,omitempty"`
	// Gates says how each of Config.Gates is.
	Gates []GateStatus `json:"gates,omitempty"`
	// LastProgress is when the actors last went round, which they do every third
	// of a lease, whether the store answers or not.
	LastProgress time.Time `json:"last_progress"`
	Counts       Counts    `json:"counts"`
}

// JobPanic is what reaches the supervision strategy, as its reason, when a
// handler panics. The job is settled and acknowledged by then.
type JobPanic struct {
	Job   jobs.Info
	Value any
	Stack []byte
}

// Error shows of the value what jobs.Panic shows of it: never a payload.
func (p *JobPanic) Error() string {
	return fmt.Sprintf("job %q of kind %q: %v", p.Job.ID, p.Job.Kind, &jobs.Panic{Value: p.Value})
}

// Unwrap returns the panic's value if it is an error.
func (p *JobPanic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}
