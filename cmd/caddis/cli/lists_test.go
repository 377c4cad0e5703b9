package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
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

func TestLimitsAreListedThoseWithMostParkedJobsFirst(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		registry := jobs.NewRegistry()
		jobs.Declare[Welcome](registry, jobs.Queue("mail"), jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(func(w Welcome) string { return w.Secret })))
		store := openStore(t, url)
		client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
		require.NoError(t, err)
		for _, tenant := range []string{"acme", "globex", "globex", "globex"} {
			_, err := client.Enqueue(t.Context(), Welcome{Secret: tenant})
			require.NoError(t, err)
		}
		_, err = store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 4, Duration: time.Hour})
		require.NoError(t, err)
		require.Equal(t, "QUEUE  LIMIT   KEY     RULE         SLOTS TAKEN  PARKED  NEXT TOKEN\n"+
			"mail   tenant  globex  1 at a time            1       2\n"+
			"mail   tenant  acme    1 at a time            1       0\n", on(t, url, "limits").out)
		require.Contains(t, on(t, url, "limits", "--queue", "mail", "-o", "jsonl").out, `"key":"globex"`)
		require.Equal(t, 3, on(t, url, "limits", "--queue", "mial").code)
	})
}

func TestErrorsAreListedInGroupsOfWhichTheJobsAreFoundAndRetried(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		store := openStore(t, url)
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		for i, failure := range []string{"user 1 is gone", "timeout", "user 2 is gone"} {
			_, err := client.Enqueue(t.Context(), Welcome{}, jobs.Queue("mail"), jobs.ID(failure))
			require.NoError(t, err)
			reply, err := store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: fmt.Sprintf("w.%d", i+1), Queues: []string{"mail"}, Max: 1, Duration: time.Hour})
			require.NoError(t, err)
			_, err = store.Settle(t.Context(), backend.SettleRequest{Worker: "w", Call: uint64(i + 1), Settlements: []backend.Settlement{{
				Queue: "mail", ID: failure, Token: reply.Leases[0].Token, Outcome: backend.OutcomeDead,
				History: &backend.History{Attempts: 1, Failures: []backend.Failure{{Attempt: 1, At: time.Now(), Error: failure}}},
			}}})
			require.NoError(t, err)
		}
		var groups []operate.ErrorGroup
		a := on(t, url, "errors", "-o", "jsonl")
		for decoder := json.NewDecoder(strings.NewReader(a.out)); decoder.More(); {
			var g operate.ErrorGroup
			require.NoError(t, decoder.Decode(&g))
			groups = append(groups, g)
		}
		require.Len(t, groups, 2)
		require.Equal(t, "user # is gone", groups[0].Text)
		require.Contains(t, on(t, url, "errors").out, "user # is gone")
		require.Equal(t, 2, strings.Count(on(t, url, "jobs", "--group", groups[0].ID, "-o", "jsonl").out, "\n"))
		retried := on(t, url, "job", "retry", "--all", "--queue", "mail", "--state", "dead", "--group", groups[0].ID, "-o", "json")
		require.Contains(t, retried.out, `"jobs": 2`)
		require.Contains(t, on(t, url, "errors").out, "timeout")
		require.NotContains(t, on(t, url, "errors").out, "user # is gone")
	})
}
