//go:build unix

package lab

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// connect opens a client on a store, for as long as use takes.
func connect(t testing.TB, url string, use func(*jobs.Client)) {
	t.Helper()
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	use(client)
}

// Fill enqueues tasks with the ids 0 to n-1.
func Fill(t testing.TB, url string, n int, task func(i int) Task) {
	t.Helper()
	connect(t, url, func(client *jobs.Client) {
		for first := 0; first < n; first += 1000 {
			var items []jobs.Item
			for i := first; i < min(n, first+1000); i++ {
				items = append(items, jobs.New(task(i), jobs.ID(strconv.Itoa(i))))
			}
			_, err := client.EnqueueMany(t.Context(), items...)
			require.NoError(t, err)
		}
	})
}

// Spread enqueues a task in each of some queues, with the ids 0 to len(queues)-1.
func Spread(t testing.TB, url string, queues []string, task Task) {
	t.Helper()
	connect(t, url, func(client *jobs.Client) {
		for i, queue := range queues {
			_, err := client.Enqueue(t.Context(), task, jobs.Queue(queue), jobs.ID(strconv.Itoa(i)))
			require.NoError(t, err)
		}
	})
}

// FillFails enqueues a job that the store must refuse because it is full.
func FillFails(t testing.TB, url string) {
	t.Helper()
	connect(t, url, func(client *jobs.Client) {
		_, err := client.Enqueue(t.Context(), Task{})
		require.ErrorIs(t, err, backend.ErrFull)
	})
}

// patience is for how long a store that does not answer is asked again.
const patience = 20 * time.Second

// ask calls question until the store answers: what a test wants to know at its end
// is not what it tests.
func ask(t testing.TB, question func() error) {
	t.Helper()
	var err error
	for begun := time.Now(); time.Since(begun) < patience; {
		if err = question(); !errors.Is(err, backend.ErrUnavailable) {
			break
		}
	}
	require.NoError(t, err)
}

// list returns the jobs of the default queue in a state.
func list(t testing.TB, client *jobs.Client, state backend.State) (found []jobs.JobInfo) {
	t.Helper()
	query := backend.JobsQuery{Queue: jobs.DefaultQueue, State: state, Limit: backend.MaxPage}
	ask(t, func() error {
		found = nil
		for job, err := range client.AllJobs(t.Context(), query) {
			if err != nil {
				return err
			}
			found = append(found, job)
		}
		return nil
	})
	return found
}

// Stored returns what the store holds of the default queue.
func Stored(t testing.TB, url string) map[string]Kept {
	t.Helper()
	kept := map[string]Kept{}
	connect(t, url, func(client *jobs.Client) {
		for _, state := range backend.States {
			for _, job := range list(t, client, state) {
				k := Kept{State: state}
				if n := len(job.Failures); n > 0 {
					k.Reason = job.Failures[n-1].Error
				}
				kept[job.ID] = k
			}
		}
	})
	return kept
}

// Held lists the jobs of the default queue that are leased to a worker.
func Held(t testing.TB, url, worker string) (held []string) {
	t.Helper()
	connect(t, url, func(client *jobs.Client) {
		for _, job := range list(t, client, backend.StateRunning) {
			if job.LeasedBy == worker {
				held = append(held, job.ID)
			}
		}
	})
	return held
}

// Counts returns how many jobs of the default queue are in which state.
func Counts(t testing.TB, url string) (counts map[backend.State]int64) {
	t.Helper()
	connect(t, url, func(client *jobs.Client) {
		ask(t, func() error {
			q, err := client.Queue(t.Context(), jobs.DefaultQueue)
			counts = q.Counts
			return err
		})
	})
	return counts
}

// Sum adds up counts.
func Sum(counts map[backend.State]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// Active counts the jobs that have not ended.
func Active(counts map[backend.State]int64) (n int64) {
	for state, c := range counts {
		if !state.Final() {
			n += c
		}
	}
	return n
}
