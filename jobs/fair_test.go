package jobs_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func TestTheLaneAndItsWeightComeFromTheArgs(t *testing.T) {
	t.Parallel()
	byLength := func(p pair) float64 { return float64(len(p.B)) }
	for name, test := range map[string]struct {
		option jobs.Option
		want   backend.Lane
	}{
		"key":                  {jobs.FairBy(byA), backend.Lane{Key: "acme"}},
		"weight":               {jobs.FairBy(byA, jobs.Weight(2.5)), backend.Lane{Key: "acme", Weight: 2.5}},
		"weight from the args": {jobs.FairBy(byA, jobs.WeightBy(byLength)), backend.Lane{Key: "acme", Weight: 4}},
		"no key":               {jobs.FairBy(func(pair) string { return "" }, jobs.Weight(3)), backend.Lane{}},
	} {
		for _, ofKind := range []bool{true, false} {
			client, options := uniqueClient(t), []jobs.EnqueueOption{test.option}
			if ofKind {
				client, options = uniqueClient(t, test.option), nil
			}
			job, err := client.Build(pair{"acme", "text"}, options...)
			require.NoError(t, err)
			require.Equal(t, test.want, job.Lane, name)
		}
	}
	job, err := uniqueClient(t, jobs.FairBy(byA)).Build(pair{A: "a"}, jobs.FairBy(func(p pair) string { return p.B + "job" }))
	require.NoError(t, err)
	require.Equal(t, "job", job.Lane.Key, "what is said of the job counts")
	job, err = uniqueClient(t, jobs.FairBy(byA)).Build(pair{A: strings.Repeat("long", 100)})
	require.NoError(t, err)
	require.Len(t, job.Lane.Key, 64, "a hash")
}

func TestALaneThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t)
	for says, option := range map[string]jobs.Option{
		"the function is nil": jobs.FairBy[pair](nil),
		"leave WeightBy out":  jobs.FairBy(byA, jobs.WeightBy[pair](nil)),
		"option 1 is nil":     jobs.FairBy(byA, nil),
		"Weight(0)":           jobs.FairBy(byA, jobs.Weight(0)),
		"Weight(-1)":          jobs.FairBy(byA, jobs.Weight(-1)),
		"Weight(1001)":        jobs.FairBy(byA, jobs.Weight(1001)),
		"Weight(NaN)":         jobs.FairBy(byA, jobs.Weight(math.NaN())),
		"WeightBy(0)":         jobs.FairBy(byA, jobs.WeightBy(func(pair) float64 { return 0 })),
		"takes args of type":  jobs.FairBy(func(shaky) string { return "" }),
	} {
		_, err := client.Build(pair{A: "a"}, option)
		require.ErrorIs(t, err, backend.ErrRejected)
		require.ErrorContains(t, err, says)
	}
}

func TestTheJobsOfAScheduleWaitInTheirLane(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.FairBy(byA, jobs.Weight(2)))
	_, err := client.PutSchedule(t.Context(), "nightly", jobs.Every(time.Hour), pair{A: "acme"})
	require.NoError(t, err)
	receipt, err := client.RunSchedule(t.Context(), jobs.DefaultQueue, "nightly")
	require.NoError(t, err)
	job, err := client.Job(t.Context(), receipt.Queue, receipt.ID)
	require.NoError(t, err)
	require.Equal(t, backend.Lane{Key: "acme", Weight: 2}, job.Lane)
	lanes, err := client.Lanes(t.Context(), jobs.DefaultQueue)
	require.NoError(t, err)
	require.Equal(t, []backend.LaneInfo{{Key: "acme", Waiting: 1}}, lanes.Lanes)
}

func TestExplainTellsTheLaneAndThePlaceThere(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.FairBy(byA))
	var last *jobs.Receipt
	for range 3 {
		receipt, err := client.Enqueue(t.Context(), pair{A: "acme"})
		require.NoError(t, err)
		last = &receipt
	}
	for range 2 {
		_, err := client.Enqueue(t.Context(), pair{A: "other"})
		require.NoError(t, err)
	}
	plain, err := client.Enqueue(t.Context(), pair{})
	require.NoError(t, err)

	why, err := client.Explain(t.Context(), last.Queue, last.ID)
	require.NoError(t, err)
	require.True(t, why.Is(jobs.CauseBehind), why)
	require.Contains(t, why.String(), `it is number 3 of 3 in the lane "acme"; lanes have their turns, and 2 to 5 jobs come before it`)
	for _, r := range why.Reasons {
		if r.Cause == jobs.CauseBehind {
			require.Equal(t, "acme", r.Lane)
			require.Equal(t, [2]int64{2, 5}, [2]int64{r.Ahead, r.AheadAtMost})
			require.False(t, r.Exact)
		}
	}
	why, err = client.Explain(t.Context(), plain.Queue, plain.ID)
	require.NoError(t, err)
	require.Contains(t, why.String(), "at least 0 and at most 5 jobs wait before it")
}
