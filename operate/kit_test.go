package operate_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/memory"
	_ "github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	_ "github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/jobs"
)

type Welcome struct {
	UserID int64 `json:"user_id"`
}

func (Welcome) Kind() string { return "welcome" }

// fleet is a store, its client, and a worker that does as it is told.
type fleet struct {
	t      *testing.T
	store  backend.Backend
	client *jobs.Client
	calls  uint64
}

func newFleet(t *testing.T, url string) *fleet {
	store, err := backend.Open(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	return &fleet{t: t, store: store, client: client}
}

// onStores runs a test on each store.
func onStores(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) { t.Parallel(); test(t, newFleet(t, "memory:")) })
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newFleet(t, "sqlite:"+filepath.Join(t.TempDir(), "jobs.db")))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, newFleet(t, "redis://"+redistest.Start(t, redistest.Options{}).Addr))
	})
}

func (f *fleet) enqueue(queue string, ids ...string) {
	f.t.Helper()
	var items []jobs.Item
	for _, id := range ids {
		items = append(items, jobs.New(Welcome{}, jobs.Queue(queue), jobs.ID(id)))
	}
	_, err := f.client.EnqueueMany(f.t.Context(), items...)
	require.NoError(f.t, err)
}

// die makes the jobs that wait in a queue dead, each with the error that it is given.
func (f *fleet) die(queue string, failure func(id string) backend.Failure) {
	f.t.Helper()
	for {
		f.calls++
		reply, err := f.store.Lease(f.t.Context(), backend.LeaseRequest{
			Worker: "w", Token: fmt.Sprintf("w.%d", f.calls), Queues: []string{queue}, Max: 500, Duration: time.Hour,
		})
		require.NoError(f.t, err)
		if len(reply.Leases) == 0 {
			return
		}
		var settlements []backend.Settlement
		for _, l := range reply.Leases {
			settlements = append(settlements, backend.Settlement{
				Queue: queue, ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeDead,
				History: &backend.History{Attempts: 1, Failures: []backend.Failure{failure(l.Job.ID)}, FinishedAt: time.Now()},
			})
		}
		_, err = f.store.Settle(f.t.Context(), backend.SettleRequest{Worker: "w", Call: f.calls, Settlements: settlements})
		require.NoError(f.t, err)
	}
}

func (f *fleet) announce(w backend.WorkerInfo) {
	f.t.Helper()
	w.StartedAt = time.Now()
	_, err := f.store.Announce(f.t.Context(), w, time.Hour)
	require.NoError(f.t, err)
}

func (f *fleet) count(queue string, state backend.State) int64 {
	f.t.Helper()
	info, err := f.client.Queue(f.t.Context(), queue)
	require.NoError(f.t, err)
	return info.Counts[state]
}

// ids are n ids with a prefix.
func ids(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%04d", prefix, i))
	}
	return all
}
