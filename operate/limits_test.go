package operate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func TestLimitsAreFoundByTheJobsThatHaveThemTheFullestFirst(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		for i := range 130 {
			key := fmt.Sprintf("tenant-%03d", i)
			_, err := f.client.Enqueue(t.Context(), Welcome{}, jobs.Queue("q"), jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(func(Welcome) string { return key })))
			require.NoError(t, err)
		}
		one := jobs.Limit("api", jobs.Slots(1))
		for _, id := range []string{"a", "b", "c"} {
			_, err := f.client.Enqueue(t.Context(), Welcome{}, jobs.Queue("other"), jobs.ID(id), one)
			require.NoError(t, err)
		}
		reply, err := f.store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"other"}, Max: 3, Duration: time.Hour})
		require.NoError(t, err)
		require.Len(t, reply.Leases, 1)

		queues, err := f.client.Queues(t.Context())
		require.NoError(t, err)
		found, more, err := operate.Limits(t.Context(), f.client, queues)
		require.NoError(t, err)
		require.Len(t, found, operate.MaxLimits)
		require.True(t, more)
		require.Equal(t, "api", found[0].Class)
		require.Equal(t, 2, found[0].Parked)
		require.Equal(t, reply.Leases[0].Job.ID, found[0].Holders[0])
		require.Equal(t, "1 at a time", operate.Rule(found[0].Rule))
	})
}

func TestTheNumbersOfALimitAreTold(t *testing.T) {
	t.Parallel()
	for want, rule := range map[string]backend.LimitRule{
		"no limit": {}, "3 at a time": {Slots: 3}, "100 per 1s, 20 at once": {Rate: 100, Per: time.Second, Burst: 20},
		"3 at a time, 1 per 1m0s": {Slots: 3, Rate: 1, Per: time.Minute, Burst: 1},
	} {
		require.Equal(t, want, operate.Rule(rule))
	}
}
