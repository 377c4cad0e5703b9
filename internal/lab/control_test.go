//go:build unix

package lab_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

// The lease is so long that a worker does not look by itself while the test runs.
func TestAWorkerHearsAtOnceWhatItIsToldByAnotherProgram(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) string{
		"sqlite": func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "jobs.db") },
		"redis":  func(t *testing.T) string { return "redis://" + redistest.Start(t, redistest.Options{}).Addr },
		"cluster": func(t *testing.T) string {
			return "redis+cluster://" + strings.Join(redistest.StartCluster(t, redistest.Options{}).Addrs(), ",")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, ctx := open(t), t.Context()
			connect := func() backend.Backend {
				store, err := backend.Open(url)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, store.Close()) })
				return store
			}
			registry := jobs.NewRegistry()
			runs := make(chan struct{})
			jobs.Handle(registry, func(ctx context.Context, _ *jobs.Job[letter]) error {
				close(runs)
				<-ctx.Done()
				return context.Cause(ctx)
			})
			system, err := caddis.New(caddis.Config{
				Backend: connect(), Registry: registry, Logger: slog.New(slog.DiscardHandler), Lease: time.Hour, Grace: time.Second,
			})
			require.NoError(t, err)
			require.NoError(t, system.Start(ctx))
			receipt, err := system.Client().Enqueue(ctx, letter{})
			require.NoError(t, err)
			<-runs
			client, err := jobs.NewClient(connect(), jobs.ClientConfig{})
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				workers, err := client.Workers(ctx)
				return err == nil && len(workers) == 1
			}, hung, time.Millisecond)

			become := func(state actors.State, tell func(context.Context, ...string) error) {
				began := time.Now()
				require.Eventually(t, func() bool {
					if time.Since(began) > time.Second { // it may not have listened yet
						require.NoError(t, tell(ctx))
						began = time.Now()
					}
					return system.Status().State == state
				}, hung, time.Millisecond)
				t.Logf("%s after %v", state, time.Since(began).Round(time.Millisecond))
			}
			require.NoError(t, client.QuietWorkers(ctx))
			become(actors.StateQuiet, client.QuietWorkers)
			require.NoError(t, client.ResumeWorkers(ctx))
			become(actors.StateRunning, client.ResumeWorkers)
			stacks, err := client.WorkerStacks(ctx)
			require.NoError(t, err)
			require.Len(t, stacks, 1)
			require.Len(t, stacks[0].Jobs, 1)
			require.Equal(t, receipt.ID, stacks[0].Jobs[0].ID)
			require.Contains(t, stacks[0].Jobs[0].Stack, "lab_test.")
			require.NoError(t, client.StopWorkers(ctx))
			report, err := system.Stopped().Wait(ctx)
			require.NoError(t, err)
			require.Equal(t, 1, report.Interrupted, "%+v", report)
		})
	}
}
