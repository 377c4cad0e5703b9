package sqlite_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/sqlite"
)

func TestAURLThatCannotBeUsedIsRefusedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for url, why := range map[string]string{
		"sqlite:jobs.db?relaxed=maybe":    "neither true nor false",
		"sqlite:jobs.db?busy_timeout=-1s": "no positive time",
		"sqlite:jobs.db?mode=ro":          `no parameter "mode"`,
		"sqlite://host/jobs.db":           "names a host",
		"sqlite:jobs%zz.db":               "cannot be read",
		"sqlite:jobs%00.db":               "NUL",
	} {
		_, err := backend.Open(url)
		require.ErrorIs(t, err, backend.ErrRejected, url)
		require.ErrorContains(t, err, why, url)
		require.ErrorContains(t, err, "write sqlite:jobs.db", url)
	}
}

func TestAConfigThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	_, err := sqlite.New(nil, sqlite.Config{})
	require.ErrorIs(t, err, backend.ErrRejected)
	_, err = sqlite.New(db, sqlite.Config{BusyTimeout: -1})
	require.ErrorIs(t, err, backend.ErrRejected)
	_, err = sqlite.New(db, sqlite.Config{Retention: backend.RetentionPolicy{Dead: backend.Retention{Count: -1}}})
	require.ErrorIs(t, err, backend.ErrRejected)
}
