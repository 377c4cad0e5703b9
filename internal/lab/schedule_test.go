//go:build unix

package lab_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

type chime struct{}

func (chime) Kind() string { return "chime" }

// TestWorkersThatComeAndGoChimeEachSecondOnce lets workers on one server come and go, some
// of which are cut off from it for a while.
func TestWorkersThatComeAndGoChimeEachSecondOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	const workers, lasts = 4, 8 * time.Second
	ctx := t.Context()
	var mu sync.Mutex
	chimed := map[string]int{}
	work := func(life time.Duration) error {
		registry := jobs.NewRegistry()
		jobs.Handle(registry, func(_ context.Context, job *jobs.Job[chime]) error {
			mu.Lock()
			defer mu.Unlock()
			chimed[job.ID]++
			return nil
		})
		jobs.Schedule(registry, "chime", jobs.Every(time.Second), chime{}, jobs.CatchUpAll(time.Hour), jobs.Overlap(backend.OverlapAllow))
		proxy := lab.StartProxy(t, server.Addr)
		store, err := backend.Open("redis://" + proxy.Addr)
		if err != nil {
			return err
		}
		defer store.Close()
		system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, Logger: slog.New(slog.DiscardHandler), Grace: 2 * time.Second})
		if err != nil {
			return err
		}
		if err := system.Start(ctx); err != nil {
			return err
		}
		time.Sleep(life / 2)
		proxy.Cut()
		time.Sleep(life / 2)
		_, err = system.StopWith(actors.Stop{Urgency: actors.HandBack}).Wait(ctx)
		return err
	}
	began := time.Now()
	var fleet sync.WaitGroup
	for range workers {
		fleet.Go(func() {
			for time.Since(began) < lasts {
				if err := work(time.Duration(rand.Int64N(int64(3 * time.Second)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	fleet.Wait()
	require.NoError(t, work(2*time.Second), "the last one does what is left")

	store, err := backend.Open("redis://" + server.Addr)
	require.NoError(t, err)
	defer store.Close()
	page, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: jobs.DefaultQueue, Name: "chime"})
	require.NoError(t, err)
	for _, state := range backend.States { // what the last one handed back
		left, err := store.Jobs(ctx, backend.JobsQuery{Queue: jobs.DefaultQueue, State: state, Limit: backend.MaxPage})
		require.NoError(t, err)
		for _, job := range left.Jobs {
			chimed[job.ID]++
		}
	}
	var all []time.Time
	for id := range chimed {
		_, at, ok := backend.ParseTickID(id)
		require.True(t, ok, id)
		all = append(all, at)
	}
	slices.SortFunc(all, time.Time.Compare)
	require.NotEmpty(t, all)
	require.EqualValues(t, page.Schedules[0].Enqueued, len(all), "each second was enqueued once")
	for i := 1; i < len(all); i++ {
		require.Equal(t, all[i-1].Add(time.Second), all[i], "no second is missing")
	}
	t.Logf("%d seconds in %v", len(all), time.Since(began).Round(time.Millisecond))
}
