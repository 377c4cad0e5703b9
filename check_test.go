package caddis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// checking is a store whose Check is the test's.
type checking struct {
	*away
	check func() error
}

func (s *checking) Check(context.Context) ([]backend.Warning, error) { return nil, s.check() }

func onCheck(t *testing.T, check func() error) func(*caddis.Config) {
	return func(c *caddis.Config) { c.Backend = &checking{newAway(t), check} }
}

func TestAStoreThatPanicsWhenItIsCheckedIsAnErrorOfTheStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, noop, onCheck(t, func() error { panic("the dialer has a fault") }))
		_, err := system.Run(t.Context())
		var fault *jobs.Panic
		require.ErrorAs(t, err, &fault)
		require.ErrorContains(t, err, "the job store cannot be used")
	})
}

func TestAStoreThatBlocksWhenItIsCheckedKeepsNeitherStartNorStopWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		block := func() error { <-gate; return nil }
		require.ErrorIs(t, newSystem(t, noop, onCheck(t, block)).Start(t.Context()), backend.ErrUnavailable)

		system := newSystem(t, noop, onCheck(t, block))
		began := time.Now()
		time.AfterFunc(time.Second, func() { system.Stop() })
		report, err := system.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, actors.StateStopped, report.State)
		require.Equal(t, time.Second, time.Since(began))
	})
}
