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
	perSecond          = 100
)

// kinship is what the jobs of a number have to keep: the slots of a tenant, the order of an
// account, or the rate of an API.
func kinship(i int) (class, key string) {
	switch i % 5 {
	case 0:
		return "tenant", fmt.Sprint("tenant-", i/5%tenants)
	case 1:
		return "order", fmt.Sprint("account-", i/5%accounts)
	}
	return "api", ""
}

// lesson: a limit of 2 let 6 run; a slot leaks with the worker that had it, until nothing runs;
// a rate per worker is not one of the fleet; jobs in order overtake each other after a crash.
func TestAMinuteOfKillsBreaksNoLimitNoRateAndNoOrder(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	died := map[int]time.Time{} // when the processes were dead for certain
	s := play(t, "redis://"+server.Addr, 4, func(s *scene) {
		s.load.Every, s.load.Batch = 100*time.Millisecond, 10 // 120 a second for the API
		s.load.Task = func(i int) lab.Task { return lab.Task{Milliseconds: 5 + i%40} }
		s.load.Options = func(i int) []jobs.EnqueueOption {
			switch class, key := kinship(i); class {
			case "tenant":
				return []jobs.EnqueueOption{jobs.Limit(class, jobs.Slots(perTenant), jobs.LimitBy(func(lab.Task) string { return key }))}
			case "order":
				return []jobs.EnqueueOption{jobs.InOrder(func(lab.Task) string { return key })}
			default:
				return []jobs.EnqueueOption{jobs.Limit(class, jobs.Rate(perSecond, time.Second))}
			}
		}
	})
	for kill := range 60 {
		pause(time.Second)
		w := s.workers[kill%len(s.workers)]
		s.kill(w)
		died[w.PID()] = time.Now()
	}
	s.settle()
	ledger := s.ledger()
	for key, at := range mostAtOnce(ledger, died) {
		bound := perTenant
		if strings.HasPrefix(key, "account") {
			bound = 1
		}
		require.LessOrEqual(t, at, bound, key)
	}
	requireOrder(t, ledger)
	// What was handed out within ten seconds and what each executor may have begun later.
	most, least := startsIn(ledger, 10*time.Second)
	require.LessOrEqual(t, most, 10*perSecond*101/100+len(s.workers)*s.settings.Concurrency)
	t.Logf("60 kills; of the API %d to %d started in any ten seconds, where the rate allows %d", least, most, 10*perSecond)
	requireNothingHeld(t, s.honest)
}

// number is that of a job: its producer's, and how many that has enqueued before.
func number(job string) (producer, i int) {
	_, _ = fmt.Sscanf(job, "p%d-%d", &producer, &i)
	return producer, i
}

// mostAtOnce counts, for each key of a tenant or account, how many of its jobs ran at the same
// time at most.
func mostAtOnce(ledger lab.Ledger, died map[int]time.Time) map[string]int {
	type edge struct {
		at   time.Time
		step int
	}
	edges := map[string][]edge{}
	for job := range ledger {
		_, i := number(job)
		class, key := kinship(i)
		if class == "api" {
			continue
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

// requireOrder wants the jobs that a producer has enqueued for an account to have run one after
// the other, each to its end before the next began.
func requireOrder(t *testing.T, ledger lab.Ledger) {
	t.Helper()
	lines := map[string][]string{}
	for job := range ledger {
		producer, i := number(job)
		if class, key := kinship(i); class == "order" {
			line := fmt.Sprint(producer, " ", key)
			lines[line] = append(lines[line], job)
		}
	}
	require.Len(t, lines, 2*accounts)
	for line, all := range lines {
		slices.SortFunc(all, func(a, b string) int {
			_, i := number(a)
			_, k := number(b)
			return cmp.Compare(i, k)
		})
		for n, job := range all[1:] {
			before := ledger.Runs(all[n])
			require.False(t, ledger.Runs(job)[0].Start.Before(before[len(before)-1].End), "%s: %s has begun before the end of %s", line, job, all[n])
		}
	}
}

// startsIn counts the most and the fewest starts of jobs of the API within any span of a
// length, from the first start on to the last.
func startsIn(ledger lab.Ledger, span time.Duration) (most, least int) {
	var starts []time.Time
	for job := range ledger {
		_, i := number(job)
		if class, _ := kinship(i); class != "api" {
			continue
		}
		for _, run := range ledger.Runs(job) {
			starts = append(starts, run.Start)
		}
	}
	slices.SortFunc(starts, time.Time.Compare)
	least = len(starts)
	for first, last := 0, 0; last < len(starts); first++ {
		for last < len(starts) && starts[last].Sub(starts[first]) < span {
			last++
		}
		most = max(most, last-first)
		if last < len(starts) {
			least = min(least, last-first)
		}
	}
	return most, least
}

func requireNothingHeld(t *testing.T, url string) {
	t.Helper()
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	for i := range 5 * max(tenants, accounts) {
		class, key := kinship(i)
		info, err := store.Limit(t.Context(), backend.LimitQuery{Queue: jobs.DefaultQueue, Class: class, Key: key})
		require.NoError(t, err)
		require.Zero(t, info.Held+info.Parked, "%s %s: %+v", class, key, info)
	}
}
