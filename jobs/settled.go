package jobs

import (
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Settled is what became of a leased job, as the store has confirmed it.
type Settled struct {
	// Info describes the job and the attempt. MaxAttempts is 0 if the attempt was not
	// begun.
	Info
	// Outcome tells a failure that is tried again (backend.OutcomeRetry) from the last
	// one (OutcomeDead), and what a stop handed back (OutcomeReleased) from both. It is
	// OutcomeCancelled for a job that somebody cancelled while it ran.
	Outcome backend.Outcome
	// Err is what the handler returned; nil if the job is completed or its handler was
	// not called. errors.As finds a *[Panic] if it panicked.
	Err error
	// Took is how long the handler ran; 0 if it was not called, or is still running
	// although its job was handed back.
	Took time.Duration
}
