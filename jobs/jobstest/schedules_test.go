package jobstest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

func TestAWeekOfSchedulesRunsAtOnce(t *testing.T) {
	t.Parallel()
	// A bubble begins on the first of January 2000, so that no change to or from summer time
	// comes between.
	synctest.Test(t, func(t *testing.T) {
		var nights []time.Time
		registry := jobs.NewRegistry()
		jobs.Handle(registry, func(_ context.Context, job *jobs.Job[Welcome]) error {
			_, at, ok := job.Schedule()
			require.True(t, ok)
			nights = append(nights, at)
			return nil
		}, jobs.Queue("nightly"))
		jobs.Handle(registry, func(context.Context, *jobs.Job[Reminder]) error { return errMailer }, jobs.MaxAttempts(2))
		berlin, err := time.LoadLocation("Europe/Berlin")
		require.NoError(t, err)
		jobs.Schedule(registry, "nightly", jobs.Cron("30 3 * * *", "Europe/Berlin"), Welcome{User: "all"})
		store := jobstest.New(t, registry)
		_, err = store.Client().PutSchedule(t.Context(), "hourly", jobs.Every(time.Hour), Reminder{User: "ada"})
		require.NoError(t, err)
		start := store.Now()

		require.Empty(t, store.Drain(t.Context()).Attempts, "schedules never end, so that Drain leaves them alone")
		report := store.RunFor(t.Context(), 7*24*time.Hour)

		require.Len(t, nights, 7)
		for _, night := range nights {
			require.Equal(t, "03:30", night.In(berlin).Format("15:04"))
		}
		require.Equal(t, 7*24, report.Count(backend.OutcomeRetry), "a job each hour")
		require.Equal(t, 7*24-1, report.Count(backend.OutcomeDead), "the retry of the last one is not due")
		store.RequireEnqueued(t, Welcome{User: "all"}, jobs.ID(backend.TickID("nightly", nights[0])), jobs.Queue("nightly"))
		require.Len(t, jobstest.Enqueued[Welcome](store), 7)
		around(t, 7*24*time.Hour, start, store.Now())
	})
}

func TestATickWaitsForTheLastJobOfItsSchedule(t *testing.T) {
	t.Parallel()
	snoozes := 0
	registry := handle(func(context.Context, *jobs.Job[Welcome]) error {
		if snoozes++; snoozes == 1 {
			return jobs.Snooze(150 * time.Minute)
		}
		return nil
	})
	jobs.Schedule(registry, "hourly", jobs.Every(time.Hour), Welcome{}, jobs.Overlap(backend.OverlapWait))
	store := jobstest.New(t, registry)

	report := store.RunFor(t.Context(), 5*time.Hour)

	require.Equal(t, 1, report.Count(backend.OutcomeSnoozed))
	require.Greater(t, report.Attempts[1].At.Sub(report.Attempts[0].At), 149*time.Minute)
	require.NotEmpty(t, report.Attempts[2:], "the ticks go on afterwards")
}

func TestAScheduleThatNobodyDeclaresIsNotTicked(t *testing.T) {
	t.Parallel()
	before := handle(fine)
	jobs.Schedule(before, "gone", jobs.Every(time.Hour), Welcome{})
	store := jobstest.New(t, handle(fine))
	require.NoError(t, before.PutSchedules(t.Context(), store, nil))

	require.Empty(t, store.RunFor(t.Context(), 24*time.Hour).Attempts)
}
