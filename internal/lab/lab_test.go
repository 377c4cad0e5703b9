//go:build unix

package lab_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

func TestMain(m *testing.M) { lab.Main(m) }

// dice returns a source of chance whose seed is printed, and can be given.
func dice(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if text := os.Getenv("CADDIS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	t.Logf("CADDIS_SEED=%d replays the choices of this test", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// hung is after what time something is taken to have stopped for good. How long it takes
// is printed, and measured by the benchmark: here the machine may have other things to do.
const hung = 2 * time.Minute

// pause lets a random time pass: the moment is what is tested.
func pause(d time.Duration) { <-time.After(d) }

// awaitEmpty waits until the store holds no job. A question that the store does not
// answer in time is asked again.
func awaitEmpty(t *testing.T, url string) {
	t.Helper()
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	for deadline := time.Now().Add(2 * hung); ; pause(100 * time.Millisecond) {
		q, err := store.Queue(t.Context(), jobs.DefaultQueue)
		if err == nil && lab.Sum(q.Counts) == 0 {
			return
		}
		if time.Now().After(deadline) {
			require.FailNow(t, "jobs do not end", "%v, %v, %v", q.Counts, err, lab.Stored(t, url))
		}
	}
}

func TestATermAtARandomMomentLosesNothingAndRepeatsOnlyWhatWasAbandoned(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	url := "redis://" + server.Addr
	journal := filepath.Join(t.TempDir(), "journal")
	r := dice(t)
	const (
		stops = 50
		tasks = 8000
		grace = 3 * time.Second
	)
	lab.Fill(t, url, tasks, func(i int) lab.Task {
		switch {
		case i%400 == 7: // longer than the grace, and deaf
			return lab.Task{Milliseconds: 4000, Obstinate: true}
		case i%400 == 11: // longer than the grace leaves for draining, and polite
			return lab.Task{Milliseconds: 2500}
		}
		return lab.Task{Milliseconds: i % 30}
	})
	settings := lab.Settings{URL: url, Journal: journal, Concurrency: 20, Lease: 5 * time.Second, Grace: grace}

	again := map[string]bool{} // may run more than once: it was not finished
	completed := 0
	var longest, stopped time.Duration
	for range stops {
		w := lab.StartWorker(t, settings)
		pause(time.Duration(r.IntN(250)) * time.Millisecond)
		told := time.Now()
		w.Terminate()
		code, report := w.Exit(hung)
		took := time.Since(told)
		longest = max(longest, took)
		if code != 0 {
			// TERM came before the program had asked for the signal.
			require.NotContains(t, w.Log(), "worker started", "the exit code is %d", code)
			continue
		}
		stopped = max(stopped, report.StopTook)
		require.Equal(t, report.Leased, report.Ended(), "the report does not add up: %v", &report)
		require.Zero(t, report.Unconfirmed)
		require.Zero(t, report.Lost)
		require.Zero(t, report.Failed())
		require.Zero(t, lab.Counts(t, url)["running"], "a job is handed to nobody: %v", &report)
		completed += report.Completed
		for _, job := range report.AbandonedJobs {
			again[job.ID] = true
		}
	}

	last := lab.StartWorker(t, settings)
	awaitEmpty(t, url)
	last.Terminate()
	code, report := last.Exit(hung)
	require.Zero(t, code)
	completed += report.Completed
	require.Equal(t, tasks, completed)

	ledger := lab.ReadJournal(t, journal)
	for i := range tasks {
		id := strconv.Itoa(i)
		ends, cuts := ledger.Count(id, "end"), ledger.Count(id, "cut")
		require.GreaterOrEqual(t, ends, 1, "job %s was not executed: %v", id, ledger[id])
		if !again[id] {
			require.Equal(t, 1, ends, "job %s was executed twice: %v", id, ledger[id])
			require.Equal(t, ends+cuts, ledger.Count(id, "start"), "job %s: %v", id, ledger[id])
		}
	}
	t.Logf("%d stops with a grace of %v, the longest took %v, and its process %v; %d jobs were abandoned and ran again",
		stops, grace, stopped, longest, len(again))
}

func TestAWorkerThatIsKilledLosesNothingAndItsJobsRunAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	url := "redis://" + server.Addr
	journal := filepath.Join(t.TempDir(), "journal")
	r := dice(t)
	const (
		kills = 20
		tasks = 30_000
		lease = 3 * time.Second
	)
	lab.Fill(t, url, tasks, func(i int) lab.Task { return lab.Task{Milliseconds: 5 + i%40} })
	settings := lab.Settings{URL: url, Journal: journal, Concurrency: 10, Lease: lease, Grace: 3 * time.Second}

	type killed struct {
		pid  int
		at   time.Time
		jobs []string // that it held, also those that it had not begun
	}
	var dead []killed
	workers := []*lab.Worker{lab.StartWorker(t, settings), lab.StartWorker(t, settings)}
	for range kills {
		pause(time.Duration(100+r.IntN(900)) * time.Millisecond)
		i := r.IntN(2)
		at := time.Now()
		workers[i].Kill()
		dead = append(dead, killed{workers[i].PID(), at, lab.Held(t, url, workers[i].ID())})
		workers[i] = lab.StartWorker(t, settings)
	}
	awaitEmpty(t, url)
	for _, w := range workers {
		w.Terminate()
		code, report := w.Exit(hung)
		require.Zero(t, code)
		require.Equal(t, report.Leased, report.Ended(), "the report does not add up: %v", &report)
	}

	ledger := lab.ReadJournal(t, journal)
	orphans, handed, slowest := 0, 0, time.Duration(0)
	victims := map[int]time.Time{}
	for n, k := range dead {
		victims[k.pid] = k.at
		for _, job := range k.jobs {
			orphans++
			again, ok := ledger.FirstStart(job, k.pid, k.at)
			require.True(t, ok, "job %s of the killed worker %d did not run again: %v", job, k.pid, ledger[job])
			orphaned := k.at
			for _, next := range dead[n+1:] {
				// Another worker had leased it in time, and was killed before it began.
				if next.at.Before(again) && slices.Contains(next.jobs, job) {
					orphaned = next.at
					handed++
				}
			}
			slowest = max(slowest, again.Sub(orphaned))
		}
	}
	require.NotZero(t, orphans)
	for i := range tasks {
		id := strconv.Itoa(i)
		require.GreaterOrEqual(t, ledger.Count(id, "end"), 1, "job %s was not executed: %v", id, ledger[id])
		starts := 0
		for _, e := range ledger[id] {
			if e.Event != "start" {
				continue
			}
			if starts++; starts > 1 {
				continue
			}
			if _, victim := victims[e.PID]; !victim {
				require.Equal(t, 1, ledger.Count(id, "start"), "job %s ran twice though its worker was not killed: %v", id, ledger[id])
			}
		}
	}
	t.Logf("%d kills, %d orphans, %d of them leased by one that was killed as well; the slowest ran again after %v, with a lease of %v",
		kills, orphans, handed, slowest, lease)
}

func TestAStoreThatIsAwayForTenSecondsLosesNothingAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	url := "redis://" + server.Addr
	journal := filepath.Join(t.TempDir(), "journal")
	const tasks = 10_000
	lab.Fill(t, url, tasks, func(i int) lab.Task {
		if i%100 == 3 {
			return lab.Task{Milliseconds: 8000} // runs on while the store is away
		}
		return lab.Task{Milliseconds: 10 + i%30}
	})
	settings := lab.Settings{URL: url, Journal: journal, Concurrency: 20, Grace: 10 * time.Second}
	workers := []*lab.Worker{lab.StartWorker(t, settings), lab.StartWorker(t, settings)}
	require.Eventually(t, func() bool { return len(lab.ReadJournal(t, journal)) > 500 }, hung, 20*time.Millisecond)

	server.Stop()
	pause(10 * time.Second)
	before := time.Now()
	server.Restart()
	back := time.Now()
	require.Eventually(t, func() bool { return lab.ReadJournal(t, journal).Started(before, time.Now()) > 50 },
		hung, 10*time.Millisecond)
	resumed := time.Since(back)

	awaitEmpty(t, url)
	for _, w := range workers {
		require.True(t, w.Running(), "a worker has ended: %s", w.Log())
		w.Terminate()
		code, report := w.Exit(hung)
		require.Zero(t, code)
		require.Equal(t, report.Leased, report.Ended(), "the report does not add up: %v", &report)
		require.Zero(t, report.Lost)
	}
	ledger := lab.ReadJournal(t, journal)
	for i := range tasks {
		id := strconv.Itoa(i)
		require.Equal(t, 1, ledger.Count(id, "end"), "job %s: %v", id, ledger[id])
		require.Equal(t, 1, ledger.Count(id, "start"), "job %s: %v", id, ledger[id])
	}
	t.Logf("work resumed %v after the store was back", resumed)
}
