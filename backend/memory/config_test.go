package memory_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

func TestAURLChoosesTheMemoryStoreAndItsBounds(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"memory:", "memory://", "memory:?", "memory:?max_jobs=0", "memory:?max_jobs=2&max_bytes=1000"} {
		store, err := backend.Open(url)
		require.NoError(t, err, url)
		require.IsType(t, &memory.Backend{}, store)
		require.NoError(t, store.Close())
	}
	store, err := backend.Open("memory:?max_jobs=2")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.Enqueue(t.Context(), jobs("a", "b"))
	require.NoError(t, err)
	_, err = store.Enqueue(t.Context(), jobs("c"))
	require.ErrorIs(t, err, backend.ErrFull)
}

// lesson: configuration that is not understood is rejected, and the error says
// what would be right.
func TestAURLThatIsNotUnderstoodIsRejected(t *testing.T) {
	t.Parallel()
	for url, says := range map[string]string{
		"memory:?max_job=5":                "there is no parameter \"max_job\", only max_jobs and max_bytes",
		"memory:?max_jobs=many":            "max_jobs=many is not one whole number",
		"memory:?max_jobs=-1":              "max_jobs=-1 is not one whole number",
		"memory:?max_jobs=":                "max_jobs= is not one whole number",
		"memory:?max_jobs=1&max_jobs=2":    "max_jobs=1,2 is not one whole number",
		"memory:?max_bytes=1MB":            "max_bytes=1MB is not one whole number",
		"memory:?max_bytes=1;max_jobs=1":   "cannot be read",
		"memory://localhost:6379":          "names a place",
		"memory:/var/lib/jobs?max_jobs=10": "names a place",
	} {
		_, err := backend.Open(url)
		require.ErrorIs(t, err, backend.ErrRejected, url)
		require.ErrorContains(t, err, says, url)
		require.ErrorContains(t, err, "write memory:", url)
	}
}

func TestNegativeBoundsAreRejected(t *testing.T) {
	t.Parallel()
	for _, config := range []memory.Config{
		{MaxJobs: -1}, {MaxBytes: -1}, {Retention: backend.RetentionPolicy{Dead: backend.Retention{Count: -1}}},
	} {
		_, err := memory.New(config)
		require.ErrorIs(t, err, backend.ErrRejected)
	}
}

func TestAStoreThatIsFullRefusesTheWholeBatch(t *testing.T) {
	t.Parallel()
	store := closed(t, memory.Config{MaxJobs: 3})
	_, err := store.Enqueue(t.Context(), jobs("a", "b"))
	require.NoError(t, err)

	receipts, err := store.Enqueue(t.Context(), jobs("c", "d"))

	require.ErrorIs(t, err, backend.ErrFull)
	require.ErrorContains(t, err, "it would hold 4 unfinished jobs, 3 are allowed")
	require.Len(t, receipts, 2)
	require.ErrorIs(t, receipts[0].Err, backend.ErrFull)
	_, err = store.Job(t.Context(), "q", "c")
	require.ErrorIs(t, err, backend.ErrNotFound)

	receipts, err = store.Enqueue(t.Context(), jobs("a", "b", "a", "c", "c"))
	require.NoError(t, err, "what is there already needs no room")
	require.True(t, receipts[0].Existing)
	require.False(t, receipts[3].Existing)
	receipts, err = store.Enqueue(t.Context(), jobs("a", "b"))
	require.NoError(t, err)
	require.True(t, receipts[1].Existing)
}

func TestAFullStoreHasRoomAgainWhenJobsEnd(t *testing.T) {
	t.Parallel()
	store := closed(t, memory.Config{MaxJobs: 3})
	_, err := store.Enqueue(t.Context(), jobs("a", "b", "c"))
	require.NoError(t, err)
	full := func() bool {
		_, err := store.Enqueue(t.Context(), jobs("x", "y"))
		return err != nil
	}
	_, err = store.Cancel(t.Context(), "q", []string{"a"})
	require.NoError(t, err)
	require.True(t, full())
	_, err = store.Delete(t.Context(), "q", []string{"b"})
	require.NoError(t, err)
	require.False(t, full())

	results, err := store.Retry(t.Context(), "q", []string{"a"})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, backend.ErrFull, "a retry by hand needs room too")
	require.Equal(t, backend.StateCancelled, results[0].State)
}

