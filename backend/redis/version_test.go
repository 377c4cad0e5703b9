package redis_test

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

func TestTheStoreTellsItsServersVersion(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	store, err := redis.Open("redis://" + server.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()

	var versioned backend.Versioned = store
	version, err := versioned.Version(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `^Redis \d+\.\d+\.\d+$`, version)
	said, err := exec.Command(redistest.Binary, "--version").Output()
	require.NoError(t, err)
	require.Contains(t, string(said), version[len("Redis "):])

	admin := server.Client()
	defer func() { _ = admin.Close() }()
	require.NoError(t, admin.ACLSetUser(t.Context(), "app", "on", ">secret", "~*", "&*", "+@all", "-info").Err())
	limited, err := redis.Open("redis://app:secret@" + server.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, limited.Close()) }()
	_, err = limited.Version(t.Context())
	require.ErrorIs(t, err, backend.ErrDenied)
}
