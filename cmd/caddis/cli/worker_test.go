package cli

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func TestWorkersAreToldWhatToDo(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		registry := jobs.NewRegistry()
		runs := make(chan struct{})
		jobs.Handle(registry, func(ctx context.Context, _ *jobs.Job[Welcome]) error {
			close(runs)
			<-ctx.Done()
			return context.Cause(ctx)
		})
		system, err := caddis.New(caddis.Config{
			Backend: openStore(t, url), Registry: registry, Concurrency: 4, Logger: slog.New(slog.DiscardHandler), Grace: time.Second,
		})
		require.NoError(t, err)
		require.NoError(t, system.Start(t.Context()))
		_, err = system.Client().Enqueue(t.Context(), Welcome{UserID: 1}, jobs.ID("job-1"))
		require.NoError(t, err)
		<-runs
		id := system.Status().Worker
		require.Eventually(t, func() bool {
			return on(t, url, "workers", "-o", "jsonl").out != ""
		}, time.Minute, 10*time.Millisecond)
		tell := func(args ...string) string {
			t.Helper()
			a := on(t, url, append([]string{"worker"}, args...)...)
			require.Equal(t, 0, a.code, a.err)
			return a.out
		}
		eventually := func(what func(actors.Status) bool) {
			t.Helper()
			require.Eventually(t, func() bool { return what(system.Status()) }, time.Minute, time.Millisecond)
		}

		require.Contains(t, tell("quiet", id), id)
		eventually(func(s actors.Status) bool { return s.State == actors.StateQuiet })
		require.JSONEq(t, `{"id":"`+id+`","told":"resume"}`, tell("resume", "--all", "-o", "jsonl"))
		eventually(func(s actors.Status) bool { return s.State == actors.StateRunning })
		tell("resize", "7", "--all")
		eventually(func(s actors.Status) bool { return s.Concurrency == 7 })
		tell("resize", "0", id)
		eventually(func(s actors.Status) bool { return s.Concurrency == 4 })

		stacks := tell("stacks", id)
		require.Contains(t, stacks, "worker "+id+": 1 job\n")
		require.Contains(t, stacks, "job job-1 of kind welcome in queue default")
		require.Contains(t, stacks, "TestWorkersAreToldWhatToDo")
		require.Contains(t, tell("stacks", "--all", "-o", "json"), `"id": "job-1"`)

		shown := tell("show", id)
		require.Regexp(t, `executors +1 of 4 have a job`, shown)
		require.Regexp(t, `runs +job-1 of kind welcome in queue default, for `, shown)
		require.Contains(t, tell("show", id, "-o", "jsonl"), `"state":"running"`)

		require.Contains(t, tell("stop", id), id)
		report, err := system.Stopped().Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, report.Interrupted)
		shown = tell("show", id)
		require.Regexp(t, `state +stopped, since `, shown)
		require.Regexp(t, `jobs +1 leased, 1 interrupted`, shown)
		a := on(t, url, "worker", "stop", id)
		require.Equal(t, 3, a.code)
		require.Contains(t, a.err, `has stopped: not found; worker show tells how`)
		a = on(t, url, "worker", "show", "nobody")
		require.Equal(t, 3, a.code)
		require.Contains(t, a.err, `there is no worker "nobody"`)
	})
}

func TestWhoWaitsForAStopIsToldHowEachWorkerEnded(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		store := openStore(t, url)
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		registry := jobs.NewRegistry()
		runs, end := make(chan struct{}), make(chan struct{})
		jobs.Handle(registry, func(context.Context, *jobs.Job[Welcome]) error {
			close(runs)
			<-end
			return nil
		})
		system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.NoError(t, system.Start(t.Context()))
		_, err = client.Enqueue(t.Context(), Welcome{UserID: 1})
		require.NoError(t, err)
		<-runs
		require.Eventually(t, func() bool {
			listed, err := client.Workers(t.Context())
			return err == nil && len(listed) == 1
		}, time.Minute, 10*time.Millisecond)

		a := on(t, url, "worker", "stop", "--all", "--wait", "--wait-timeout", "2s")
		require.Equal(t, exitFailed, a.code)
		require.Regexp(t, `draining +not stopped yet`, a.out)
		require.Contains(t, a.err, "waiting for workers: 1 draining; all is over in 2")
		require.Regexp(t, `stop +It began \S+ ago\. Jobs are cancelled in `, on(t, url, "worker", "show", system.Status().Worker).out)
		require.Contains(t, a.err, "1 worker has not stopped: 2s have passed")

		time.AfterFunc(300*time.Millisecond, func() { close(end) })
		a = on(t, url, "worker", "stop", system.Status().Worker, "--wait")
		require.Zero(t, a.code, a.err)
		require.Contains(t, a.out, system.Status().Worker)
		require.Contains(t, a.out, "1 leased, 1 completed")

		// One that is killed meanwhile leaves no report.
		other, err := backend.Open(url)
		require.NoError(t, err)
		_, err = other.Announce(t.Context(), backend.WorkerInfo{ID: "killed", StartedAt: time.Now()}, 2*time.Second)
		require.NoError(t, err)
		closed := make(chan error, 1)
		time.AfterFunc(300*time.Millisecond, func() { closed <- other.Close() })
		a = on(t, url, "worker", "stop", "--all", "--wait", "-o", "jsonl")
		require.Equal(t, exitFailed, a.code)
		require.JSONEq(t, `{"id":"killed","host":"","pid":0,"state":"vanished"}`, a.out)
		require.Contains(t, a.err, "1 of 1 workers have not stopped in good order")
		require.NoError(t, <-closed)
	})
}

func TestWhoIsToBeToldMustBeSaidAndBeThere(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		newFleet(t, url)
		for line, want := range map[string]string{
			"quiet":            "say which workers: give ids, as workers lists them, or --all",
			"quiet w-1 --all":  "give ids or --all, not both",
			"stacks":           "say which workers: give ids, as workers lists them, or --all",
			"resize":           "caddis worker resize needs the number of executors, and ids of workers or --all",
			"resize many w-1":  `"many" is no number of executors: give one from 1, or 0 for what each was configured with`,
			"resize -- -1 w-1": `"-1" is no number of executors: give one from 1, or 0 for what each was configured with`,
			"resize 5":         "say which workers: give ids, as workers lists them, or --all",
			"stop w-2":         `there is no worker "w-2": not found; did you mean "w-1"?`,
			"stacks w-2":       `there is no worker "w-2": not found; did you mean "w-1"?`,
			"retire w-1":       `there is no command "caddis worker retire"; did you mean "resize"?`,
		} {
			a := on(t, url, append([]string{"worker"}, strings.Fields(line)...)...)
			require.NotEqual(t, 0, a.code, line)
			require.Contains(t, a.err, want, line)
		}
	})
}