func TestWhatTakesThePlaceOfAnotherJobNeedsNoRoomBesideIt(t *testing.T) {
	t.Parallel()
	debounced := func(id string, size int) []backend.NewJob {
		batch := jobs(id)
		batch[0].Payload = make([]byte, size)
		batch[0].Unique = backend.Unique{Key: backend.Key{1}, Hold: backend.HoldUntilFinished, Conflict: backend.ConflictReplace}
		return batch
	}
	for _, config := range []memory.Config{{MaxJobs: 1}, {MaxBytes: 1500}} {
		store := closed(t, config)
		for _, id := range []string{"a", "b", "c"} {
			receipts, err := store.Enqueue(t.Context(), debounced(id, 1000))
			require.NoError(t, err)
			require.Equal(t, id != "a", receipts[0].Replaced)
		}
		_, err := store.Enqueue(t.Context(), append(debounced("d", 100), jobs("e")...))
		if config.MaxJobs > 0 {
			require.ErrorIs(t, err, backend.ErrFull)
		} else {
			require.NoError(t, err)
		}
		_, err = store.Enqueue(t.Context(), debounced("f", 2000))
		if config.MaxBytes > 0 {
			require.ErrorIs(t, err, backend.ErrFull)
		}
	}
}

func TestTheBytesOfUnfinishedJobsAreBounded(t *testing.T) {
	t.Parallel()
	store := closed(t, memory.Config{MaxBytes: 2500})
	fat := func(id string) []backend.NewJob {
		batch := jobs(id)
		batch[0].Payload = make([]byte, 1000)
		return batch
	}
	for _, id := range []string{"a", "b"} {
		_, err := store.Enqueue(t.Context(), fat(id))
		require.NoError(t, err)
	}
	_, err := store.Enqueue(t.Context(), fat("c"))
	require.ErrorIs(t, err, backend.ErrFull)
	reply, err := store.Lease(t.Context(), request("w.1", 1))
	require.NoError(t, err)
	_, err = store.Settle(t.Context(), backend.SettleRequest{Worker: "w", Call: 1, Settlements: []backend.Settlement{{
		Queue: "q", ID: "a", Token: reply.Leases[0].Token, Outcome: backend.OutcomeDead,
		History: &backend.History{Result: make([]byte, 5000)},
	}}})
	require.NoError(t, err)
	_, err = store.Enqueue(t.Context(), fat("c"))
	require.NoError(t, err)
	_, err = store.Enqueue(t.Context(), fat("d"))
	require.ErrorIs(t, err, backend.ErrFull)
}

// What producers choose counts, wherever they put it.
func TestTheKeysOfLimitsAndLanesCount(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 100)
	for name, mark := range map[string]func(*backend.NewJob){
		"lane": func(j *backend.NewJob) { j.Lane = backend.Lane{Key: long} },
		"limit": func(j *backend.NewJob) {
			j.Limits = []backend.Limit{{Class: "c", Key: long, Rule: backend.LimitRule{Slots: 1}}}
		},
	} {
		store := closed(t, memory.Config{MaxBytes: 100})
		batch := jobs("a")
		mark(&batch[0])
		_, err := store.Enqueue(t.Context(), batch)
		require.ErrorIs(t, err, backend.ErrFull, name)
	}
}

func TestBoundsStillHoldAfterEveryTransition(t *testing.T) {
	t.Parallel()
	store := closed(t, memory.Config{MaxJobs: 1})
	outcomes := []backend.Outcome{
		backend.OutcomeRetry, backend.OutcomeReleased, backend.OutcomeSnoozed, backend.OutcomeDead,
		backend.OutcomeCancelled, backend.OutcomeCompleted,
	}
	for i, outcome := range outcomes {
		_, err := store.Enqueue(t.Context(), jobs("a"))
		require.NoError(t, err)
		reply, err := store.Lease(t.Context(), request(fmt.Sprint("w.", i), 1))
		require.NoError(t, err)
		require.Len(t, reply.Leases, 1)
		_, err = store.Settle(t.Context(), backend.SettleRequest{Worker: "w", Call: uint64(i) + 1, Settlements: []backend.Settlement{{
			Queue: "q", ID: "a", Token: reply.Leases[0].Token, Outcome: outcome, History: &backend.History{Result: []byte("x")},
		}}})
		require.NoError(t, err)
		_, err = store.Enqueue(t.Context(), jobs("b"))
		if i < 3 {
			require.ErrorIs(t, err, backend.ErrFull, "%v", outcome)
			continue
		}
		require.NoError(t, err, "%v", outcome)
		for _, id := range []string{"a", "b"} {
			_, err = store.Delete(t.Context(), "q", []string{id})
			require.NoError(t, err)
		}
	}
}

// closed opens a store that the end of the test closes.
func closed(t *testing.T, config memory.Config) *memory.Backend {
	t.Helper()
	store := openWith(t, config)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func jobs(ids ...string) []backend.NewJob {
	batch := make([]backend.NewJob, len(ids))
	for i, id := range ids {
		batch[i].Job = backend.Job{ID: id, Queue: "q", Kind: "kind"}
	}
	return batch
}
