package operate_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// start starts a worker of a queue, and waits until it is listed.
func (f *fleet) start(queue string, handle func()) *caddis.System {
	f.t.Helper()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(context.Context, *jobs.Job[Welcome]) error {
		handle()
		return nil
	})
	system, err := caddis.New(caddis.Config{Backend: f.store, Registry: registry, Queues: []string{queue}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f.t, err)
	require.NoError(f.t, system.Start(f.t.Context()))
	f.t.Cleanup(func() { _, _ = system.Stop().Wait(context.Background()) })
	require.Eventually(f.t, func() bool {
		listed, err := f.client.Workers(f.t.Context())
		require.NoError(f.t, err)
		for _, w := range listed {
			if w.ID == system.Status().Worker {
				return true
			}
		}
		return false
	}, time.Minute, 10*time.Millisecond)
	return system
}

func TestWhoStopsWorkersLearnsHowEachEnded(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		begun, end := make(chan struct{}), make(chan struct{})
		busy := f.start("mail", func() {
			close(begun)
			<-end
		})
		idle := f.start("reports", func() {})
		f.enqueue("mail", "a")
		<-begun

		// One alone, which ends at once, and is not told of the other.
		how := map[string]operate.Stopped{}
		keep := func(s operate.Stopped) { how[s.ID] = s }
		left, err := operate.StopWorkers(t.Context(), f.client, []string{idle.Status().Worker}, keep, nil)
		require.NoError(t, err)
		require.Empty(t, left)
		require.Len(t, how, 1)
		stopped := how[idle.Status().Worker]
		require.Equal(t, "stopped", stopped.State)
		require.Equal(t, "0 leased", stopped.Account())

		// The busy one has not ended when the patience does.
		gone := errors.New("no patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, gone)
		defer cancel()
		var seen operate.Stopping
		left, err = operate.StopWorkers(ctx, f.client, nil, keep, func(all []operate.Stopping) { seen = all[0] })
		require.ErrorIs(t, err, gone)
		require.Len(t, left, 1)
		require.Equal(t, busy.Status().Worker, left[0].ID)
		require.Equal(t, "draining", left[0].State, "as it was seen last")
		require.Equal(t, "draining", seen.State)
		require.WithinDuration(t, time.Now().Add(actors.DefaultGrace), seen.EndsBy, 10*time.Second)

		// One that is killed is told from those that have stopped.
		_, err = f.store.Announce(t.Context(), backend.WorkerInfo{ID: "killed", StartedAt: time.Now()}, 2*time.Second)
		require.NoError(t, err)
		time.AfterFunc(100*time.Millisecond, func() { close(end) })
		left, err = operate.StopWorkers(t.Context(), f.client, nil, keep, nil)
		require.NoError(t, err)
		require.Empty(t, left)
		require.Equal(t, "1 leased, 1 completed", how[busy.Status().Worker].Account())
		require.Equal(t, operate.StateVanished, how["killed"].State)
		require.Equal(t, "no report", how["killed"].Account())

		_, err = operate.StopWorkers(t.Context(), f.client, []string{"nobody"}, keep, nil)
		require.ErrorIs(t, err, backend.ErrNotFound)
	})
}
