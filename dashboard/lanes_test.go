package dashboard_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

func TestTheLanesOfAQueueAreShownTheLongestFirst(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		lane := func(key string) jobs.EnqueueOption {
			return jobs.FairBy(func(Welcome) string { return key })
		}
		for n, key := range []string{"acme", "<i>globex", "<i>globex"} {
			s.enqueue(Welcome{}, jobs.ID(fmt.Sprint("job-", n)), lane(key))
		}
		s.enqueue(Welcome{}, jobs.Queue("plain"))
		require.NotContains(t, s.text("queue?name=plain"), "Lanes")
		require.Contains(t, s.text("queue?name=mail"), "Lane Waiting <i>globex 2 acme 1")
		require.NotContains(t, s.page("queue?name=mail"), "<i>globex")
		for n := range 20 {
			s.enqueue(Welcome{}, jobs.ID(fmt.Sprint("other-", n)), lane(fmt.Sprint("tenant-", n)))
		}
		require.Contains(t, s.text("queue?name=mail"), "There are more lanes.")
	})
}
