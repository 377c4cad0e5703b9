package memory

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// Those of which a page tells nothing, as they were on one before, are passed over in
// steps: others wait for the store.
func TestAPageLooksAtABoundedNumberOfJobs(t *testing.T) {
	t.Parallel()
	store, err := New(Config{})
	require.NoError(t, err)
	const many = 2*pageSteps + 1
	batch := make([]backend.NewJob, many)
	for i := range batch {
		batch[i] = backend.NewJob{Job: backend.Job{ID: fmt.Sprint(i), Queue: "q", Kind: "k"}}
	}
	for len(batch) > 0 {
		n := min(len(batch), backend.MaxBatch)
		_, err = store.Enqueue(t.Context(), batch[:n])
		require.NoError(t, err)
		batch = batch[n:]
	}
	query := backend.JobsQuery{Queue: "q", State: backend.StateWaiting}
	page, err := store.Jobs(t.Context(), query)
	require.NoError(t, err)
	at, err := parseCursor(page.Next)
	require.NoError(t, err)
	at.past, at.id = math.MaxInt64, "of a job that has gone"
	query.Cursor = at.String()
	for range many / pageSteps {
		page, err = store.Jobs(t.Context(), query)
		require.NoError(t, err)
		require.Empty(t, page.Jobs)
		require.NotEmpty(t, page.Next)
		query.Cursor = page.Next
	}
	page, err = store.Jobs(t.Context(), query)
	require.NoError(t, err)
	require.Empty(t, page.Next)
}
