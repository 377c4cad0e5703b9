package examples_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

func control(ctx context.Context, client *jobs.Client, id string) error {
	if err := client.QuietWorkers(ctx); err != nil { // all, those that start later included
		return err
	}
	if err := client.ResumeWorkers(ctx, id); err != nil { // but this one
		return err
	}
	if err := client.ResizeWorkers(ctx, 100, id); err != nil { // 0: what it was configured with
		return err
	}
	stacks, err := client.WorkerStacks(ctx, id) // where its handlers are
	if err != nil {
		return err
	}
	fmt.Println(stacks[0].Jobs)
	return client.StopWorkers(ctx, id)
}

func TestTheControlOfTheDocumentsWorks(t *testing.T) {
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer store.Close()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(context.Context, *jobs.Job[Welcome]) error { return nil })
	system, err := caddis.New(caddis.Config{Backend: store, Registry: registry})
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	client := system.Client()
	require.Eventually(t, func() bool {
		workers, err := client.Workers(t.Context())
		return err == nil && len(workers) == 1
	}, time.Minute, time.Millisecond)
	require.NoError(t, control(t.Context(), client, system.Status().Worker))
	report, err := system.Stopped().Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, actors.StateStopped, report.State)
}
