package jobs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func byA(p pair) string { return p.A }

// limitsOf builds a job of a kind with options and returns its limits.
func limitsOf(t *testing.T, args jobs.Args, ofKind []jobs.KindOption, options ...jobs.EnqueueOption) []backend.Limit {
	t.Helper()
	job, err := uniqueClient(t, ofKind...).Build(args, options...)
	require.NoError(t, err)
	return job.Limits
}

func TestLimitsSayWhatTheStoreCounts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		option jobs.Option
		want   backend.Limit
	}{
		"slots":      {jobs.Limit("api", jobs.Slots(3)), backend.Limit{Class: "api", Rule: backend.LimitRule{Slots: 3}}},
		"per tenant": {jobs.Limit("tenant", jobs.Slots(3), jobs.LimitBy(byA)), backend.Limit{Class: "tenant", Key: "acme", Rule: backend.LimitRule{Slots: 3}}},
		"rate": {
			jobs.Limit("api", jobs.Rate(100, time.Second)),
			backend.Limit{Class: "api", Rule: backend.LimitRule{Rate: 100, Per: time.Second, Burst: 5}},
		},
		"slow rate with a cost": {
			jobs.Limit("api", jobs.Rate(10, time.Hour), jobs.Cost(2)),
			backend.Limit{Class: "api", Cost: 2, Rule: backend.LimitRule{Rate: 10, Per: time.Hour, Burst: 1}},
		},
		"cost of the args": {
			jobs.Limit("api", jobs.Rate(10, time.Hour), jobs.Burst(7), jobs.CostBy(func(p pair) int { return len(p.B) })),
			backend.Limit{Class: "api", Cost: 4, Rule: backend.LimitRule{Rate: 10, Per: time.Hour, Burst: 7}},
		},
		"refuse":   {jobs.Limit("api", jobs.Slots(1), jobs.Refuse()), backend.Limit{Class: "api", Hold: backend.SlotOnceEnqueued, Rule: backend.LimitRule{Slots: 1}}},
		"in order": {jobs.InOrder(byA), backend.Limit{Class: "order", Key: "acme", Hold: backend.SlotUntilFinished, Rule: backend.LimitRule{Slots: 1}}},
	} {
		require.Equal(t, []backend.Limit{test.want}, limitsOf(t, pair{"acme", "text"}, []jobs.KindOption{test.option}), name)
		require.Equal(t, []backend.Limit{test.want}, limitsOf(t, pair{"acme", "text"}, nil, test.option), name)
	}
}

func TestLimitsOfDifferentNamesAllCountAndThatOfTheOrderComesFirst(t *testing.T) {
	t.Parallel()
	all := limitsOf(t, pair{A: "acme"},
		[]jobs.KindOption{jobs.Limit("api", jobs.Slots(3)), jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(byA)), jobs.InOrder(byA)},
		jobs.Limit("api", jobs.Slots(5)))
	classes := map[string]int{}
	for _, l := range all {
		classes[l.Class] = l.Rule.Slots
	}
	require.Equal(t, map[string]int{"api": 5, "tenant": 1, "order": 1}, classes, "what is said of the job counts more")
	require.Equal(t, "order", all[0].Class)
}

func TestAKeyThatNobodyCouldReadIsHashed(t *testing.T) {
	t.Parallel()
	for key, hashed := range map[string]bool{"acme": false, strings.Repeat("k", 100): false, strings.Repeat("k", 101): true, "a\nb": true} {
		got := limitsOf(t, pair{A: key}, []jobs.KindOption{jobs.Limit("t", jobs.LimitBy(byA))})[0].Key
		require.Equal(t, hashed, got != key, "%q", key)
	}
}

func TestWhatIsWrongWithALimitIsSaid(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t)
	for says, option := range map[string]jobs.EnqueueOption{
		`Limit("a/b")`:                        jobs.Limit("a/b"),
		"Slots(0)":                            jobs.Limit("a", jobs.Slots(0)),
		"Rate(0, 1s)":                         jobs.Limit("a", jobs.Rate(0, time.Second)),
		"without a rate":                      jobs.Limit("a", jobs.Burst(3)),
		"Burst(0)":                            jobs.Limit("a", jobs.Burst(0)),
		"Cost(-1)":                            jobs.Limit("a", jobs.Cost(-1)),
		"CostBy(0)":                           jobs.Limit("a", jobs.CostBy(func(pair) int { return 0 })),
		"option 1 is nil":                     jobs.Limit("a", nil),
		"LimitBy: the function is nil":        jobs.Limit("a", jobs.LimitBy[pair](nil)),
		"LimitBy takes args of type jobs_tes": jobs.Limit("a", jobs.LimitBy(func(shaky) string { return "" })),
		"Refuse and UntilFinished":            jobs.Limit("a", jobs.Refuse(), jobs.UntilFinished()),
	} {
		_, err := client.Enqueue(t.Context(), pair{}, option)
		require.ErrorIs(t, err, backend.ErrRejected, says)
		require.ErrorContains(t, err, says)
	}
	require.ErrorContains(t, client.SetLimit(t.Context(), "default", "a", jobs.LimitBy(byA)), "only Slots, Rate and Burst")
	require.ErrorContains(t, client.SetLimit(t.Context(), "default", "a", jobs.Slots(0)), "Slots(0)")
	_, err := client.Limit(t.Context(), "default", "unheard-of", "")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

func TestARefusedJobIsTold(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.Limit("api", jobs.Slots(1), jobs.Refuse()))
	receipts, err := client.EnqueueMany(t.Context(), jobs.New(pair{A: "a"}), jobs.New(pair{A: "b"}))
	require.ErrorIs(t, err, jobs.ErrLimited)
	require.NoError(t, receipts[0].Err)
	require.ErrorIs(t, receipts[1].Err, jobs.ErrLimited)
}

func TestALimitIsSetAndResetAtRunTime(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(byA)))
	_, err := client.Enqueue(t.Context(), pair{A: "acme"})
	require.NoError(t, err)
	require.NoError(t, client.SetLimit(t.Context(), jobs.DefaultQueue, "tenant", jobs.Slots(5), jobs.Rate(1000, time.Second)))
	info, err := client.Limit(t.Context(), jobs.DefaultQueue, "tenant", "acme")
	require.NoError(t, err)
	require.Equal(t, backend.LimitRule{Slots: 5, Rate: 1000, Per: time.Second, Burst: 50}, info.Rule)
	require.NoError(t, client.ResetLimit(t.Context(), jobs.DefaultQueue, "tenant"))
	info, err = client.Limit(t.Context(), jobs.DefaultQueue, "tenant", "acme")
	require.NoError(t, err)
	require.Equal(t, backend.LimitRule{Slots: 1}, info.Rule)
}

func TestJobsOfAScheduleHaveTheLimitsOfTheirKind(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(byA)))
	s, err := client.PutSchedule(t.Context(), "s", jobs.Every(time.Hour), pair{A: "acme"})
	require.NoError(t, err)
	receipt, err := client.RunSchedule(t.Context(), s.Queue, "s")
	require.NoError(t, err)
	job, err := client.Job(t.Context(), s.Queue, receipt.ID)
	require.NoError(t, err)
	require.Equal(t, "acme", job.Limits[0].Key)
}
