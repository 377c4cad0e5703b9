package actors_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func TestSettlementsGatherWhileOneCommitIsInFlight(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(func(_ context.Context, call func() error) error {
			<-time.After(time.Second)
			return call()
		}, "settle")
		r.enqueue(100)
		r.start(noop, concurrency(10))
		pause(900 * time.Millisecond)
		require.Equal(t, 1, r.faulty.count("settle"), "one commit at a time")
		pause(time.Minute)

		settles := r.faulty.settles()
		require.LessOrEqual(t, len(settles), 3)
		sum := 0
		for i, request := range settles {
			require.EqualValues(t, i+1, request.Call)
			sum += len(request.Settlements)
		}
		require.Equal(t, 100, sum)
		require.EqualValues(t, 100, r.counts()[backend.StateCompleted])
	})
}

func TestACommitThatFailsIsRepeatedUnchangedUnderTheSameNumber(t *testing.T) {
	for name, how := range map[string]rule{"before the effect": down, "after the effect": lostReply} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newStore(t)
				r.faulty.on(first(4, how), "settle")
				r.enqueue(3)
				r.start(func(_ context.Context, job *jobs.Job[task]) error {
					<-time.After(time.Duration(job.Args.N) * 100 * time.Millisecond)
					return nil
				})
				pause(time.Minute)

				settles := r.faulty.settles()
				for i, request := range settles[:5] {
					require.Equal(t, settles[0], request, "try %d", i+1)
				}
				require.Len(t, settles[0].Settlements, 1)
				require.EqualValues(t, 2, settles[5].Call)
				require.EqualValues(t, 3, r.counts()[backend.StateCompleted])
				require.Equal(t, 3, r.stop(actors.Stop{}).Completed)
			})
		})
	}
}

// answering changes what the store answers to settlements.
type answering struct {
	backend.Backend
	change func(backend.Settlement, *backend.SettleResult)
}

func (a *answering) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	results, err := a.Backend.Settle(ctx, request)
	for i := range results {
		a.change(request.Settlements[i], &results[i])
	}
	return results, err
}

func TestARejectedSettlementIsReportedAndStopsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.Backend = &answering{r.store, func(s backend.Settlement, result *backend.SettleResult) {
			if s.ID == "1" {
				*result = backend.SettleResult{Err: backend.ErrRejected}
			}
		}}
		r.enqueue(3)
		r.start(noop, concurrency(1))
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.Equal(t, 2, report.Completed)
		require.Equal(t, []actors.Ref{{Queue: jobs.DefaultQueue, ID: "1", Kind: "task"}}, report.UnconfirmedJobs)
		require.Zero(t, report.StopTook, "a rejection is final and not repeated")
	})
}

func TestAStaleSettlementCountsAsLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.Backend = &answering{r.store, func(s backend.Settlement, result *backend.SettleResult) {
			if s.ID == "1" {
				*result = backend.SettleResult{Stale: true}
			}
		}}
		r.enqueue(3)
		r.start(noop)
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.Equal(t, 2, report.Completed)
		require.Equal(t, 1, report.Lost)
	})
}

func TestAStoreThatAnswersForTooFewIsNotBelieved(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		short := &shortAnswer{Backend: r.store}
		r.faulty.Backend = short
		r.enqueue(3)
		r.start(noop)
		pause(time.Minute)
		require.Equal(t, 3, r.stop(actors.Stop{}).Completed)
	})
}

// shortAnswer leaves an answer out, once each.
type shortAnswer struct {
	backend.Backend
	settled bool
}

func (s *shortAnswer) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	results, err := s.Backend.Settle(ctx, request)
	if !s.settled && len(results) > 0 {
		s.settled = true
		return results[1:], err
	}
	return results, err
}

func TestEachEndOfAnAttemptIsSettledAndCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		outcomes := []error{
			nil, errors.New("fails"), jobs.Snooze(time.Hour), jobs.Cancel(nil), jobs.Discard(nil),
			jobs.RetryIn(time.Hour, nil), nil,
		}
		r := newRig(t, func(_ context.Context, job *jobs.Job[task]) error {
			if job.Args.N == len(outcomes)-1 {
				panic("at the disco")
			}
			return outcomes[job.Args.N]
		}, concurrency(1))
		r.enqueue(len(outcomes))
		synctest.Wait()
		require.Equal(t, actors.Counts{
			Leased: 7, Completed: 1, Retried: 3, Snoozed: 1, Cancelled: 1, Dead: 1,
		}, r.worker.Status().Counts)
		for id, state := range []backend.State{
			backend.StateCompleted, backend.StateScheduled, backend.StateScheduled, backend.StateCancelled,
			backend.StateDead, backend.StateScheduled, backend.StateScheduled,
		} {
			require.Equal(t, state, r.job(fmt.Sprint(id)).State, "job %d", id)
		}
		require.Equal(t, 4, r.stop(actors.Stop{}).Failed())
	})
}

// One undecodable message stopped the recovery of all of asynq's queues.
func TestLessonAPayloadThatCannotBeDecodedIsSetAsideAndStopsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		_, err := r.store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{
			ID: "poison", Queue: jobs.DefaultQueue, Kind: "task", Payload: []byte("{not json"),
		}}})
		require.NoError(t, err)
		r.enqueue(3)
		r.start(noop)
		synctest.Wait()
		poison := r.job("poison")
		require.Equal(t, backend.StateDead, poison.State)
		require.Contains(t, poison.Failures[0].Error, "cannot decode the payload")
		require.EqualValues(t, 3, r.counts()[backend.StateCompleted])
	})
}
