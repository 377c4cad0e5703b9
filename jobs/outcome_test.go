package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var errBoom = errors.New("boom")

// fixedDelay is the policy of the tests.
type fixedDelay time.Duration

func (d fixedDelay) NextRetry(int, error) time.Duration { return time.Duration(d) }

type panickingPolicy struct{}

func (panickingPolicy) NextRetry(int, error) time.Duration { panic("no idea") }

func TestClassify(t *testing.T) {
	t.Parallel()
	retry := func(failure string) verdict {
		return verdict{outcome: backend.OutcomeRetry, delay: 7 * time.Second, counts: true, failure: failure}
	}
	dead := func(failure string) verdict {
		return verdict{outcome: backend.OutcomeDead, counts: true, failure: failure}
	}
	released := verdict{outcome: backend.OutcomeReleased}
	for name, test := range map[string]struct {
		ending ending
		want   verdict
	}{
		"nil completes":                         {ending{}, verdict{outcome: backend.OutcomeCompleted, counts: true}},
		"nil completes while stopping":          {ending{cause: ErrStopping}, verdict{outcome: backend.OutcomeCompleted, counts: true}},
		"nil completes after a cancel":          {ending{cause: ErrCancelled}, verdict{outcome: backend.OutcomeCompleted, counts: true}},
		"nil completes after the timeout":       {ending{cause: ErrTimeout}, verdict{outcome: backend.OutcomeCompleted, counts: true}},
		"an error is retried":                   {ending{err: errBoom}, retry("boom")},
		"the last attempt is dead":              {ending{err: errBoom, attempt: 3}, dead("boom")},
		"more attempts than allowed are dead":   {ending{err: errBoom, attempt: 9}, dead("boom")},
		"a plain cancel of ctx is an error":     {ending{err: context.Canceled, cause: context.Canceled}, retry("context canceled")},
		"stopping releases":                     {ending{err: errBoom, cause: ErrStopping}, released},
		"a wrapped cause is seen":               {ending{err: errBoom, cause: fmt.Errorf("x: %w", ErrStopping)}, released},
		"a lost lease settles nothing":          {ending{err: errBoom, cause: ErrLeaseLost}, released},
		"a cancel from outside cancels":         {ending{err: errBoom, cause: ErrCancelled}, verdict{outcome: backend.OutcomeCancelled, failure: "the job was cancelled: boom"}},
		"the timeout is a failed attempt":       {ending{err: context.Canceled, cause: ErrTimeout, timeout: 500 * time.Millisecond}, retry("the attempt took longer than its timeout of 500ms: context canceled")},
		"the timeout of the last attempt":       {ending{err: errBoom, cause: ErrTimeout, attempt: 3, timeout: time.Second}, dead("the attempt took longer than its timeout of 1s: boom")},
		"the deadline ends the job":             {ending{err: errBoom, cause: ErrDeadline}, dead("the job's deadline has passed while it ran: boom")},
		"snooze counts nothing":                 {ending{err: Snooze(time.Minute)}, verdict{outcome: backend.OutcomeSnoozed, delay: time.Minute}},
		"snooze on the last attempt":            {ending{err: Snooze(time.Minute), attempt: 3}, verdict{outcome: backend.OutcomeSnoozed, delay: time.Minute}},
		"snooze while stopping":                 {ending{err: Snooze(time.Minute), cause: ErrStopping}, verdict{outcome: backend.OutcomeSnoozed, delay: time.Minute}},
		"cancel by the handler":                 {ending{err: Cancel(errBoom)}, verdict{outcome: backend.OutcomeCancelled, failure: "cancelled by its handler: boom"}},
		"cancel without a reason":               {ending{err: Cancel(nil)}, verdict{outcome: backend.OutcomeCancelled, failure: "cancelled by its handler"}},
		"cancel after the timeout":              {ending{err: Cancel(nil), cause: ErrTimeout}, verdict{outcome: backend.OutcomeCancelled, failure: "cancelled by its handler"}},
		"discard":                               {ending{err: Discard(errBoom)}, dead("discarded by its handler: boom")},
		"discard without a reason":              {ending{err: Discard(nil)}, dead("discarded by its handler")},
		"discard while stopping":                {ending{err: Discard(nil), cause: ErrStopping}, dead("discarded by its handler")},
		"retry in":                              {ending{err: RetryIn(time.Hour, errBoom)}, verdict{outcome: backend.OutcomeRetry, delay: time.Hour, counts: true, failure: "retry in 1h0m0s: boom"}},
		"retry in without a reason":             {ending{err: RetryIn(0, nil)}, verdict{outcome: backend.OutcomeRetry, counts: true, failure: "retry in 0s"}},
		"retry in on the last attempt":          {ending{err: RetryIn(time.Hour, errBoom), attempt: 3}, dead("retry in 1h0m0s: boom")},
		"an outcome is found through wrapping":  {ending{err: fmt.Errorf("send: %w", Discard(errBoom))}, dead("send: discarded by its handler: boom")},
		"an outcome is found in joined errors":  {ending{err: errors.Join(errBoom, Snooze(time.Hour))}, verdict{outcome: backend.OutcomeSnoozed, delay: time.Hour}},
		"a panic counts while stopping":         {ending{panicked: &Panic{Value: errBoom, Stack: []byte("stack")}, cause: ErrStopping}, verdict{outcome: backend.OutcomeRetry, delay: 7 * time.Second, counts: true, failure: "panic: boom", stack: "stack"}},
		"a panic on the last attempt":           {ending{panicked: &Panic{Value: "boom"}, attempt: 3}, dead("panic: boom")},
		"a panic with an outcome is a panic":    {ending{panicked: &Panic{Value: Snooze(time.Hour)}}, retry("panic: snoozed for 1h0m0s")},
		"an unusable payload":                   {ending{payloadErr: ErrPayload}, dead("the payload cannot be used")},
		"an unusable payload, error swallowed":  {ending{payloadErr: ErrPayload, cause: ErrStopping}, dead("the payload cannot be used")},
		"an error without a text":               {ending{err: errors.New("")}, retry("an error of type *errors.errorString without a text")},
		"a typed nil error":                     {ending{err: (*Error)(nil)}, retry("<nil>")},
		"an error whose methods panic":          {ending{err: rudeError{}}, retry("%!v(PANIC=Error method: rude)")},
		"an error whose methods panic, timeout": {ending{err: rudeError{}, cause: ErrTimeout}, retry("the attempt took longer than its timeout of 0s: %!v(PANIC=Error method: rude)")},
		"a delay that is too long":              {ending{err: errBoom, policy: fixedDelay(1<<63 - 1)}, verdict{outcome: backend.OutcomeRetry, delay: backend.MaxDelay, counts: true, failure: "boom"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.ending.attempt == 0 {
				test.ending.attempt = 1
			}
			test.ending.maxAttempts = 3
			if test.ending.policy == nil {
				test.ending.policy = fixedDelay(7 * time.Second)
			}
			got := classify(test.ending)
			if test.want.outcome == backend.OutcomeCompleted {
				require.NoError(t, got.err)
			} else {
				require.True(t, got.err != nil, "the caller must see an error")
			}
			got.err = nil
			require.Equal(t, test.want, got)
		})
	}
}

