package jobstest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

func TestAHandlerIsRunAsAWorkerWould(t *testing.T) {
	t.Parallel()
	var steps []string
	registry := jobs.NewRegistry(
		jobs.WithEnqueueMiddleware(func(next jobs.EnqueueFunc) jobs.EnqueueFunc {
			return func(ctx context.Context, batch []backend.NewJob) ([]jobs.Receipt, error) {
				batch[0].Headers = map[string]string{"trace": "4711"}
				return next(ctx, batch)
			}
		}),
		jobs.WithRunMiddleware(func(next jobs.RunFunc) jobs.RunFunc {
			return func(ctx context.Context, job *jobs.Info) error {
				steps = append(steps, "before "+job.Headers["trace"])
				defer func() { steps = append(steps, "after") }()
				return next(ctx, job)
			}
		}))
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		steps = append(steps, job.Args.User)
		_, ok := jobs.ClientFrom(ctx)
		require.True(t, ok, "the context holds a client")
		require.NoError(t, job.Progress(50))
		return job.SetResult("sent")
	}, jobs.MaxAttempts(7), jobs.Queue("mail"))
	store := jobstest.New(t, registry)

	got := store.Run(t.Context(), Welcome{User: "ada"}, jobs.Priority(1))

	got.Require(t, backend.OutcomeCompleted)
	require.NoError(t, got.Err)
	require.Equal(t, []string{"before 4711", "ada", "after"}, steps)
	require.Equal(t, []int{1, 7}, []int{got.Number, got.Max})
	require.Equal(t, "mail", got.Job.Queue)
	require.Equal(t, backend.StateCompleted, got.Job.State)
	result, err := jobs.ResultOf[string](got.Job)
	require.NoError(t, err)
	require.Equal(t, "sent", result)
	progress, err := jobs.ProgressOf[int](got.Job)
	require.NoError(t, err)
	require.Equal(t, 50, progress)
	require.Empty(t, jobstest.Enqueued[Welcome](store), "what is only run was not enqueued")
	require.Empty(t, store.Drain(t.Context()).Attempts)
}

func TestEachOutcomeOfAHandlerIsToldWithItsDelay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler func(context.Context, *jobs.Job[Welcome]) error
		ctx     error // the cause with which it has ended
		options []jobs.EnqueueOption
		outcome backend.Outcome
		state   backend.State
		delay   time.Duration
		text    string
	}{
		"nil":     {handler: fine, outcome: backend.OutcomeCompleted, state: backend.StateCompleted, text: "welcome, attempt 1 of 25: completed"},
		"error":   {handler: returns(errMailer), outcome: backend.OutcomeRetry, state: backend.StateScheduled, delay: time.Minute, text: "welcome, attempt 1 of 25: retry in 1m0s: the mailer is down"},
		"last":    {handler: returns(errMailer), options: []jobs.EnqueueOption{jobs.MaxAttempts(1)}, outcome: backend.OutcomeDead, state: backend.StateDead, text: "welcome, attempt 1 of 1: dead: the mailer is down"},
		"retryIn": {handler: returns(jobs.RetryIn(time.Hour, errMailer)), outcome: backend.OutcomeRetry, state: backend.StateScheduled, delay: time.Hour, text: "welcome, attempt 1 of 25: retry in 1h0m0s: retry in 1h0m0s: the mailer is down"},
		"snooze":  {handler: returns(jobs.Snooze(time.Hour)), outcome: backend.OutcomeSnoozed, state: backend.StateScheduled, delay: time.Hour, text: "welcome, attempt 1 of 25: snoozed in 1h0m0s"},
		"cancel":  {handler: returns(jobs.Cancel(nil)), outcome: backend.OutcomeCancelled, state: backend.StateCancelled, text: "welcome, attempt 1 of 25: cancelled: cancelled by its handler"},
		"discard": {handler: returns(jobs.Discard(errMailer)), outcome: backend.OutcomeDead, state: backend.StateDead, text: "welcome, attempt 1 of 25: dead: discarded by its handler: the mailer is down"},
		"panic": {handler: func(context.Context, *jobs.Job[Welcome]) error { panic("oops") },
			outcome: backend.OutcomeRetry, state: backend.StateScheduled, delay: time.Minute, text: "welcome, attempt 1 of 25: retry in 1m0s: panic: oops"},
		"stopped": {handler: obedient, ctx: jobs.ErrStopping, outcome: backend.OutcomeReleased, state: backend.StateWaiting, text: "welcome, attempt 1 of 25: released: context canceled"},
		"cancelled": {handler: obedient, ctx: jobs.ErrCancelled, outcome: backend.OutcomeCancelled, state: backend.StateCancelled,
			text: "welcome, attempt 1 of 25: cancelled: the job was cancelled: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := jobstest.New(t, handle(c.handler, jobs.Backoff(steady)))
			ctx, cancel := context.WithCancelCause(t.Context())
			if c.ctx != nil {
				cancel(c.ctx)
			}
			defer cancel(nil)

			got := store.Run(ctx, Welcome{User: "ada"}, c.options...)

			got.Require(t, c.outcome)
			require.Equal(t, c.state, got.Job.State)
			require.Equal(t, c.delay, got.Delay)
			require.Equal(t, c.text, got.String())
			require.Equal(t, name == "panic", got.Panic != nil)
		})
	}
}

