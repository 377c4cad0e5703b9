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

// enqueue stores one job.
func enqueue(t *testing.T, store *jobstest.Store, args jobs.Args, options ...jobs.EnqueueOption) jobs.Receipt {
	t.Helper()
	receipt, err := store.Client().Enqueue(t.Context(), args, options...)
	require.NoError(t, err)
	return receipt
}

// around holds when an instant lies where it should, give or take what the test itself
// takes.
func around(t *testing.T, want time.Duration, start, at time.Time) {
	t.Helper()
	require.WithinDuration(t, start.Add(want), at, time.Minute)
}

func TestDrainRunsDelaysRetriesAndFollowUpsToTheEndAtOnce(t *testing.T) {
	t.Parallel()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		if job.Attempt < 3 {
			return errMailer
		}
		client, _ := jobs.ClientFrom(ctx)
		_, err := client.Enqueue(ctx, Reminder{User: job.Args.User}, jobs.In(72*time.Hour))
		return err
	}, jobs.Backoff(jobs.Exponential{Initial: time.Hour, Jitter: -1}))
	jobs.Handle(registry, func(context.Context, *jobs.Job[Reminder]) error { return nil })
	store := jobstest.New(t, registry)
	enqueue(t, store, Welcome{User: "ada"}, jobs.In(24*time.Hour))
	start, began := store.Now(), time.Now()

	report := store.Drain(t.Context())

	t.Logf("took %v of real time", time.Since(began))
	report.RequireCompleted(t)
	require.Equal(t, 2, report.Count(backend.OutcomeRetry))
	require.Equal(t, 2, report.Count(backend.OutcomeCompleted))
	require.Len(t, report.Of("welcome"), 3)
	require.Empty(t, report.Left)
	for i, want := range []time.Duration{24, 25, 27, 99} {
		around(t, want*time.Hour, start, report.Attempts[i].At)
	}
	around(t, 99*time.Hour, start, store.Now())
	require.InDelta(t, 99*time.Hour, report.Took, float64(time.Minute))
	store.RequireEnqueued(t, Reminder{User: "ada"}, jobs.In(72*time.Hour))
	require.Empty(t, store.Drain(t.Context()).Attempts, "nothing is left")
}

func TestTwentyFiveAttemptsEndInADeadJobWithItsHistory(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(returns(errMailer)))
	receipt := enqueue(t, store, Welcome{User: "ada"})

	report := store.Drain(t.Context())

	require.Len(t, report.Attempts, jobs.DefaultMaxAttempts)
	require.Greater(t, report.Took, 48*time.Hour)
	job, err := store.Client().Job(t.Context(), receipt.Queue, receipt.ID)
	require.NoError(t, err)
	require.Equal(t, backend.StateDead, job.State)
	require.Len(t, job.Failures, backend.MaxFailures)
	message := failure(t, func(tb jobstest.TB) { report.RequireCompleted(tb) })
	require.Equal(t, "jobstest: not all jobs completed:\n"+
		"    welcome, attempt 25 of 25: dead: the mailer is down\n"+
		`        with the args {"tags":null,"user":"ada"}`, message)
}

func TestWhatOneJobDoesToAnotherHappensBeforeTheOtherRuns(t *testing.T) {
	t.Parallel()
	registry := jobs.NewRegistry()
	store := jobstest.New(t, registry)
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		client, _ := jobs.ClientFrom(ctx)
		_, err := client.Cancel(ctx, "default", "later")
		return err
	})
	jobs.Handle(registry, func(context.Context, *jobs.Job[Reminder]) error { return errors.New("not wanted any more") })
	enqueue(t, store, Reminder{}, jobs.ID("later"), jobs.In(time.Hour))
	enqueue(t, store, Welcome{})

	report := store.Drain(t.Context())

	require.Empty(t, report.Of("reminder"))
	require.Less(t, report.Took, time.Hour, "nothing waits for a cancelled job")
}

