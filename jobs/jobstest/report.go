package jobstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Report tells what Drain or RunFor did.
type Report struct {
	// Attempts are all attempts, in the order in which they ran.
	Attempts []Attempt
	// Left are the jobs that have not finished: not due yet, in a queue that is paused,
	// or of a kind that the registry has no handler of.
	Left []jobs.JobInfo
	// Took is how much time passed, by the store's clock.
	Took time.Duration

	start time.Time
}

// Count counts the attempts of an outcome.
func (r Report) Count(outcome backend.Outcome) (n int) {
	for _, a := range r.Attempts {
		if a.Outcome == outcome {
			n++
		}
	}
	return n
}

// Of returns the attempts of the jobs of one kind.
func (r Report) Of(kind string) (attempts []Attempt) {
	for _, a := range r.Attempts {
		if a.Job.Kind == kind {
			attempts = append(attempts, a)
		}
	}
	return attempts
}

// String tells the story: one line per attempt, with when it began, rounded to
// milliseconds, and what is left. It shows none of the jobs' data.
func (r Report) String() string {
	var lines []string
	for _, a := range r.Attempts {
		lines = append(lines, fmt.Sprintf("%v: %v", a.At.Sub(r.start).Round(time.Millisecond), a))
	}
	for _, job := range r.Left {
		lines = append(lines, left(job))
	}
	return strings.Join(lines, "\n")
}

// RequireCompleted fails the test unless each job, of these kinds or of all if none is
// given, ended completed. That some attempts failed before does not matter.
func (r Report) RequireCompleted(t TB, kinds ...string) {
	t.Helper()
	wanted := func(job jobs.JobInfo) bool { return len(kinds) == 0 || slices.Contains(kinds, job.Kind) }
	var faults []string
	for _, a := range r.Attempts {
		if wanted(a.Job) && a.Job.State.Final() && a.Job.State != backend.StateCompleted {
			faults = append(faults, fmt.Sprintf("%v\n        with the args %s", a, argsText(a.Job)))
		}
	}
	for _, job := range r.Left {
		if wanted(job) {
			faults = append(faults, left(job)+"\n        with the args "+argsText(job))
		}
	}
	if len(faults) > 0 {
		t.Fatalf("jobstest: not all jobs completed:\n    %s", strings.Join(faults, "\n    "))
	}
}

// left says why a job is left.
func left(job jobs.JobInfo) string {
	text := fmt.Sprintf("%s, left %s", job.Kind, job.State)
	switch job.State {
	case backend.StateBlocked:
		if kind, ok := jobs.KindOfBlockKey(job.BlockedOn); ok {
			text += fmt.Sprintf(": the registry has no handler of kind %q", kind)
		}
	case backend.StateScheduled:
		text += fmt.Sprintf(" for %v", job.ScheduledFor)
	case backend.StateWaiting:
		text += fmt.Sprintf(" in queue %q", job.Queue)
	}
	return text
}
