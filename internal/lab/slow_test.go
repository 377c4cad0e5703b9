//go:build unix

package lab_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
)

// lesson: to connect takes three times as long as to ask, on a slow line longer than a call
// may take. Once its connections were gone nobody got one any more.
func TestAConnectionIsHadOverASlowLineToo(t *testing.T) {
	overBoth(t, func(t *testing.T, _ *redistest.Server, proxy *lab.Proxy) {
		store, err := backend.Open(proxy.URL())
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		enqueue := func(id string) error {
			_, err := store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: id, Queue: "q", Kind: "k"}}})
			return err
		}
		require.NoError(t, enqueue("quick"))
		proxy.Set(lab.Weather{Delay: 200 * time.Millisecond})
		proxy.Cut()
		for try := 1; ; try++ {
			err := enqueue("slow")
			if err == nil {
				t.Logf("it took %d tries", try)
				break
			}
			require.ErrorIs(t, err, backend.ErrUnavailable)
			require.Less(t, try, 20)
		}
	})
}
