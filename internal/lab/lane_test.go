//go:build unix

package lab_test

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

// jobsOf is how many jobs a lane of a thousand has: one has thousands, some hundreds, and most
// of them a few.
func jobsOf(lane int) int {
	switch {
	case lane == 0:
		return 6000
	case lane < 10:
		return 300
	}
	return 1 + lane%5
}

// lesson: one tenant's backlog holds up all others.
func TestAThousandLanesOfUnevenLoadAreServedFairlyWhileWorkersAreKilled(t *testing.T) {
	t.Parallel()
	const lanes, workers = 1000, 4
	server := redistest.Start(t, redistest.Options{})
	s := &scene{t: t, books: lab.NewBooks(), honest: "redis://" + server.Addr}
	s.settings = lab.Settings{
		URL: s.honest, Journal: filepath.Join(t.TempDir(), "journal"), Concurrency: 10, Lease: leaseTime, Grace: 5 * time.Second,
	}
	s.journal.Path = s.settings.Journal
	store, err := backend.Open(s.honest)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	total := 0
	for lane := range lanes {
		for first := 0; first < jobsOf(lane); first += 1000 {
			items := make([]jobs.Item, min(1000, jobsOf(lane)-first))
			for i := range items {
				items[i] = jobs.New(lab.Task{Milliseconds: 20}, jobs.ID(fmt.Sprintf("%d-%d", lane, first+i)),
					jobs.FairBy(func(lab.Task) string { return fmt.Sprint("tenant-", lane) }))
			}
			_, err := client.EnqueueMany(t.Context(), items...)
			require.NoError(t, err)
			total += len(items)
		}
	}
	for range workers {
		s.hire(s.settings)
	}
	kills := 0
	require.Eventually(t, func() bool {
		s.kill(s.workers[kills%workers])
		kills++
		return lab.Active(lab.Counts(t, s.honest)) == 0
	}, hung, time.Second, "jobs are left")
	late, most := lateness(s.ledger(), lanes, workers*s.settings.Concurrency)
	t.Logf("%d jobs in %d lanes, %d kills: %d jobs began later than twice their share, at most %.1f times", total, lanes, kills, late, most)
	// What a killed worker held, begun or not, waits for the end of its lease.
	require.LessOrEqual(t, late, kills*2*s.settings.Concurrency)
}

// lateness counts the jobs that began later than after twice as many others as would begin
// before them if all lanes had a job in turn, and by how many times at most; as many as there
// are executors may begin in another order.
func lateness(ledger lab.Ledger, lanes, executors int) (late int, most float64) {
	type begin struct {
		lane, number int
		at           time.Time
	}
	var begun []begin
	for job := range ledger {
		b := begin{at: ledger.Runs(job)[0].Start}
		_, _ = fmt.Sscanf(job, "%d-%d", &b.lane, &b.number)
		begun = append(begun, b)
	}
	slices.SortFunc(begun, func(a, b begin) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.number, b.number)) })
	share := make([]int, jobsOf(0)) // how many begin in the first n turns
	for n := range share {
		for lane := range lanes {
			share[n] += min(jobsOf(lane), n+1)
		}
	}
	for place, b := range begun {
		if allowed := 2*share[b.number] + executors; place >= allowed {
			late++
		}
		most = max(most, float64(place-executors)/float64(share[b.number]))
	}
	return late, most
}
