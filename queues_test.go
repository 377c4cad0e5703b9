package caddis_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

type letter struct{}

func (letter) Kind() string { return "letter" }

// lesson: a kind whose queue nobody takes from must not wait for ever in silence.
func TestAWorkerTakesFromTheQueuesOfItsKindsUnlessItIsToldOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		queues []string
		takes  []string
		warns  bool
	}{
		"left out": {nil, []string{jobs.DefaultQueue, "mail"}, false},
		"both":     {[]string{"mail", jobs.DefaultQueue}, []string{"mail", jobs.DefaultQueue}, false},
		"one only": {[]string{jobs.DefaultQueue}, []string{jobs.DefaultQueue}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				registry := jobs.NewRegistry()
				jobs.Handle(registry, func(context.Context, *jobs.Job[task]) error { return nil })
				jobs.Handle(registry, func(context.Context, *jobs.Job[letter]) error { return nil }, jobs.Queue("mail"))
				var log bytes.Buffer
				system, err := caddis.New(caddis.Config{
					Registry: registry, Queues: c.queues,
					Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
				})
				require.NoError(t, err)
				for _, args := range []jobs.Args{task{}, letter{}} {
					_, err = system.Client().Enqueue(t.Context(), args)
					require.NoError(t, err)
				}
				require.NoError(t, system.Start(t.Context()))
				time.Sleep(time.Second)
				workers, err := system.Client().Workers(t.Context())
				require.NoError(t, err)
				require.Equal(t, c.takes, workers[0].Queues)
				report, err := system.StopWith(actors.Stop{}).Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, len(c.takes), report.Completed)
				if !c.warns {
					require.Empty(t, log.String())
					return
				}
				require.Contains(t, log.String(), "their jobs wait for ever: add it to Config.Queues")
				require.Contains(t, log.String(), "queue=mail kinds=[letter] queues=[default]")
			})
		})
	}
}
