package jobstest

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// worker is the id of the worker that the kit is.
const worker = "jobstest"

// Attempt is what one run of a job came to.
type Attempt struct {
	// Job is the job afterwards, with its state and the history of its failures.
	// jobs.ResultOf, jobs.ProgressOf and jobs.ArgsOf decode what is in it.
	Job jobs.JobInfo
	// Outcome is what became of the attempt.
	Outcome backend.Outcome
	// Delay is how long the job waits for its next attempt, after
	// backend.OutcomeRetry and backend.OutcomeSnoozed.
	Delay time.Duration
	// Err is what the handler returned, the panic, or why the handler was not called;
	// nil if the job is completed. An attempt that ran into its timeout says so:
	// errors.Is finds jobs.ErrTimeout.
	Err error
	// Panic is set if the handler panicked.
	Panic *jobs.Panic
	// Number is the number of the attempt, from 1, and Max that of the last one that
	// there can be; 0 if the handler was not called.
	Number, Max int
	// At is when the attempt began, by the store's clock.
	At time.Time
}

// String tells the attempt in one line, without the job's data and its id. The delay is
// rounded to milliseconds.
func (a Attempt) String() string {
	text := a.Job.Kind
	if a.Max > 0 {
		text += fmt.Sprintf(", attempt %d of %d", a.Number, a.Max)
	}
	text += ": " + a.Outcome.String()
	if a.Outcome == backend.OutcomeRetry || a.Outcome == backend.OutcomeSnoozed {
		text += fmt.Sprintf(" in %v", a.Delay.Round(time.Millisecond))
	}
	if a.Err != nil && a.Outcome != backend.OutcomeSnoozed {
		text += fmt.Sprintf(": %v", a.Err)
	}
	return text
}

// Require fails the test unless the attempt had this outcome.
func (a Attempt) Require(t TB, outcome backend.Outcome) {
	t.Helper()
	if a.Outcome == outcome {
		return
	}
	text := fmt.Sprintf("jobstest: the outcome is not %q:\n    %v", outcome, a)
	if a.Panic != nil {
		text += fmt.Sprintf("\n%s", a.Panic.Stack)
	}
	t.Fatalf("%s", text)
}

// Run runs the handler of the args once, in the calling goroutine, as a worker would: the
// args go through the codec, middleware goes around, the context ends with the timeout
// of the job and holds the client of the store. The options are those of an enqueue.
//
// The job itself is in no queue, so that it is nothing that [Store.RequireEnqueued]
// finds, and no further attempt follows. Of a handler's reaction to a stop or to a
// cancellation one learns by a ctx that ends with the cause jobs.ErrStopping or
// jobs.ErrCancelled.
//
// Options that are refused, and a kind without a handler, fail the test.
func (s *Store) Run(ctx context.Context, args jobs.Args, options ...jobs.EnqueueOption) Attempt {
	s.t.Helper()
	var built one
	if _, err := s.clientOf(&built).Enqueue(ctx, args, options...); err != nil {
		s.t.Fatalf("jobstest: Run: %v", err)
		return Attempt{}
	}
	if !s.registry.Handles(built.job.Kind) {
		s.t.Fatalf("jobstest: Run: the registry has no handler of kind %q; it has %q", built.job.Kind, s.registry.Kinds())
		return Attempt{}
	}
	now := s.Now()
	lease := &backend.Lease{Job: built.job.Job, Token: worker + ".run"}
	lease.Job.EnqueuedAt, lease.Job.DueAt = now, now
	a, settlement := s.attempt(ctx, lease, now)
	return s.finish(a, lease, settlement, settledAs(settlement))
}

// attempt runs a leased job.
func (s *Store) attempt(ctx context.Context, lease *backend.Lease, now time.Time) (Attempt, backend.Settlement) {
	a := Attempt{At: now}
	run, refusal := s.registry.Begin(lease, now, worker)
	if run == nil {
		a.Err = refused(lease, refusal)
		return a, *refusal
	}
	a.Number, a.Max = run.Info().Attempt, run.Info().MaxAttempts
	ctx, cancel := context.WithCancelCause(jobs.WithClient(ctx, s.client))
	defer s.run("", "", nil)
	defer cancel(nil)
	s.run(lease.Job.Queue, lease.Job.ID, cancel)
	if d := run.Timeout(); d > 0 {
		defer time.AfterFunc(d, func() { cancel(run.TimeoutCause()) }).Stop()
	}
	var settlement backend.Settlement
	run.Do(ctx, s.Now, func(result jobs.Result) {
		settlement, a.Err, a.Panic = result.Settlement, result.Err, result.Panic
	})
	return a, settlement
}

// run says which job runs from now on.
func (s *Store) run(queue, id string, cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running.queue, s.running.id, s.cancel = queue, id, cancel
}

// refused says why a job was not run.
func refused(lease *backend.Lease, refusal *backend.Settlement) error {
	if refusal.Outcome == backend.OutcomeBlocked {
		return fmt.Errorf("the registry has no handler of kind %q", lease.Job.Kind)
	}
	failures := refusal.History.Failures
	return refusalError(failures[len(failures)-1].Error)
}

type refusalError string

func (e refusalError) Error() string { return string(e) }

// settledAs is the state after a settlement that nobody interferes with.
func settledAs(s backend.Settlement) backend.State {
	switch s.Outcome {
	case backend.OutcomeCompleted:
		return backend.StateCompleted
	case backend.OutcomeRetry, backend.OutcomeSnoozed:
		if s.Delay > 0 {
			return backend.StateScheduled
		}
		return backend.StateWaiting
	case backend.OutcomeReleased:
		return backend.StateWaiting
	case backend.OutcomeBlocked:
		return backend.StateBlocked
	case backend.OutcomeCancelled:
		return backend.StateCancelled
	}
	return backend.StateDead
}

// finish fills in what became of the job.
func (s *Store) finish(a Attempt, lease *backend.Lease, settlement backend.Settlement, state backend.State) Attempt {
	a.Outcome, a.Delay = settlement.Outcome, settlement.Delay
	info := backend.JobInfo{Job: lease.Job, State: state, History: lease.History, Crashes: lease.Crashes, BlockedOn: settlement.Key}
	if settlement.History != nil {
		info.History = *settlement.History
	} else if a.Outcome == backend.OutcomeCompleted {
		info.Attempts++ // a job that is forgotten at once has no history written
	}
	if state == backend.StateScheduled {
		info.ScheduledFor = s.Now().Add(a.Delay)
	}
	a.Job = s.info(info)
	return a
}
