package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
)

func TestTheLanesOfAQueueAreListedTheLongestFirst(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		registry := jobs.NewRegistry()
		jobs.Declare[Welcome](registry, jobs.FairBy(func(w Welcome) string { return w.Secret }))
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{Registry: registry})
		require.NoError(t, err)
		for _, tenant := range []string{"acme", "globex", "globex", "acme", "globex"} {
			_, err := client.Enqueue(t.Context(), Welcome{Secret: tenant}, jobs.Queue("mail"))
			require.NoError(t, err)
		}
		require.Equal(t, "LANE    WAITING\nglobex        3\nacme          2\n", on(t, url, "queue", "lanes", "mail").out)
		require.JSONEq(t, `{"lanes":[{"key":"globex","waiting":3},{"key":"acme","waiting":2}]}`,
			on(t, url, "queue", "lanes", "mail", "-o", "json").out)
	})
}