func TestAHandlerThatCancelsItsOwnJobSeesItsContextEnd(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(func(ctx context.Context, job *jobs.Job[Welcome]) error {
		client, _ := jobs.ClientFrom(ctx)
		_, err := client.Cancel(ctx, job.Queue, job.ID)
		return errors.Join(err, context.Cause(ctx))
	}))
	enqueue(t, store, Welcome{})

	report := store.Drain(t.Context())

	require.Len(t, report.Attempts, 1)
	report.Attempts[0].Require(t, backend.OutcomeCancelled)
	require.Equal(t, backend.StateCancelled, report.Attempts[0].Job.State)
}

func TestARetryOfAJobThatWasCancelledMeanwhileIsCancelled(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(func(ctx context.Context, job *jobs.Job[Welcome]) error {
		client, _ := jobs.ClientFrom(ctx)
		_, err := client.Cancel(ctx, job.Queue, job.ID)
		return jobs.RetryIn(time.Hour, err)
	}))
	enqueue(t, store, Welcome{})

	report := store.Drain(t.Context())

	require.Len(t, report.Attempts, 1)
	require.Equal(t, backend.OutcomeRetry, report.Attempts[0].Outcome)
	require.Equal(t, backend.StateCancelled, report.Attempts[0].Job.State, "as the store decided")
}

func TestRunForRunsATimeOfAJobThatNeverEnds(t *testing.T) {
	t.Parallel()
	runs := 0
	store := jobstest.New(t, handle(func(context.Context, *jobs.Job[Welcome]) error {
		runs++
		return jobs.Snooze(time.Hour)
	}))
	enqueue(t, store, Welcome{}, jobs.In(30*time.Minute))
	start := store.Now()

	require.Zero(t, len(store.RunFor(t.Context(), 0).Attempts), "nothing is due yet")
	report := store.RunFor(t.Context(), 24*time.Hour)

	require.Equal(t, 24, runs)
	require.Len(t, report.Attempts, 24)
	require.Len(t, report.Left, 1)
	around(t, 24*time.Hour, start, store.Now())
	message := failure(t, func(tb jobstest.TB) { report.RequireCompleted(tb) })
	require.Contains(t, message, "welcome, left scheduled for ")
}

func TestAJobThatNeverEndsEndsTheDrainWithAWordOfAdvice(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"jobstest: jobs still come after 100000 attempts, the last one was welcome, attempt 1 of 25: snoozed in 1s; RunFor runs a part": time.Second,
		"jobstest: jobs still come after 876000h0m0s; RunFor runs a part":                                                               365 * 24 * time.Hour,
	} {
		message := failure(t, func(tb jobstest.TB) {
			store := jobstest.New(tb, handle(returns(jobs.Snooze(d))))
			_, err := store.Client().Enqueue(context.Background(), Welcome{})
			require.NoError(t, err)
			store.Drain(context.Background())
		})
		require.Equal(t, want, message)
	}
}

func TestWhatCannotRunHereIsLeftAndNamed(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(fine))
	enqueue(t, store, Reminder{User: "ada"})
	enqueue(t, store, Welcome{}, jobs.Queue("paused"))
	enqueue(t, store, Welcome{})
	require.NoError(t, store.Client().PauseQueue(t.Context(), "paused"))

	report := store.Drain(t.Context())

	require.Equal(t, 1, report.Count(backend.OutcomeBlocked))
	require.Equal(t, 1, report.Count(backend.OutcomeCompleted))
	require.Len(t, report.Left, 2)
	report.Left = report.Left[:1]
	report.RequireCompleted(t, "welcome")
	message := failure(t, func(tb jobstest.TB) { report.RequireCompleted(tb) })
	require.Contains(t, message, `reminder, left blocked: the registry has no handler of kind "reminder"`)

	require.NoError(t, store.Client().ResumeQueue(t.Context(), "paused"))
	store.Drain(t.Context()).RequireCompleted(t, "welcome")
}

