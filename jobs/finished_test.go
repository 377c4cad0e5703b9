package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

// end leases the jobs of the default queue and settles them.
func end(t *testing.T, store *memory.Backend, outcome backend.Outcome, keep time.Duration) {
	t.Helper()
	var settlements []backend.Settlement
	for leases := lease(t, store, DefaultQueue); len(leases) > 0; leases = lease(t, store, DefaultQueue) {
		for _, l := range leases {
			s := settle(&l, outcome)
			s.Keep = keep
			s.History = &backend.History{Attempts: 1, AttemptLimit: 7, Worker: "w"}
			settlements = append(settlements, s)
		}
	}
	_, err := store.Settle(t.Context(), backend.SettleRequest{Worker: NewID(), Call: 1, Settlements: settlements})
	require.NoError(t, err)
}

// lesson: the id of a dead job must not swallow new work in silence.
func TestAnIdThatIsHeldByADeadOrCancelledJobIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for outcome, state := range map[backend.Outcome]backend.State{
		backend.OutcomeDead: backend.StateDead, backend.OutcomeCancelled: backend.StateCancelled,
	} {
		store := newStore(t, memory.Config{})
		client := newClient(t, store, nil)
		_, err := client.Enqueue(t.Context(), welcome{UserID: 1}, ID("welcome-1"))
		require.NoError(t, err)
		end(t, store, outcome, 0)

		receipt, err := client.Enqueue(t.Context(), welcome{UserID: 2}, ID("welcome-1"))

		require.ErrorIs(t, err, ErrFinished)
		require.ErrorIs(t, receipt.Err, ErrFinished)
		require.Equal(t, "welcome-1", receipt.ID)
		require.Equal(t, state, receipt.State)
		require.True(t, receipt.Existing)
		require.EqualError(t, err, fmt.Sprintf(`jobs: enqueue of kind "welcome": job "welcome-1" in queue "default": its id is held by a job that has ended `+
			`without being completed: it is %s; give jobs.ReplaceFinished to have the new one take its place, or retry that one`, state))

		receipts, err := client.EnqueueMany(t.Context(), New(welcome{}, ID("other")), New(welcome{}, ID("welcome-1")))
		require.ErrorIs(t, err, ErrFinished)
		require.NoError(t, receipts[0].Err)
		require.Equal(t, backend.StateWaiting, receipts[0].State, "the others are stored")
		require.ErrorIs(t, receipts[1].Err, ErrFinished)
		require.True(t, receipts[1].Existing)
		require.Equal(t, state, receipts[1].State)

		receipt, err = client.Enqueue(t.Context(), welcome{UserID: 2}, ID("welcome-1"), ReplaceFinished())
		require.NoError(t, err)
		require.False(t, receipt.Existing)
		info, err := client.Job(t.Context(), DefaultQueue, "welcome-1")
		require.NoError(t, err)
		require.JSONEq(t, `{"user_id":2}`, string(info.Payload))
		receipt, err = client.Enqueue(t.Context(), welcome{UserID: 3}, ID("welcome-1"), ReplaceFinished())
		require.NoError(t, err)
		require.True(t, receipt.Existing, "it has not finished")
	}
}

func TestAnIdThatIsHeldByACompletedJobIsNoError(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	client := newClient(t, store, nil)
	_, err := client.Enqueue(t.Context(), welcome{}, ID("once"))
	require.NoError(t, err)
	end(t, store, backend.OutcomeCompleted, time.Hour)
	receipt, err := client.Enqueue(t.Context(), welcome{}, ID("once"))
	require.NoError(t, err)
	require.Equal(t, Receipt{Queue: DefaultQueue, ID: "once", State: backend.StateCompleted, Existing: true}, receipt)
	receipt, err = client.Enqueue(t.Context(), welcome{}, ID("once"), ReplaceFinished())
	require.NoError(t, err)
	require.False(t, receipt.Existing)
}

func TestAllDeadJobsOfAQueueAreRetriedInOneCall(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	client := newClient(t, store, nil)
	const dead = 2*backend.MaxPage + 345
	items := make([]Item, dead)
	for i := range items {
		items[i] = New(welcome{UserID: int64(i)}, ID(fmt.Sprint(i)))
	}
	_, err := client.EnqueueMany(t.Context(), items...)
	require.NoError(t, err)
	for range 3 {
		end(t, store, backend.OutcomeDead, 0)
	}
	var steps []int

	retried, err := client.ForAll(t.Context(), DefaultQueue, backend.StateDead,
		func(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error) {
			steps = append(steps, len(ids))
			if len(steps) == 1 { // somebody else is at it too
				_, err := client.Delete(ctx, queue, ids[:10]...)
				require.NoError(t, err)
			}
			results, err := client.Retry(ctx, queue, ids...)
			end(t, store, backend.OutcomeDead, 0) // what was retried dies at once
			return results, err
		})

	require.NoError(t, err)
	require.Equal(t, dead-10, retried)
	require.LessOrEqual(t, slices.Max(steps), backend.MaxPage)
	info, err := client.Queue(t.Context(), DefaultQueue)
	require.NoError(t, err)
	require.EqualValues(t, dead-10, info.Counts[backend.StateDead])
	deleted, err := client.ForAll(t.Context(), DefaultQueue, backend.StateDead, client.Delete)
	require.NoError(t, err)
	require.Equal(t, dead-10, deleted)
	_, err = client.ForAll(t.Context(), "defualt", backend.StateDead, client.Retry)
	require.ErrorIs(t, err, backend.ErrNotFound)
	_, err = client.ForAll(t.Context(), DefaultQueue, "ded", client.Retry)
	require.ErrorIs(t, err, backend.ErrRejected)
}

