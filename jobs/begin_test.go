package jobs

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func registryOf(options ...KindOption) *Registry {
	r := NewRegistry()
	Handle(r, func(context.Context, *Job[welcome]) error { return nil }, options...)
	return r
}

func TestJobsThatAreNotRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*backend.Lease)
		options []KindOption
		outcome backend.Outcome
		failure string
	}{
		"unreadable": {
			change:  func(l *backend.Lease) { l.Err = errors.New("no body") },
			outcome: backend.OutcomeDead, failure: "what is stored of the job cannot be read: no body",
		},
		"crashed as often as the default allows": {
			change:  func(l *backend.Lease) { l.Crashes = 3 },
			outcome: backend.OutcomeDead, failure: "the job's worker vanished while it ran, 3 times, and 3 are the limit",
		},
		"crashed as often as the kind allows": {
			change: func(l *backend.Lease) { l.Crashes = 1 }, options: []KindOption{MaxCrashes(1)},
			outcome: backend.OutcomeDead, failure: "the job's worker vanished while it ran, 1 times, and 1 are the limit",
		},
		"crashed as often as the job allows": {
			change: func(l *backend.Lease) { l.Crashes, l.Job.MaxCrashes = 5, 5 }, options: []KindOption{MaxCrashes(9)},
			outcome: backend.OutcomeDead, failure: "the job's worker vanished while it ran, 5 times, and 5 are the limit",
		},
		"past its deadline": {
			change:  func(l *backend.Lease) { l.Job.Deadline = instant.Add(-time.Minute) },
			outcome: backend.OutcomeDead, failure: "the job's deadline has passed 1m0s ago, before this attempt could start",
		},
		"at its deadline": {
			change:  func(l *backend.Lease) { l.Job.Deadline = instant },
			outcome: backend.OutcomeDead, failure: "the job's deadline has passed 0s ago, before this attempt could start",
		},
		"waited too long for the job": {
			change:  func(l *backend.Lease) { l.Job.DueAt, l.Job.ExpireAfter = instant.Add(-time.Hour), time.Minute },
			outcome: backend.OutcomeCancelled, failure: "the job waited longer than it may: 1h0m0s, and 1m0s are the limit",
		},
		"waited too long for the kind": {
			change: func(l *backend.Lease) { l.Job.DueAt = instant.Add(-time.Hour) }, options: []KindOption{ExpireAfter(time.Minute)},
			outcome: backend.OutcomeCancelled, failure: "the job waited longer than it may: 1h0m0s, and 1m0s are the limit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run, refusal := registryOf(test.options...).Begin(aLease(test.change), instant, "w")
			require.Nil(t, run)
			require.Equal(t, &backend.Settlement{
				Queue: "mail", ID: "job-1", Token: "w.1", Outcome: test.outcome,
				History: &backend.History{Worker: "w", FinishedAt: instant, Failures: []backend.Failure{
					{Attempt: 1, At: instant, Worker: "w", Error: test.failure},
				}},
			}, refusal)
			require.NoError(t, refusal.Check())
		})
	}
}

func TestJobsThatAreRunAfterAll(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*backend.Lease){
		"crashed less often than allowed":      func(l *backend.Lease) { l.Crashes = 2 },
		"allowed more crashes than the kind":   func(l *backend.Lease) { l.Crashes, l.Job.MaxCrashes = 5, 6 },
		"just before its deadline":             func(l *backend.Lease) { l.Job.Deadline = instant.Add(1) },
		"waited just as long as it may":        func(l *backend.Lease) { l.Job.DueAt, l.Job.ExpireAfter = instant.Add(-time.Hour), time.Hour },
		"failed before it would have expired":  func(l *backend.Lease) { expired(l); l.History.Attempts = 1 },
		"snoozed before it would have expired": func(l *backend.Lease) { expired(l); l.History.Snoozes = 1 },
		"expired and retried by hand":          func(l *backend.Lease) { expired(l); l.History.Failures = []backend.Failure{{}} },
	} {
		run, refusal := registryOf().Begin(aLease(change), instant, "w")
		require.Nil(t, refusal, name)
		require.NotNil(t, run, name)
	}
}

