package redis_test

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/backendtest"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

var namespaces atomic.Int64

// open makes a backend with a namespace of its own, and fills in the rest of the
// configuration.
func open(t testing.TB, client goredis.UniversalClient, config redis.Config) *redis.Backend {
	t.Helper()
	if config.Namespace == "" {
		config.Namespace = fmt.Sprint("test-", namespaces.Add(1))
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	store, err := redis.New(client, config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// standalone starts a server and makes a client for it.
func standalone(t testing.TB, options redistest.Options) (*redistest.Server, *goredis.Client) {
	t.Helper()
	server := redistest.Start(t, options)
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	return server, client
}

// unhurried is for tests in which nothing fails: with large payloads, under the race
// detector and side by side, a call may take seconds.
var unhurried = redis.Config{Timeout: 10 * time.Second}

func TestOneServerConforms(t *testing.T) {
	t.Parallel()
	_, client := standalone(t, redistest.Options{})
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, client, unhurried) })
}

func TestOneServerConformsOverTLS(t *testing.T) {
	t.Parallel()
	_, client := standalone(t, redistest.Options{TLS: true})
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, client, unhurried) })
}

func TestAClusterConformsOverTLS(t *testing.T) {
	t.Parallel()
	client := redistest.StartCluster(t, redistest.Options{TLS: true}).Client()
	t.Cleanup(func() { _ = client.Close() })
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, client, unhurried) })
}

func TestOneServerKeepsRetention(t *testing.T) {
	t.Parallel()
	_, client := standalone(t, redistest.Options{})
	backendtest.RunRetention(t, func(t *testing.T, policy backend.RetentionPolicy) backend.Backend {
		return open(t, client, redis.Config{Retention: policy, Timeout: unhurried.Timeout})
	})
}

func TestAClusterConforms(t *testing.T) {
	t.Parallel()
	client := redistest.StartCluster(t, redistest.Options{}).Client()
	t.Cleanup(func() { _ = client.Close() })
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, client, unhurried) })
}

func TestOneServerKeepsToTheModel(t *testing.T) {
	t.Parallel()
	_, client := standalone(t, redistest.Options{})
	sequences := 10_000
	if testing.Short() {
		sequences = 500
	}
	backendtest.RunModel(t, func(t *testing.T) backend.Backend { return open(t, client, unhurried) }, sequences)
}

// The scripts are those of one server, so a part of the sequences shows what a Cluster may do
// otherwise. CADDIS_SEQUENCES says how many.
func TestAClusterKeepsToTheModel(t *testing.T) {
	t.Parallel()
	client := redistest.StartCluster(t, redistest.Options{}).Client()
	t.Cleanup(func() { _ = client.Close() })
	sequences, err := strconv.Atoi(cmp.Or(os.Getenv("CADDIS_SEQUENCES"), "500"))
	require.NoError(t, err)
	backendtest.RunModel(t, func(t *testing.T) backend.Backend { return open(t, client, unhurried) }, sequences)
}
