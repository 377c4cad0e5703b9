package operate_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// problems are what is found in the work, by queue.
func problems(t *testing.T, f *fleet) map[string]operate.Problem {
	t.Helper()
	look, err := operate.Glance(t.Context(), f.client)
	require.NoError(t, err)
	found, err := operate.Work(t.Context(), f.client, look)
	require.NoError(t, err)
	by := map[string]operate.Problem{}
	for _, finding := range found {
		if finding.Level.Bad() {
			by[finding.Queue] = finding.Problem
			require.NotEmpty(t, finding.Remedy, finding.Text)
		}
	}
	return by
}

func TestWorkThatDoesNotGoOnIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "memory:")
		for _, queue := range []string{"lonely", "paused", "quiet", "stuck", "held", "fine"} {
			f.enqueue(queue, "a")
		}
		require.NoError(t, f.client.PauseQueue(t.Context(), "paused"))
		_, err := f.store.Lease(t.Context(), backend.LeaseRequest{Worker: "gone", Token: "gone.1", Queues: []string{"held"}, Max: 1, Duration: time.Minute})
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		f.announce(backend.WorkerInfo{ID: "w", Queues: []string{"paused", "stuck", "held"}, Concurrency: 2, Running: 1, State: "running"})
		f.announce(backend.WorkerInfo{ID: "full", Queues: []string{"fine"}, Concurrency: 2, Running: 2, State: "running"})
		f.announce(backend.WorkerInfo{ID: "idle", Queues: []string{"quiet"}, Concurrency: 2, State: "quiet"})
		_, err = f.client.PutSchedule(t.Context(), "nightly", jobs.Every(time.Minute), Welcome{}, jobs.Queue("fine"))
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		require.Equal(t, map[string]operate.Problem{
			"lonely": operate.ProblemNoWorker, "paused": operate.ProblemPaused, "quiet": operate.ProblemNotRunning,
			"stuck": operate.ProblemStuck, "held": operate.ProblemVanished, "fine": operate.ProblemSchedule,
		}, problems(t, f))
	})
}

func TestWhatIsWrongWithAQueueIsSaidAsItIs(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("newsletter", "a")
	_, err := f.client.Enqueue(t.Context(), Welcome{}, jobs.Queue("newsletter"), jobs.In(time.Hour))
	require.NoError(t, err)
	_, err = f.client.Enqueue(t.Context(), Welcome{}, jobs.Queue("later"), jobs.In(time.Hour))
	require.NoError(t, err)
	texts := func(queue string) (all []string) {
		look, err := operate.Glance(t.Context(), f.client)
		require.NoError(t, err)
		found, err := operate.Work(t.Context(), f.client, look)
		require.NoError(t, err)
		for _, finding := range found {
			if finding.Queue == queue {
				text, _, _ := strings.Cut(finding.Text, ", the oldest")
				all = append(all, text)
			}
		}
		return all
	}
	require.Equal(t, []string{"1 job waits and 1 is scheduled, and no worker takes from it"}, texts("newsletter"))
	require.Equal(t, []string{"1 job is scheduled, and no worker takes from it"}, texts("later"))
	require.NoError(t, f.client.PauseQueue(t.Context(), "newsletter"))
	require.Equal(t, []string{"it is paused, and 1 job waits and 1 is scheduled", "1 job waits and 1 is scheduled, and no worker takes from it"}, texts("newsletter"))
	f.announce(backend.WorkerInfo{ID: "w", Queues: []string{"newsletter"}, Concurrency: 2, State: "running"})
	require.Equal(t, []string{"it is paused, and 1 job waits and 1 is scheduled"}, texts("newsletter"))
}

func TestAStoreIsDescribedAndMeasured(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		found, usable := operate.Store(t.Context(), f.client, "the store")
		require.True(t, usable)
		about := map[string]operate.Finding{}
		for _, finding := range found {
			about[finding.About] = finding
		}
		require.Contains(t, about["store"].Text, "the store")
		require.Contains(t, about["latency"].Text, "a read takes")
		operate.WorstFirst(found)
		require.NotEqual(t, operate.LevelWarning, found[len(found)-1].Level)
	})
}
