package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/stretchr/testify/require"
)

type welcome struct {
	UserID int64 `json:"user_id"`
}

func (welcome) Kind() string { return "welcome" }

func TestAHandlerGetsItsArgs(t *testing.T) {
	t.Parallel()
	r := jobs.NewRegistry()
	var got welcome
	jobs.Handle(r, func(_ context.Context, job *jobs.Job[welcome]) error {
		got = job.Args
		return nil
	})
	lease := &backend.Lease{Job: backend.Job{ID: "1", Queue: "default", Kind: "welcome", Payload: []byte(`{"user_id":42}`)}, Token: "w.1"}
	run, refusal := r.Begin(lease, time.Now(), "w")
	require.Nil(t, refusal)
	calls := 0
	run.Do(t.Context(), time.Now, func(result jobs.Result) {
		calls++
		require.NoError(t, result.Err)
		require.Equal(t, backend.Settlement{Queue: "default", ID: "1", Token: "w.1", Outcome: backend.OutcomeCompleted}, result.Settlement)
	})
	require.Equal(t, 1, calls)
	require.Equal(t, welcome{UserID: 42}, got)
}
