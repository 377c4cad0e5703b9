package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestTheStoreTellsTheVersionOfSQLite(t *testing.T) {
	t.Parallel()
	store, ok := at(t, filepath.Join(t.TempDir(), "jobs.db")).(backend.Versioned)
	require.True(t, ok)
	version, err := store.Version(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `^SQLite 3\.\d+\.\d+$`, version)
}