type rudeError struct{}

func (rudeError) Error() string   { panic("rude") }
func (rudeError) Is(error) bool   { panic("rude") }
func (rudeError) As(any) bool     { panic("rude") }
func (rudeError) Unwrap() []error { panic("rude") }

func TestTimeoutAndDeadlineAreFoundInTheErrorBesideTheHandlersOwn(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{ErrTimeout, ErrDeadline} {
		v := classify(ending{err: errBoom, cause: cause, attempt: 1, maxAttempts: 5})
		require.ErrorIs(t, v.err, cause)
		require.ErrorIs(t, v.err, errBoom)
	}
}

func TestAPolicyThatMisbehavesIsReplacedByTheDefaultAndTheFailureSaysSo(t *testing.T) {
	t.Parallel()
	for problem, policy := range map[string]RetryPolicy{
		"jobs.panickingPolicy panicked":                   panickingPolicy{},
		"jobs.fixedDelay returned the negative delay -1s": fixedDelay(-time.Second),
	} {
		v := classify(ending{err: errBoom, attempt: 1, maxAttempts: 5, policy: policy})
		require.Equal(t, backend.OutcomeRetry, v.outcome)
		require.LessOrEqual(t, v.delay, time.Second)
		require.Positive(t, v.delay)
		require.Contains(t, v.failure, "boom\n(the retry policy "+problem)
	}
}

// A snooze that is not positive would spin, as nothing counts it.
func TestSnoozeNeverSpins(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{0, -1, -1 << 63} {
		require.Equal(t, time.Second, classify(ending{err: Snooze(d)}).delay)
	}
	require.Equal(t, backend.MaxDelay, classify(ending{err: Snooze(1<<63 - 1)}).delay)
	require.Zero(t, classify(ending{err: RetryIn(-1, nil), attempt: 1, maxAttempts: 2}).delay)
	require.Equal(t, backend.MaxDelay, classify(ending{err: RetryIn(1<<63-1, nil), attempt: 1, maxAttempts: 2}).delay)
}