func TestAJobThatWaitedTooLongExpiresWhenTheClockIsMoved(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(fine))
	enqueue(t, store, Welcome{}, jobs.ExpireAfter(time.Hour))

	store.Advance(2 * time.Hour)
	report := store.Drain(t.Context())

	require.Len(t, report.Attempts, 1)
	report.Attempts[0].Require(t, backend.OutcomeCancelled)
	require.ErrorContains(t, report.Attempts[0].Err, "waited longer than it may")
}

func TestDrainEndsWithItsContextAndHandsTheJobBack(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancelCause(t.Context())
	store := jobstest.New(t, handle(func(ctx context.Context, _ *jobs.Job[Welcome]) error {
		stop(jobs.ErrStopping)
		return ctx.Err()
	}))
	enqueue(t, store, Welcome{User: "ada"})
	enqueue(t, store, Welcome{User: "grace"})

	report := store.Drain(ctx)

	require.Equal(t, 1, report.Count(backend.OutcomeReleased))
	require.Len(t, report.Left, 2)
	require.Zero(t, report.Left[0].Attempts, "a stop costs no attempt")
}

func TestTheReportTellsTheStory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := jobstest.New(t, handle(func(_ context.Context, job *jobs.Job[Welcome]) error {
			if job.Attempt == 1 {
				return errMailer
			}
			return nil
		}, jobs.Backoff(steady)))
		enqueue(t, store, Welcome{}, jobs.In(time.Hour))
		enqueue(t, store, Reminder{})

		report := store.Drain(t.Context())

		require.Equal(t, "0s: reminder: blocked: the registry has no handler of kind \"reminder\"\n"+
			"1h0m0s: welcome, attempt 1 of 25: retry in 1m0s: the mailer is down\n"+
			"1h1m0s: welcome, attempt 2 of 25: completed\n"+
			"reminder, left blocked: the registry has no handler of kind \"reminder\"", fmt.Sprint(report))
	})
}

func TestInABubbleATestMovesTheTimeAndRunsWhatIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent []time.Time
		store := jobstest.New(t, handle(func(context.Context, *jobs.Job[Welcome]) error {
			sent = append(sent, time.Now())
			return nil
		}))
		start := time.Now()
		enqueue(t, store, Welcome{}, jobs.In(time.Hour))

		time.Sleep(time.Hour)
		report := store.RunFor(t.Context(), 0)

		report.RequireCompleted(t)
		require.Equal(t, []time.Time{start.Add(time.Hour)}, sent)
		require.Zero(t, report.Took)
	})
}

func TestInABubbleDrainCanSleepSoThatHandlersSeeItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		start := time.Now()
		store := jobstest.New(t, handle(func(context.Context, *jobs.Job[Welcome]) error {
			times = append(times, time.Since(start))
			if len(times) < 3 {
				return errMailer
			}
			return nil
		}, jobs.Backoff(steady)))
		store.Sleep = time.Sleep
		enqueue(t, store, Welcome{}, jobs.At(start.Add(time.Hour)))

		store.Drain(t.Context()).RequireCompleted(t)
		store.RunFor(t.Context(), time.Hour)

		require.Equal(t, []time.Duration{60 * time.Minute, 61 * time.Minute, 62 * time.Minute}, times)
		require.Equal(t, 122*time.Minute, time.Since(start))
		require.Equal(t, time.Now().UTC(), store.Now())
	})
}

func TestHandlersThatEnqueueFromGoroutinesAreSafe(t *testing.T) {
	t.Parallel()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		client, _ := jobs.ClientFrom(ctx)
		failures := make(chan error)
		for range 8 {
			go func() {
				_, err := client.Enqueue(ctx, Reminder{User: job.Args.User})
				failures <- err
			}()
		}
		var all []error
		for range 8 {
			all = append(all, <-failures)
		}
		return errors.Join(all...)
	})
	jobs.Handle(registry, func(context.Context, *jobs.Job[Reminder]) error { return nil })
	store := jobstest.New(t, registry)
	enqueue(t, store, Welcome{User: "ada"})

	store.Drain(t.Context()).RequireCompleted(t)

	require.Len(t, jobstest.Enqueued[Reminder](store), 8)
}
