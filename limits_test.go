package caddis_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// lesson: a limit that is passed, one that lets less through than it could as nobody is woken,
// and a limited key that blocks the unrelated jobs behind it.
func TestTwoWorkersKeepALimitAndUseAllOfIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, err := memory.New(memory.Config{})
		require.NoError(t, err)
		const slots, tenants, each = 3, 2, 30
		var running, most [tenants]atomic.Int64
		done := make(chan int, tenants*each)
		plain := make(chan time.Time, 1)
		var log bytes.Buffer
		var systems []*caddis.System
		for range 2 {
			registry := jobs.NewRegistry()
			jobs.Handle(registry, func(_ context.Context, job *jobs.Job[task]) error {
				tenant := job.Args.N % tenants
				n := running[tenant].Add(1)
				if n > most[tenant].Load() {
					most[tenant].Store(n)
				}
				time.Sleep(100 * time.Millisecond)
				running[tenant].Add(-1)
				done <- tenant
				return nil
			}, jobs.Limit("tenant", jobs.Slots(slots), jobs.LimitBy(func(t task) string { return fmt.Sprint(t.N % tenants) })))
			jobs.Handle(registry, func(context.Context, *jobs.Job[letter]) error { plain <- time.Now(); return nil }, jobs.Queue(jobs.DefaultQueue))
			system, err := caddis.New(caddis.Config{
				Backend: store, Registry: registry, Concurrency: 10,
				Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
			require.NoError(t, err)
			systems = append(systems, system)
		}
		client := systems[0].Client()
		for n := range tenants * each {
			_, err := client.Enqueue(t.Context(), task{N: n})
			require.NoError(t, err)
		}
		_, err = client.Enqueue(t.Context(), letter{})
		require.NoError(t, err)
		began := time.Now()
		for _, system := range systems {
			start(t, system)
		}
		for range tenants * each {
			<-done
		}
		require.Less(t, (<-plain).Sub(began), 50*time.Millisecond, "it stands behind parked jobs only")
		took := time.Since(began)
		require.Less(t, took, each/slots*100*time.Millisecond+50*time.Millisecond, "all slots were in use all the time")
		for tenant := range most {
			require.EqualValues(t, slots, most[tenant].Load())
		}
		for _, system := range systems {
			_, err := system.StopWith(actors.Stop{}).Wait(t.Context())
			require.NoError(t, err)
		}
		for tenant := range tenants {
			info, err := client.Limit(t.Context(), jobs.DefaultQueue, "tenant", fmt.Sprint(tenant))
			require.NoError(t, err)
			require.Zero(t, info.Held)
		}
		require.Empty(t, log.String())
	})
}
