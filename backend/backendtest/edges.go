package backendtest

import (
	"fmt"
	"math"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// Numbers at the ends of what they can express, and beside what the contract
// bounds them by.
var (
	oddDurations = []time.Duration{
		0, 1, -1, time.Microsecond, time.Millisecond - 1, time.Millisecond, time.Millisecond + 1, -time.Millisecond,
		time.Second, never, 90 * 24 * time.Hour, backend.MaxDelay - 1, backend.MaxDelay, backend.MaxDelay + 1,
		200 * 365 * 24 * time.Hour, math.MaxInt64 - 1, math.MaxInt64, math.MinInt64,
	}
	oddCounts = []int{
		0, 1, -1, 2, 127, 128, backend.MaxCrashes, backend.MaxCrashes + 1, 65_536,
		math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32, math.MaxInt64, math.MinInt64,
	}
	oddInstants = []time.Time{
		{}, time.Unix(0, 0), time.Unix(0, 1), time.Unix(0, -1), time.Unix(-1, 0), time.UnixMilli(1).UTC(),
		time.Time{}.Add(1), time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(0, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Unix(0, math.MinInt64), time.Unix(0, math.MinInt64).Add(-1),
		time.Unix(0, math.MaxInt64), time.Unix(0, math.MaxInt64).Add(1),
		time.UnixMilli(1<<45 - 1), time.UnixMilli(1 << 45), time.UnixMilli(1 << 53),
		time.Date(2500, 2, 3, 4, 5, 6, 7, time.FixedZone("odd", 12_345)),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(1<<62, 0), time.Unix(-1<<62, 0), time.Unix(math.MaxInt64, 0),
	}
)

func odd[V any](t *rapid.T, label string, values []V) V {
	// What is drawn first is simplest: half of the values are the zero one.
	if rapid.Bool().Draw(t, label+" is said") {
		return rapid.SampledFrom(values).Draw(t, label)
	}
	return values[0]
}

func oddJob(t *rapid.T, id string) backend.NewJob {
	n := job(id)
	n.MaxAttempts, n.MaxCrashes = odd(t, "attempts", oddCounts), odd(t, "crashes", oddCounts)
	n.Timeout, n.ExpireAfter = odd(t, "timeout", oddDurations), odd(t, "expiry", oddDurations)
	n.Retention, n.Deadline = odd(t, "retention", oddDurations), odd(t, "deadline", oddInstants)
	n.Delay, n.At = odd(t, "delay", oddDurations), odd(t, "at", oddInstants)
	return n
}

func oddHistory(t *rapid.T) *backend.History {
	return &backend.History{
		Attempts: odd(t, "failed", oddCounts), Snoozes: odd(t, "snoozes", oddCounts), AttemptLimit: odd(t, "limit", oddCounts),
		StartedAt: odd(t, "started", oddInstants), FinishedAt: odd(t, "finished", oddInstants),
		Failures: []backend.Failure{{Attempt: odd(t, "failure", oddCounts), At: odd(t, "failed at", oddInstants), Error: "e"}},
	}
}

// checkOdd draws odd numbers for a test; in a bubble too, where a test has no
// deadline to be asked for.
func (k *kit) checkOdd(prop func(t *rapid.T)) { rapid.Check(struct{ rapid.TB }{k.T}, prop) }

// edgeTests give odd numbers to a store. What the contract's checks let pass has to
// come out as it went in, and has to have the effect that it says; so that all stores
// come to the same end.
var edgeTests = []test{
	{"odd numbers of a job are rejected or kept", func(k *kit) {
		count := 0
		k.checkOdd(func(t *rapid.T) {
			count++
			n := oddJob(t, fmt.Sprint("job", count))
			receipts, err := k.Enqueue(k.ctx, []backend.NewJob{n})
			if refusal := n.Check(); refusal != nil {
				require.ErrorIs(t, err, backend.ErrRejected, "%v", refusal)
				k.requireGone(n.ID)
				return
			}
			require.NoError(t, err)
			info := k.get(n.ID)
			require.Equal(t, described(n.Job), described(info.Job))
			due := info.EnqueuedAt
			switch {
			case n.Delay > 0:
				due = due.Add(n.Delay)
			case n.At.After(due):
				due = n.At
			}
			require.WithinDuration(t, due, info.DueAt, 5*time.Millisecond)
			if due.Sub(info.EnqueuedAt) > time.Minute {
				require.Equal(t, backend.StateScheduled, receipts[0].State)
				require.Equal(t, backend.StateScheduled, info.State)
				require.True(t, info.ScheduledFor.Equal(info.DueAt))
			} else if due.Equal(info.EnqueuedAt) {
				require.Equal(t, backend.StateWaiting, receipts[0].State)
				require.Equal(t, backend.StateWaiting, info.State)
			}
			k.acted(k.Delete, n.ID, "")
		})
	}},
	{"odd numbers of a settlement are rejected or kept", func(k *kit) {
		w := k.worker("w")
		count := 0
		k.checkOdd(func(t *rapid.T) {
			count++
			id := fmt.Sprint("job", count)
			k.enqueueAll(id)
			lease := w.leaseOne(id)
			s := settlement(lease, rapid.SampledFrom(outcomes).Draw(t, "outcome"))
			s.Delay, s.Keep, s.History = odd(t, "delay", oddDurations), odd(t, "keep", oddDurations), oddHistory(t)
			before := time.Now()
			result := w.settle(s)[0]
			defer func() {
				// Jobs that are kept for a millisecond may have gone.
				_, _ = k.Cancel(k.ctx, "q", []string{id})
				_, _ = k.Delete(k.ctx, "q", []string{id})
			}()
			if refusal := s.Check(); refusal != nil {
				require.ErrorIs(t, result.Err, backend.ErrRejected, "%v", refusal)
				require.Equal(t, lease.Token, k.get(id).Token, "nothing has changed")
				w.settled(lease, backend.OutcomeCancelled, backend.StateCancelled)
				return
			}
			require.NoError(t, result.Err)
			require.False(t, result.Stale)
			delayed := s.Delay > 0 && (s.Outcome == backend.OutcomeRetry || s.Outcome == backend.OutcomeSnoozed)
			require.Equal(t, delayed, result.State == backend.StateScheduled)
			if s.Outcome == backend.OutcomeCompleted && s.Keep <= 0 {
				k.requireGone(id)
				return
			}
			info, err := k.Job(k.ctx, "q", id)
			if s.Keep > 0 && s.Keep < soon && s.Outcome == backend.OutcomeCompleted && err != nil {
				require.ErrorIs(t, err, backend.ErrNotFound)
				return
			}
			require.NoError(t, err)
			require.Equal(t, past(*s.History), past(info.History))
			switch {
			case delayed && s.Delay > time.Minute:
				require.WithinDuration(t, before.Add(s.Delay), info.ScheduledFor, patience)
			case s.Outcome == backend.OutcomeCompleted:
				require.Greater(t, info.KeptUntil.Sub(before), min(s.Keep, backend.MaxDelay)-patience)
			}
		})
	}},
	{"odd lengths of waits, records and calls have their effect", func(k *kit) {
		w, waiter := k.worker("w"), k.waiter()
		for i, limit := range []time.Duration{math.MinInt64, -1, 0, 1} {
			reply, err := waiter.Lease(k.ctx, w.request(1), limit)
			require.NoError(k, err, "%v", limit)
			require.Empty(k, reply.Leases)
			k.enqueueAll(fmt.Sprint("a", i))
			require.Eventually(k, func() bool {
				reply, err = waiter.Lease(k.ctx, w.request(1), math.MaxInt64-time.Duration(i))
				require.NoError(k, err)
				return len(reply.Leases) == 1
			}, patience, time.Millisecond)
			call := backend.SettleRequest{
				Worker: "w", Call: math.MaxUint64 - 10 + uint64(i),
				Settlements: settlements(reply.Leases, backend.OutcomeReleased),
			}
			first := w.sendSettle(call)
			require.Equal(k, backend.SettleResult{State: backend.StateWaiting}, first[0])
			require.Equal(k, first, w.sendSettle(call), "it is repeated")
			require.NoError(k, k.act(k.Delete, fmt.Sprint("a", i)).Err)
		}
		for _, ttl := range []time.Duration{time.Minute, backend.MaxDelay, math.MaxInt64} {
			k.announce(backend.WorkerInfo{ID: "w", Concurrency: math.MaxInt, StartedAt: time.Unix(0, 0)}, ttl)
			workers, err := k.Workers(k.ctx)
			require.NoError(k, err)
			require.Len(k, workers, 1, "a record for %v", ttl)
			require.Equal(k, math.MaxInt, workers[0].Concurrency)
			require.True(k, workers[0].StartedAt.Equal(time.Unix(0, 0)))
		}
	}},
}