func TestOutcomeOfTellsWhatAnErrorAsksFor(t *testing.T) {
	t.Parallel()
	for want, err := range map[backend.Outcome]error{
		backend.OutcomeSnoozed:   Snooze(1),
		backend.OutcomeCancelled: Cancel(nil),
		backend.OutcomeDead:      fmt.Errorf("wrapped: %w", Discard(nil)),
		backend.OutcomeRetry:     RetryIn(1, nil),
	} {
		got, ok := OutcomeOf(err)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	for _, err := range []error{nil, errBoom, rudeError{}} {
		_, ok := OutcomeOf(err)
		require.False(t, ok)
	}
}

func TestTheReasonIsFoundThroughAnOutcome(t *testing.T) {
	t.Parallel()
	for _, err := range []error{Cancel(errBoom), Discard(errBoom), RetryIn(1, errBoom)} {
		require.ErrorIs(t, err, errBoom)
	}
}

// Lesson: "Do not retry" that retries.
func TestLesson_DoNotRetryThatRetries(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]KindOption{"by Discard": nil, "by MaxAttempts(1)": {MaxAttempts(1)}} {
		result := runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error {
			if options == nil {
				return Discard(errBoom)
			}
			return errBoom
		}, options...)
		require.Equal(t, backend.OutcomeDead, result.Settlement.Outcome, name)
		require.Equal(t, 1, result.Settlement.History.Attempts, name)
	}
}

// Lesson: cancel that leads to a retry.
func TestLesson_CancelThatLeadsToARetry(t *testing.T) {
	t.Parallel()
	result := runJob(t, endedBy(ErrCancelled), aLease(), func(ctx context.Context, _ *Job[welcome]) error {
		return fmt.Errorf("query: %w", ctx.Err())
	})
	require.Equal(t, backend.OutcomeCancelled, result.Settlement.Outcome)
	require.Len(t, result.Settlement.History.Failures, 1, "what the handler returned leaves a trace")
	require.Equal(t, "the job was cancelled: query: context canceled", result.Settlement.History.Failures[0].Error)
	require.Zero(t, result.Settlement.History.Attempts)

	result = runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error {
		return fmt.Errorf("no such user: %w", Cancel(errBoom))
	})
	require.Equal(t, backend.OutcomeCancelled, result.Settlement.Outcome)
	require.Equal(t, "no such user: cancelled by its handler: boom", result.Settlement.History.Failures[0].Error)
}

// Lesson: a hot loop. Every failure path counts and backs off.
func TestLesson_EveryFailurePathCountsAndBacksOff(t *testing.T) {
	t.Parallel()
	failing := func(RunFunc) RunFunc {
		return func(context.Context, *Info) error { return errors.New("a hook before the handler failed") }
	}
	panicking := func(RunFunc) RunFunc { return func(context.Context, *Info) error { panic("in a hook") } }
	for _, m := range []RunMiddleware{failing, panicking} {
		r := NewRegistry(WithRunMiddleware(m))
		Handle(r, func(context.Context, *Job[welcome]) error { return nil })
		result := runIn(t, t.Context(), r, aLease())
		require.Equal(t, backend.OutcomeRetry, result.Settlement.Outcome)
		require.Equal(t, 1, result.Settlement.History.Attempts)
		require.Greater(t, result.Settlement.Delay, 500*time.Millisecond)
	}
}

func TestAStopCostsNoAttempt(t *testing.T) {
	t.Parallel()
	result := runJob(t, endedBy(ErrStopping), aLease(), func(ctx context.Context, _ *Job[welcome]) error { return ctx.Err() })
	require.Equal(t, backend.OutcomeReleased, result.Settlement.Outcome)
	require.Nil(t, result.Settlement.History, "the history stays as it is")
}

func TestWhatIsStoredOfAnErrorIsBoundedAndUTF8(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", maxErrorText)
	result := runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error { return errors.New("\xff" + long) })
	text := result.Settlement.History.Failures[0].Error
	require.LessOrEqual(t, len(text), maxErrorText)
	require.Equal(t, strings.ToValidUTF8(text, "!"), text)
	require.True(t, strings.HasPrefix(text, "?ä"), text[:8])
	require.True(t, strings.HasSuffix(text, "ä… (cut)"), text[len(text)-20:])
}
