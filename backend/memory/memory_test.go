package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/backendtest"
	"github.com/caddis-go/caddis/backend/memory"
)

func open(t *testing.T) backend.Backend {
	return openWith(t, memory.Config{})
}

func openWith(t *testing.T, config memory.Config) *memory.Backend {
	t.Helper()
	store, err := memory.New(config)
	require.NoError(t, err)
	return store
}

func openPolicy(t *testing.T, policy backend.RetentionPolicy) backend.Backend {
	return openWith(t, memory.Config{Retention: policy})
}

func TestMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, open)
}

func TestMemoryKeepsTheContractInABubble(t *testing.T) {
	t.Parallel()
	backendtest.RunSynctest(t, open)
}

func TestMemoryKeepsFinishedJobsAsThePolicySays(t *testing.T) {
	t.Parallel()
	backendtest.RunRetention(t, openPolicy)
}

func TestMemoryDoesWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	sequences := 10_000
	if testing.Short() {
		sequences = 500
	}
	backendtest.RunModel(t, open, sequences)
}
