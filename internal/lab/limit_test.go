//go:build unix

package lab_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

// What the jobs of the laboratory count against, by their number.
const (
	tenants, perTenant = 12, 3
	accounts           = 12
)

func tenantOf(i int) string  { return fmt.Sprint("tenant-", i%tenants) }
func accountOf(i int) string { return fmt.Sprint("account-", i%accounts) }

// lesson: a limit of 2 let 6 run; a slot leaks with the worker that had it, until nothing runs.
func TestLimitsHoldAndNothingIsHeldInTheEndWhileWorkersAreKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	died := map[int]time.Time{} // when the processes were dead for certain
	s := play(t, "redis://"+server.Addr, 4, func(s *scene) {
		s.load.Every = 150 * time.Millisecond
		s.load.Task = func(i int) lab.Task { return lab.Task{Milliseconds: 5 + i%40} }
		s.load.Options = func(i int) []jobs.EnqueueOption {
			if i%2 == 0 {
				return []jobs.EnqueueOption{jobs.Limit("tenant", jobs.Slots(perTenant), jobs.LimitBy(func(lab.Task) string { return tenantOf(i / 2) }))}
			}
			return []jobs.EnqueueOption{jobs.InOrder(func(lab.Task) string { return accountOf(i / 2) })}
		}
	})
	for kill := range 8 {
		pause(700 * time.Millisecond)
		w := s.workers[kill%len(s.workers)]
		s.kill(w)
		died[w.PID()] = time.Now()
	}
	s.settle()
	for key, at := range mostAtOnce(s.ledger(), died) {
		bound := perTenant
		if strings.HasPrefix(key, "account") {
			bound = 1
		}
		require.LessOrEqual(t, at, bound, key)
	}
	requireNothingHeld(t, s.honest)
}

// mostAtOnce counts, for each key, how many of its jobs ran at the same time at most.
func mostAtOnce(ledger lab.Ledger, died map[int]time.Time) map[string]int {
	type edge struct {
		at   time.Time
		step int
	}
	edges := map[string][]edge{}
	for job := range ledger {
		var producer, i int
		_, _ = fmt.Sscanf(job, "p%d-%d", &producer, &i)
		key := tenantOf(i / 2)
		if i%2 == 1 {
			key = accountOf(i / 2)
		}
		for _, run := range ledger.Runs(job) {
			end := run.End
			if end.IsZero() {
				end = died[run.PID]
			}
			edges[key] = append(edges[key], edge{run.Start, 1}, edge{end, -1})
		}
	}
	most := map[string]int{}
	for key, all := range edges {
		slices.SortFunc(all, func(a, b edge) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.step, b.step)) })
		running := 0
		for _, e := range all {
			running += e.step
			most[key] = max(most[key], running)
		}
	}
	return most
}

func requireNothingHeld(t *testing.T, url string) {
	t.Helper()
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	for i := range max(tenants, accounts) {
		for class, key := range map[string]string{"tenant": tenantOf(i), "order": accountOf(i)} {
			info, err := store.Limit(t.Context(), backend.LimitQuery{Queue: jobs.DefaultQueue, Class: class, Key: key})
			require.NoError(t, err)
			require.Zero(t, info.Held+info.Parked, "%s: %+v", key, info)
		}
	}
}