// lesson: a name that is misspelt must not look like an empty queue, or wait for ever.
func TestWhatIsMisspeltOrUndeclaredIsSaid(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	registry := NewRegistry()
	Declare[welcome](registry, Queue("mail"))
	client := newClient(t, store, registry)
	_, err := client.Enqueue(t.Context(), welcome{})
	require.NoError(t, err)

	_, err = client.Jobs(t.Context(), backend.JobsQuery{Queue: "mial", State: backend.StateWaiting})
	require.ErrorIs(t, err, backend.ErrNotFound)
	for _, err := range client.AllJobs(t.Context(), backend.JobsQuery{Queue: "mial", State: backend.StateWaiting}) {
		require.ErrorIs(t, err, backend.ErrNotFound)
	}
	page, err := client.Jobs(t.Context(), backend.JobsQuery{Queue: "mail", State: backend.StateDead})
	require.NoError(t, err)
	require.Empty(t, page.Jobs)

	receipt, err := client.Enqueue(t.Context(), other{})
	require.ErrorIs(t, err, ErrUndeclared)
	require.ErrorIs(t, err, backend.ErrRejected)
	require.EqualError(t, err, `jobs: enqueue of kind "other": rejected: the registry does not know the kind "other", `+
		"so that it is not known which queue its worker takes from; declare it by jobs.Declare, or name the queue by jobs.Queue")
	require.Empty(t, receipt.ID)
	_, err = client.Enqueue(t.Context(), other{}, Queue("others"))
	require.NoError(t, err)
	_, err = newClient(t, store, nil).Enqueue(t.Context(), other{})
	require.NoError(t, err, "who has no registry says nothing about queues")
}

func TestAJobTellsTheMaxAttemptsThatApplies(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	registry := NewRegistry()
	Declare[welcome](registry, MaxAttempts(4))
	Declare[other](registry)
	client, stranger := newClient(t, store, registry), newClient(t, store, nil)
	_, err := client.EnqueueMany(t.Context(),
		New(welcome{}, ID("kind")), New(other{}, ID("default")), New(welcome{}, ID("said"), MaxAttempts(2)))
	require.NoError(t, err)
	applies := func(c *Client, id string) int {
		info, err := c.Job(t.Context(), DefaultQueue, id)
		require.NoError(t, err)
		return info.MaxAttempts
	}
	require.Equal(t, 4, applies(client, "kind"))
	require.Equal(t, DefaultMaxAttempts, applies(client, "default"))
	require.Equal(t, 2, applies(client, "said"))
	require.Zero(t, applies(stranger, "kind"), "not known")
	end(t, store, backend.OutcomeDead, 0)
	require.Equal(t, 7, applies(stranger, "kind"), "what its worker went by")
	require.Equal(t, 2, applies(stranger, "said"))

	info, err := stranger.Job(t.Context(), DefaultQueue, "kind")
	require.NoError(t, err)
	text, err := json.Marshal(info)
	require.NoError(t, err)
	require.Contains(t, string(text), `"max_attempts":7`)
	require.Contains(t, string(text), `"attempts":1`)
}

func TestAnActOnAllIsAppliedOnlyToThoseThatSatisfyAllConditions(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	client := newClient(t, store, nil)
	for i := range 6 {
		args := []Args{welcome{}, other{}}[i%2]
		_, err := client.Enqueue(t.Context(), args, ID(fmt.Sprint(i)), Tags([]string{"low", "high"}[i/4]))
		require.NoError(t, err)
	}

	cancelled, err := client.ForAll(t.Context(), DefaultQueue, backend.StateWaiting, client.Cancel,
		func(job JobInfo) bool { return job.Kind == "welcome" },
		func(job JobInfo) bool { return slices.Contains(job.Tags, "low") })

	require.NoError(t, err)
	require.Equal(t, 2, cancelled)
	var left []string
	for job, err := range client.AllJobs(t.Context(), backend.JobsQuery{Queue: DefaultQueue, State: backend.StateWaiting}) {
		require.NoError(t, err)
		left = append(left, job.ID)
	}
	require.Equal(t, []string{"1", "3", "4", "5"}, left)
}
