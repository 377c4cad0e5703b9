package jobstest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

type call struct {
	N int `json:"n"`
}

func (call) Kind() string { return "call" }

func TestDrainLetsTheTimePassUntilThereAreTokens(t *testing.T) {
	t.Parallel()
	var order []int
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[call]) error {
		order = append(order, job.Args.N)
		return nil
	}, jobs.Limit("api", jobs.Rate(2, time.Second)), jobs.InOrder(func(call) string { return "one" }))
	store := jobstest.New(t, registry)
	for n := range 5 {
		_, err := store.Client().Enqueue(t.Context(), call{n})
		require.NoError(t, err)
	}
	report := store.Drain(t.Context())
	report.RequireCompleted(t)
	require.Equal(t, []int{0, 1, 2, 3, 4}, order)
	require.GreaterOrEqual(t, report.Took, 2*time.Second)
	require.Less(t, report.Took, 3*time.Second)
}
