package caddis_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// fleet is some workers on one store, in a bubble.
type fleet struct {
	*testing.T
	store  *memory.Backend
	client *jobs.Client
}

func newFleet(t *testing.T) *fleet {
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	return &fleet{t, store, client}
}

// start starts a worker and waits until it has published how it is, which it does every
// third of a lease.
func (f *fleet) start(h handler, change ...func(*caddis.Config)) *caddis.System {
	f.Helper()
	system := newSystem(f.T, h, append(change, func(c *caddis.Config) { c.Backend = f.store })...)
	require.NoError(f, system.Start(f.Context()))
	time.Sleep(10 * time.Second)
	return system
}

// requireState wants what was told to be in force 100 ms later, and to be seen.
func (f *fleet) requireState(want actors.State, systems ...*caddis.System) {
	f.Helper()
	time.Sleep(100 * time.Millisecond)
	listed, err := f.client.Workers(f.Context())
	require.NoError(f, err)
	seen := map[string]string{}
	for _, w := range listed {
		seen[w.ID] = w.State
	}
	for _, s := range systems {
		require.Equal(f, want, s.Status().State)
		require.Equal(f, string(want), seen[s.Status().Worker])
	}
}

func TestWorkersAreToldToBeQuietAndToResumeOneSomeOrAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t)
		ctx := t.Context()
		a, b, c := f.start(noop), f.start(noop), f.start(noop)
		require.NoError(t, f.client.QuietWorkers(ctx, a.Status().Worker))
		f.requireState(actors.StateQuiet, a)
		f.requireState(actors.StateRunning, b, c)
		require.NoError(t, f.client.QuietWorkers(ctx))
		f.requireState(actors.StateQuiet, a, b, c)
		require.NoError(t, f.client.ResumeWorkers(ctx, b.Status().Worker, c.Status().Worker))
		f.requireState(actors.StateQuiet, a)
		f.requireState(actors.StateRunning, b, c)

		late := f.start(noop)
		f.requireState(actors.StateQuiet, late) // what all were told counts for it
		require.NoError(t, f.client.ResumeWorkers(ctx))
		f.requireState(actors.StateRunning, a, b, c, late)
		a.Quiet() // by its program
		time.Sleep(time.Minute)
		f.requireState(actors.StateQuiet, a)
		require.NoError(t, f.client.ResumeWorkers(ctx))
		f.requireState(actors.StateRunning, a, f.start(noop))

		err := f.client.QuietWorkers(ctx, a.Status().Worker, "nobody")
		require.ErrorIs(t, err, backend.ErrNotFound)
		require.ErrorContains(t, err, `there is no worker "nobody"`)
		f.requireState(actors.StateRunning, a)
	})
}

func TestAFleetThatWasResizedStaysSoAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t)
		ctx := t.Context()
		five := func(c *caddis.Config) { c.Concurrency = 5 }
		a, b := f.start(noop, five), f.start(noop, five)
		requireSizes := func(want ...int) {
			t.Helper()
			time.Sleep(100 * time.Millisecond)
			require.Equal(t, want, []int{a.Status().Concurrency, b.Status().Concurrency})
		}
		require.NoError(t, f.client.ResizeWorkers(ctx, 7))
		requireSizes(7, 7)
		require.NoError(t, f.client.ResizeWorkers(ctx, 2, a.Status().Worker))
		requireSizes(2, 7)
		_, err := b.Stop().Wait(ctx)
		require.NoError(t, err)
		b = f.start(noop, five)
		requireSizes(2, 7)
		require.NoError(t, f.client.ResizeWorkers(ctx, 0))
		requireSizes(5, 5)
		b = f.start(noop, five)
		requireSizes(5, 5)
		require.ErrorIs(t, f.client.ResizeWorkers(ctx, -1), backend.ErrRejected)
		require.NoError(t, f.client.ResizeWorkers(ctx, 2_000_000))
		requireSizes(5, 5)
	})
}

func TestAStopIsForTheWorkersThatAreThere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t)
		ctx := t.Context()
		a, b := f.start(noop), f.start(noop)
		require.NoError(t, f.client.StopWorkers(ctx, a.Status().Worker))
		<-a.Stopped().Done()
		f.requireState(actors.StateRunning, b)
		require.NoError(t, f.client.StopWorkers(ctx))
		<-b.Stopped().Done()
		c := f.start(noop)
		time.Sleep(time.Minute)
		f.requireState(actors.StateRunning, c)
	})
}

func lingering(ctx context.Context, job *jobs.Job[task]) error { return polite(ctx, job) }

func TestTheStacksOfHandlersThatRunAreTold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t)
		ctx := t.Context()
		a, b := f.start(lingering), f.start(noop, func(c *caddis.Config) { c.Queues = []string{"other"} })
		receipt, err := a.Client().Enqueue(ctx, task{})
		require.NoError(t, err)
		time.Sleep(time.Second)
		stacks, err := f.client.WorkerStacks(ctx)
		require.NoError(t, err)
		require.Len(t, stacks, 2)
		for _, s := range stacks {
			if s.Worker == b.Status().Worker {
				require.Empty(t, s.Jobs)
				continue
			}
			require.Equal(t, a.Status().Worker, s.Worker)
			require.Len(t, s.Jobs, 1)
			require.Equal(t, receipt.ID, s.Jobs[0].ID)
			require.Equal(t, "task", s.Jobs[0].Kind)
			require.Contains(t, s.Jobs[0].Stack, "caddis_test.lingering")
		}
		stacks, err = f.client.WorkerStacks(ctx, a.Status().Worker)
		require.NoError(t, err)
		require.Len(t, stacks, 1)
	})
}

func TestOrdersThatCannotBeUnderstoodAreSaidOnceAndDoNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t)
		var log bytes.Buffer
		_, err := f.store.WriteMemo(t.Context(), backend.MemoWrite{
			Name: backend.ControlMemo, Key: "orders", Act: backend.MemoSet, Call: "call", Value: []byte("no JSON"),
		})
		require.NoError(t, err)
		a := f.start(noop, func(c *caddis.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		time.Sleep(time.Minute)
		f.requireState(actors.StateRunning, a)
		_, err = a.Stop().Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(log.String(), "cannot be understood"), log.String())
	})
}
