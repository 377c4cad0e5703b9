//go:build unix

package lab_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

// An act takes jobs out of the state that is paged over, so that the rest moves up.
func TestAnActOnAllReachesAllOnEachStore(t *testing.T) {
	t.Parallel()
	const n = 3*backend.MaxPage + 7
	for name, url := range map[string]string{
		"memory": "memory:",
		"redis":  "redis://" + redistest.Start(t, redistest.Options{}).Addr,
		"shards": "redis://" + redistest.Start(t, redistest.Options{}).Addr + "?shards=3",
		"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "jobs.db"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := backend.Open(url)
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			client, err := jobs.NewClient(store, jobs.ClientConfig{})
			require.NoError(t, err)
			items := make([]jobs.Item, n)
			for i := range items {
				items[i] = jobs.New(order{}, jobs.ID(fmt.Sprint(i)))
			}
			_, err = client.EnqueueMany(t.Context(), items...)
			require.NoError(t, err)

			for _, step := range []struct {
				from backend.State
				act  string
			}{
				{backend.StateWaiting, "cancel"},
				{backend.StateCancelled, "retry"},
				{backend.StateWaiting, "cancel"},
				{backend.StateCancelled, "delete"},
			} {
				act := client.Cancel
				switch step.act {
				case "retry":
					act = client.Retry
				case "delete":
					act = client.Delete
				}
				applied, err := client.ForAll(t.Context(), jobs.DefaultQueue, step.from, act)
				require.NoError(t, err)
				require.Equal(t, n, applied, "%s of the %s", step.act, step.from)
				q, err := client.Queue(t.Context(), jobs.DefaultQueue)
				require.NoError(t, err)
				require.Zero(t, q.Counts[step.from])
			}
		})
	}
}

type order struct{}

func (order) Kind() string { return "order" }
