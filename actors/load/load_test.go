package load

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheGateIsClosedWhileALimitIsPassed(t *testing.T) {
	t.Parallel()
	now, used := spent{busy: 100, all: 1000}, 0.5
	m := &meter{
		limits: Limits{CPU: 0.9, Memory: 0.8},
		cpu:    func(context.Context) (spent, error) { return now, nil },
		memory: func(context.Context) (float64, error) { return used, nil },
	}
	require.NoError(t, m.check(t.Context()))
	now = spent{busy: 195, all: 1100}
	require.EqualError(t, m.check(t.Context()), "the processors are busy by 95 %, and the limit is 90 %")
	require.NoError(t, m.check(t.Context()), "no time has passed, so nothing is known")
	now, used = spent{busy: 275, all: 1200}, 0.81
	require.EqualError(t, m.check(t.Context()), "81 % of the memory are in use, and the limit is 80 %")
	now, used = spent{busy: 360, all: 1300}, 0.79
	require.NoError(t, m.check(t.Context()))
}

func TestALoadThatCannotBeReadClosesTheGate(t *testing.T) {
	t.Parallel()
	fault := errors.New("no /proc")
	m := &meter{
		limits: Limits{CPU: 1, Memory: 1},
		cpu:    func(context.Context) (spent, error) { return spent{}, fault },
		memory: func(context.Context) (float64, error) { return 0, fault },
	}
	require.ErrorIs(t, m.check(t.Context()), fault)
	m.limits.CPU = 0
	require.ErrorIs(t, m.check(t.Context()), fault)
}

func TestTheLoadOfThisMachineCanBeRead(t *testing.T) {
	t.Parallel()
	gate, err := Gate(Limits{CPU: 1, Memory: 1})
	require.NoError(t, err)
	require.Equal(t, "load", gate.Name)
	require.NoError(t, gate.Check(t.Context()))
	now, err := readCPU(t.Context())
	require.NoError(t, err)
	require.Greater(t, now.all, now.busy)
	require.Positive(t, now.busy)
	used, err := readMemory(t.Context())
	require.NoError(t, err)
	require.Greater(t, used, 0.0)
	require.Less(t, used, 1.0)
}

func TestImpossibleLimitsAreRefused(t *testing.T) {
	t.Parallel()
	for _, limits := range []Limits{{}, {CPU: -1}, {CPU: 90}, {Memory: math.NaN()}} {
		_, err := Gate(limits)
		require.ErrorContains(t, err, "give")
	}
}
