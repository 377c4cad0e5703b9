//go:build unix

package lab_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

func TestACheckpointWhoseRequestsAreCutIsSavedAllTheSame(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	proxy := lab.StartProxy(t, server.Addr)
	store, err := backend.Open("redis://" + proxy.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	registry := jobs.NewRegistry()
	done := make(chan int, 1)
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[letter]) error {
		var page int
		found, err := job.Checkpoint(&page)
		if err != nil {
			return jobs.Discard(err)
		}
		if found {
			done <- page
			return nil
		}
		for _, cut := range []func(string, int) *lab.Trap{proxy.CutBefore, proxy.CutAfter} {
			for n := range 4 { // one is healed by the store's client
				page++
				var sprung <-chan struct{}
				if n > 0 {
					sprung = cut("save_history", n).Sprung
				}
				if err := job.SaveCheckpoint(ctx, page); err != nil {
					return jobs.Discard(err)
				}
				if n > 0 {
					<-sprung
				}
				stored, err := store.Job(ctx, job.Queue, job.ID)
				if err != nil {
					return jobs.Discard(err)
				}
				if string(stored.Checkpoint) != string('0'+rune(page)) {
					t.Errorf("page %d, and %q is stored", page, stored.Checkpoint)
				}
			}
		}
		return jobs.RetryIn(0, context.Canceled)
	})
	system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	_, err = system.Client().Enqueue(t.Context(), letter{})
	require.NoError(t, err)
	require.Equal(t, 8, <-done)
	report, err := system.Stop().Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, report.Completed)
}
