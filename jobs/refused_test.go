package jobs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestAResultThatIsTooLargeIsRefusedWhereItIsLeft(t *testing.T) {
	t.Parallel()
	result := runJob(t, t.Context(), aLease(), func(_ context.Context, job *Job[welcome]) error {
		require.NoError(t, job.SetResult(strings.Repeat("x", MaxResult-2)))
		err := job.SetResult(strings.Repeat("x", MaxResult-1))
		require.ErrorIs(t, err, ErrPayload)
		require.ErrorContains(t, err, "the result")
		require.ErrorContains(t, err, "it has 1048577 bytes, 1048576 are allowed")
		return nil
	})
	require.Equal(t, backend.OutcomeCompleted, result.Settlement.Outcome)
	require.Len(t, result.Settlement.History.Result, MaxResult, "the one before stays")
}

func TestARunWhoseSettlementIsRefusedIsAFailedAttemptThatSaysSoAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, expected := range map[string]struct {
		attempts int
		outcome  backend.Outcome
	}{
		"attempts are left": {1, backend.OutcomeRetry},
		"the last attempt":  {2, backend.OutcomeDead},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRegistry()
			Handle(r, func(_ context.Context, job *Job[welcome]) error {
				_ = job.Progress(1)
				return job.SetResult("large")
			}, MaxAttempts(3))
			run, _ := r.Begin(aLease(func(l *backend.Lease) { l.History.Attempts = expected.attempts }), instant, "w")
			run.Do(t.Context(), func() time.Time { return instant }, func(Result) {})

			refused := run.Refused(errors.New("the store does not take it"), instant.Add(time.Minute))

			s := refused.Settlement
			require.NoError(t, s.Check())
			require.Equal(t, expected.outcome, s.Outcome)
			require.Equal(t, expected.outcome == backend.OutcomeRetry, s.Delay > 0)
			require.Equal(t, "w.1", s.Token)
			require.Equal(t, expected.attempts+1, s.History.Attempts)
			require.Equal(t, "the store does not take it", s.History.Failures[0].Error)
			require.Empty(t, s.History.Result)
			require.Empty(t, s.History.Progress)
			require.EqualError(t, refused.Err, "the store does not take it")
		})
	}
}
