package jobstest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

func TestRunForRunsTheSchedulesOfItsTime(t *testing.T) {
	t.Parallel()
	var at []time.Time
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[Welcome]) error {
		_, instant, ok := job.Schedule()
		require.True(t, ok)
		at = append(at, instant)
		return nil
	})
	jobs.Schedule(registry, "nightly", jobs.Cron("0 2 * * *", "Europe/Berlin"), Welcome{User: "ada"})
	store := jobstest.New(t, registry)

	require.Empty(t, store.Drain(t.Context()).Attempts, "schedules have no end")
	report := store.RunFor(t.Context(), 7*24*time.Hour)

	report.RequireCompleted(t)
	require.Len(t, at, 7)
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for i, instant := range at {
		require.WithinDuration(t, instant, report.Attempts[i].At, time.Second)
		require.Contains(t, []int{2, 3}, instant.In(berlin).Hour())
	}
	require.Len(t, jobstest.Enqueued[Welcome](store), 7)
}

func TestRunForLeavesPausedSchedulesAlone(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(returns(nil)))
	ctx, client := t.Context(), store.Client()
	_, err := client.PutSchedule(ctx, "often", jobs.Every(time.Hour), Welcome{User: "ada"}, jobs.Overlap(backend.OverlapAllow))
	require.NoError(t, err)
	require.Len(t, store.RunFor(ctx, 24*time.Hour).Attempts, 24)
	_, err = client.PauseSchedule(ctx, jobs.DefaultQueue, "often")
	require.NoError(t, err)
	require.Empty(t, store.RunFor(ctx, 24*time.Hour).Attempts)
}
