package examples_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/actors/load"
	"github.com/caddis-go/caddis/jobs"
)

func chooseQueues(config *caddis.Config) {
	config.Queues = []string{"critical", "mail.*", "*", "!bulk"}
	config.Choice = actors.Weighted(map[string]int{"critical": 6, "mail.*": 3})
}

func chooseQueuesOfReadme(registry *jobs.Registry, use func(caddis.Config) error) error {
	gate, err := load.Gate(load.Limits{CPU: 0.9, Memory: 0.85})
	if err != nil {
		return err
	}
	config := caddis.Config{
		Registry: registry,
		Queues:   []string{"critical", "mail.*", "!mail.bulk"}, // queues that appear are found
		Choice:   actors.Weighted(map[string]int{"critical": 6, "mail.*": 3}),
		Gates:    []actors.Gate{gate},
	}
	return use(config)
}

func pauseMail(ctx context.Context, client *jobs.Client) error {
	err := client.PauseQueue(ctx, "mail", jobs.For(30*time.Minute))
	return err
}

func closeGates(config *caddis.Config, free func() int) {
	config.Gates = []actors.Gate{{
		Name:   "disk",
		Queues: []string{"video.*"}, // left out: all of the worker
		Check: func(ctx context.Context) error {
			if free() < 10<<30 {
				return errors.New("less than 10 GB are free")
			}
			return nil
		},
	}}
}

func TestTheCodeAboutQueuesWorks(t *testing.T) {
	t.Parallel()
	registry := newRegistry(&welcomer{})
	require.NoError(t, chooseQueuesOfReadme(registry, func(config caddis.Config) error {
		_, err := caddis.New(config)
		return err
	}))
	config := caddis.Config{Registry: registry}
	chooseQueues(&config)
	closeGates(&config, func() int { return 0 })
	system, err := caddis.New(config)
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	require.NoError(t, pauseMail(t.Context(), system.Client()))
	require.NoError(t, stop(t.Context(), system))
	require.Equal(t, "less than 10 GB are free", config.Gates[0].Check(t.Context()).Error())
}