func returns(err error) func(context.Context, *jobs.Job[Welcome]) error {
	return func(context.Context, *jobs.Job[Welcome]) error { return err }
}

// obedient returns when its context ends.
func obedient(ctx context.Context, _ *jobs.Job[Welcome]) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAJobThatCameTooLateIsRefusedAsByAWorker(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(fine))
	store.Advance(2 * time.Hour)

	got := store.Run(t.Context(), Welcome{}, jobs.Deadline(time.Now().Add(time.Hour)))

	got.Require(t, backend.OutcomeDead)
	require.Zero(t, got.Number, "the handler was not called")
	require.ErrorContains(t, got.Err, "before this attempt could start")
}

func TestATimeoutEndsTheContextInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := jobstest.New(t, handle(obedient, jobs.Timeout(time.Hour)))
		start := time.Now()

		got := store.Run(t.Context(), Welcome{})

		got.Require(t, backend.OutcomeRetry)
		require.ErrorIs(t, got.Err, jobs.ErrTimeout)
		require.Equal(t, time.Hour, time.Since(start))
	})
}

func TestAnUnusablePayloadIsDeadAsWithAWorker(t *testing.T) {
	t.Parallel()
	registry := jobs.NewRegistry(jobs.WithCodec(oneWay{jobs.JSON}))
	jobs.Handle(registry, fine)

	got := jobstest.New(t, registry).Run(t.Context(), Welcome{User: "ada"})

	got.Require(t, backend.OutcomeDead)
	require.ErrorIs(t, got.Err, jobs.ErrPayload)
}

// oneWay cannot read what it writes.
type oneWay struct{ jobs.Codec }

func (oneWay) Name() string                { return "one-way" }
func (oneWay) Unmarshal([]byte, any) error { return errors.New("no way back") }

func TestRunSaysWhatItCannotRun(t *testing.T) {
	t.Parallel()
	registry := handle(fine)
	for want, test := range map[string]func(jobstest.TB){
		`no handler of kind "reminder"; it has ["welcome"]`: func(t jobstest.TB) {
			jobstest.New(t, registry).Run(context.Background(), Reminder{})
		},
		"MaxAttempts(0): give a number from 1": func(t jobstest.TB) {
			jobstest.New(t, registry).Run(context.Background(), Welcome{}, jobs.MaxAttempts(0))
		},
		"the registry is nil": func(t jobstest.TB) { jobstest.New(t, nil) },
	} {
		require.Contains(t, failure(t, test), want)
	}
}

func TestAnOutcomeThatWasNotExpectedIsToldWithItsReason(t *testing.T) {
	t.Parallel()
	message := failure(t, func(tb jobstest.TB) {
		store := jobstest.New(tb, handle(returns(fmt.Errorf("step 3: %w", errMailer)), jobs.Backoff(steady)))
		store.Run(t.Context(), Welcome{User: "ada"}).Require(tb, backend.OutcomeCompleted)
	})

	require.Equal(t, "jobstest: the outcome is not \"completed\":\n"+
		"    welcome, attempt 1 of 25: retry in 1m0s: step 3: the mailer is down", message)
}

func TestAHandlerThatFailsTheTestEndsIt(t *testing.T) {
	t.Parallel()
	message := failure(t, func(tb jobstest.TB) {
		runs := 0
		store := jobstest.New(tb, handle(func(context.Context, *jobs.Job[Welcome]) error {
			runs++
			tb.Fatalf("run %d", runs)
			return nil
		}))
		_, err := store.Client().Enqueue(context.Background(), Welcome{})
		require.NoError(t, err)
		store.Drain(context.Background())
	})

	require.Equal(t, "run 1", message, "no retry hides it")
}
