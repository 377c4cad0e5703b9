//go:build unix

package lab_test

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
)

// The one that is left has nothing to do and asks few of its queues, so it has to be
// told in which the other one left jobs behind.
func TestAWorkerThatIsKilledLosesNothingInAnyOfManyQueues(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) string{
		"one server": func(t *testing.T) string { return "redis://" + redistest.Start(t, redistest.Options{}).Addr },
		"a Cluster": func(t *testing.T) string {
			return "redis+cluster://" + strings.Join(redistest.StartCluster(t, redistest.Options{}).Addrs(), ",")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			journal := filepath.Join(t.TempDir(), "journal")
			var queues []string
			for i := range 200 {
				queues = append(queues, fmt.Sprint("queue-", i))
			}
			settings := lab.Settings{
				URL: url, Journal: journal, Queues: queues, Concurrency: len(queues), Lease: 3 * time.Second, Grace: time.Second,
			}
			started := func(pid int) func() bool {
				return func() bool { return lab.ReadJournal(t, journal).StartedBy(pid) == len(queues) }
			}
			victim := lab.StartWorker(t, settings)
			lab.Spread(t, url, queues, lab.Task{Milliseconds: 60_000})
			require.Eventually(t, started(victim.PID()), time.Minute, 20*time.Millisecond)
			heir := lab.StartWorker(t, settings)
			require.Eventually(t, func() bool { return strings.Contains(heir.Log(), "worker started") }, 10*time.Second, time.Millisecond)
			pause(2 * time.Second) // all is quiet
			require.Zero(t, lab.ReadJournal(t, journal).StartedBy(heir.PID()), "the leases are renewed")

			killed := time.Now()
			victim.Kill()
			require.Eventually(t, started(heir.PID()), time.Minute, 20*time.Millisecond, "the jobs run again")
			ledger, slowest := lab.ReadJournal(t, journal), time.Duration(0)
			for i := range queues {
				again, ok := ledger.FirstStart(strconv.Itoa(i), victim.PID(), killed)
				require.True(t, ok)
				require.Equal(t, 2, ledger.Count(strconv.Itoa(i), "start"), "%v", ledger[strconv.Itoa(i)])
				slowest = max(slowest, again.Sub(killed))
			}
			t.Logf("of %d jobs in as many queues the slowest ran again %v after the kill, the lease is %v", len(queues), slowest, settings.Lease)
		})
	}
}
