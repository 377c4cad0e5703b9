package jobs

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// minSnooze keeps a handler that snoozes for no time from spinning: a snooze is
// not counted, so nothing else would stop it.
const minSnooze = time.Second

// outcomeError is how a handler says what is to become of its job.
type outcomeError struct {
	outcome backend.Outcome
	delay   time.Duration
	err     error
}

func (e *outcomeError) Error() string {
	var text string
	switch e.outcome {
	case backend.OutcomeSnoozed:
		return fmt.Sprintf("snoozed for %v", e.delay)
	case backend.OutcomeCancelled:
		text = "cancelled by its handler"
	case backend.OutcomeDead:
		text = "discarded by its handler"
	case backend.OutcomeRetry:
		text = fmt.Sprintf("retry in %v", e.delay)
	}
	if e.err == nil {
		return text
	}
	return text + ": " + errorText(e.err)
}

func (e *outcomeError) Unwrap() error { return e.err }

// Snooze, returned by a handler, puts the job off by d. It is no failure and
// counts no attempt. A d that is not positive means one second, so that a
// handler that always snoozes does not spin; the longest is
// [backend.MaxDelay]. Like all outcomes it works through wrapping by %w.
func Snooze(d time.Duration) error {
	if d <= 0 {
		d = minSnooze
	}
	return &outcomeError{outcome: backend.OutcomeSnoozed, delay: min(d, backend.MaxDelay)}
}

// Cancel, returned by a handler, ends the job as cancelled: it is not wanted any
// more. err says why and may be nil.
func Cancel(err error) error { return &outcomeError{outcome: backend.OutcomeCancelled, err: err} }

// Discard, returned by a handler, ends the job as dead, whatever attempts are
// left. err says why and may be nil.
func Discard(err error) error { return &outcomeError{outcome: backend.OutcomeDead, err: err} }

// RetryIn, returned by a handler, fails the attempt like any error and sets the
// delay before the next one, if there is one left, in place of the kind's
// [RetryPolicy]. A negative d means at once; the longest is [backend.MaxDelay].
// err says why and may be nil.
func RetryIn(d time.Duration, err error) error {
	return &outcomeError{outcome: backend.OutcomeRetry, delay: min(max(d, 0), backend.MaxDelay), err: err}
}

// OutcomeOf tells what a handler's error asks for: snoozed, cancelled, dead or
// retry; ok is false if it is an ordinary error. Middleware uses it to tell
// failures from the rest.
func OutcomeOf(err error) (outcome backend.Outcome, ok bool) {
	if said := saidBy(err); said != nil {
		return said.outcome, true
	}
	return 0, false
}

// saidBy survives errors whose methods panic.
func saidBy(err error) (said *outcomeError) {
	defer func() { _ = recover() }()
	errors.As(err, &said)
	return said
}

// ending is how a run ended, as plain data.
type ending struct {
	err        error  // what the handler returned
	panicked   *Panic // or how it panicked
	payloadErr error  // why it was not even called
	cause      error  // why its context had ended by then

	timeout     time.Duration
	attempt     int // from 1
	maxAttempts int
	policy      RetryPolicy // nil is the default
}

// verdict is what becomes of the job.
type verdict struct {
	outcome backend.Outcome
	delay   time.Duration
	counts  bool   // as an attempt
	failure string // for the history; empty for none
	stack   string
	err     error // for the caller
}

// classify decides in this order: an unusable payload, a panic and success speak
// for themselves, whatever happened to the context meanwhile; then what the
// handler said; then why its context ended; else it is a failed attempt.
func classify(e ending) verdict {
	switch {
	case e.payloadErr != nil:
		return verdict{outcome: backend.OutcomeDead, counts: true, failure: errorText(e.payloadErr), err: e.payloadErr}
	case e.panicked != nil:
		v := failed(e, e.panicked, nil)
		v.stack = string(e.panicked.Stack)
		return v
	case e.err == nil:
		return verdict{outcome: backend.OutcomeCompleted, counts: true}
	}
	if said := saidBy(e.err); said != nil {
		switch said.outcome {
		case backend.OutcomeSnoozed:
			return verdict{outcome: said.outcome, delay: said.delay, err: e.err}
		case backend.OutcomeRetry:
			e.cause = nil
			return failed(e, e.err, &said.delay)
		default:
			return verdict{
				outcome: said.outcome, counts: said.outcome == backend.OutcomeDead,
				failure: errorText(e.err), err: e.err,
			}
		}
	}
	switch {
	case errors.Is(e.cause, ErrStopping), errors.Is(e.cause, ErrLeaseLost):
		return verdict{outcome: backend.OutcomeReleased, err: e.err}
	case errors.Is(e.cause, ErrCancelled):
		err := fmt.Errorf("%w: %w", ErrCancelled, e.err)
		return verdict{outcome: backend.OutcomeCancelled, failure: errorText(err), err: err}
	case errors.Is(e.cause, ErrTimeout):
		return failed(e, fmt.Errorf("%w of %v: %w", ErrTimeout, e.timeout, e.err), nil)
	case errors.Is(e.cause, ErrDeadline):
		return failed(e, fmt.Errorf("%w while it ran: %w", ErrDeadline, e.err), nil)
	}
	return failed(e, e.err, nil)
}

// failed counts an attempt. delay, if given, is in place of the policy's.
func failed(e ending, err error, delay *time.Duration) verdict {
	v := verdict{outcome: backend.OutcomeDead, counts: true, failure: errorText(err), err: err}
	if v.failure == "" {
		v.failure = fmt.Sprintf("an error of type %T without a text", err)
	}
	if e.attempt >= e.maxAttempts || errors.Is(e.cause, ErrDeadline) {
		return v
	}
	v.outcome = backend.OutcomeRetry
	if delay != nil {
		v.delay = *delay
		return v
	}
	var fault string
	v.delay, fault = nextRetry(e.policy, e.attempt, err)
	v.failure += fault
	return v
}

// nextRetry asks the policy, and the default one if that fails; fault then says
// so.
func nextRetry(policy RetryPolicy, attempt int, err error) (delay time.Duration, fault string) {
	if policy == nil {
		return Exponential{}.Delay(attempt), ""
	}
	fallBack := func(problem string) (time.Duration, string) {
		d := Exponential{}.Delay(attempt)
		return d, fmt.Sprintf("\n(the retry policy %T %s; waiting %v, the default, instead)", policy, problem, d)
	}
	defer func() {
		if value := recover(); value != nil {
			delay, fault = fallBack("panicked with a value of type " + fmt.Sprintf("%T", value))
		}
	}()
	delay = policy.NextRetry(attempt, err)
	if delay < 0 {
		return fallBack(fmt.Sprintf("returned the negative delay %v", delay))
	}
	return min(delay, backend.MaxDelay), ""
}