func expired(l *backend.Lease) { l.Job.DueAt, l.Job.ExpireAfter = instant.Add(-time.Hour), time.Minute }

// Lesson: unknown kinds after a rolling deploy must wait for a worker that knows
// them, not die.
func TestLesson_UnknownKindsWaitForAWorkerThatKnowsThem(t *testing.T) {
	t.Parallel()
	declared := NewRegistry()
	Declare[welcome](declared)
	for _, r := range []*Registry{NewRegistry(), declared} {
		run, refusal := r.Begin(aLease(), instant, "w")
		require.Nil(t, run)
		require.Equal(t, &backend.Settlement{Queue: "mail", ID: "job-1", Token: "w.1", Outcome: backend.OutcomeBlocked, Key: "kind:welcome"}, refusal)
		require.NoError(t, refusal.Check())
	}
	kind, ok := KindOfBlockKey(BlockKey("a:b"))
	require.True(t, ok)
	require.Equal(t, "a:b", kind)
	_, ok = KindOfBlockKey("limit:x")
	require.False(t, ok)
}

// Lesson: a timeout of 500 ms that becomes 30 minutes.
func TestLesson_ATimeoutOf500msStays500ms(t *testing.T) {
	t.Parallel()
	const half = 500 * time.Millisecond
	for name, test := range map[string]struct {
		change  func(*backend.Lease)
		options []KindOption
		timeout time.Duration
		cause   error
	}{
		"none":                          {},
		"of the kind":                   {options: []KindOption{Timeout(half)}, timeout: half, cause: ErrTimeout},
		"of the job":                    {change: func(l *backend.Lease) { l.Job.Timeout = half }, options: []KindOption{Timeout(time.Hour)}, timeout: half, cause: ErrTimeout},
		"a deadline that is nearer":     {change: func(l *backend.Lease) { l.Job.Deadline = instant.Add(half) }, options: []KindOption{Timeout(time.Hour)}, timeout: half, cause: ErrDeadline},
		"a deadline that is further":    {change: func(l *backend.Lease) { l.Job.Deadline = instant.Add(time.Hour) }, options: []KindOption{Timeout(half)}, timeout: half, cause: ErrTimeout},
		"a deadline without a timeout":  {change: func(l *backend.Lease) { l.Job.Deadline = instant.Add(half) }, timeout: half, cause: ErrDeadline},
		"the shortest that can be said": {options: []KindOption{Timeout(time.Millisecond)}, timeout: time.Millisecond, cause: ErrTimeout},
	} {
		if test.change == nil {
			test.change = func(*backend.Lease) {}
		}
		run, refusal := registryOf(test.options...).Begin(aLease(test.change), instant, "w")
		require.Nil(t, refusal, name)
		require.Equal(t, test.timeout, run.Timeout(), name)
		require.Equal(t, test.cause, run.TimeoutCause(), name)
	}

	store := &fakeStore{}
	_, err := newClient(t, store, nil).Enqueue(t.Context(), welcome{}, Timeout(half))
	require.NoError(t, err)
	require.Equal(t, half, store.stored[0].Timeout)
}

func TestMaxAttemptsOfTheJobComesBeforeThatOfTheKindAndThatBeforeTheDefault(t *testing.T) {
	t.Parallel()
	plain := aLease()
	own := aLease(func(l *backend.Lease) { l.Job.MaxAttempts = 2 })
	for _, test := range []struct {
		want  int
		lease *backend.Lease
		r     *Registry
	}{
		{DefaultMaxAttempts, plain, registryOf()},
		{7, plain, registryOf(MaxAttempts(7))},
		{2, own, registryOf(MaxAttempts(7))},
	} {
		run, _ := test.r.Begin(test.lease, instant, "w")
		require.Equal(t, test.want, run.Info().MaxAttempts)
	}
}
