package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/backendtest"
	"github.com/caddis-go/caddis/backend/sqlite"
)

func open(t *testing.T) backend.Backend {
	t.Helper()
	store, err := backend.Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db"))
	require.NoError(t, err)
	return store
}

func openRelaxed(t *testing.T) backend.Backend {
	t.Helper()
	store, err := backend.Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db") + "?relaxed=true")
	require.NoError(t, err)
	return store
}

func openPolicy(t *testing.T, policy backend.RetentionPolicy) backend.Backend {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "app.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	store, err := sqlite.New(db, sqlite.Config{Retention: policy})
	require.NoError(t, err)
	return store
}

func openMemory(t *testing.T) backend.Backend {
	t.Helper()
	store, err := backend.Open("sqlite:")
	require.NoError(t, err)
	return store
}

func TestSQLiteKeepsTheContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, open)
}

func TestSQLiteInMemoryKeepsTheContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, openMemory)
}

func TestSQLiteKeepsFinishedJobsAsThePolicySays(t *testing.T) {
	t.Parallel()
	backendtest.RunRetention(t, openPolicy)
}

func TestSQLiteDoesWhatTheModelDoes(t *testing.T) {
	t.Parallel()
	sequences := 10_000
	if testing.Short() {
		sequences = 200
	}
	backendtest.RunModel(t, openRelaxed, sequences)
}
