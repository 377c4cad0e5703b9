package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// recorder is a store of which a run needs SaveHistory only.
type recorder struct {
	backend.Backend
	answers  []error // the last one holds on
	recorded []backend.History
	held     backend.Held
}

func (r *recorder) SaveHistory(_ context.Context, held backend.Held, history backend.History) error {
	err := r.answers[0]
	if len(r.answers) > 1 {
		r.answers = r.answers[1:]
	}
	if err == nil {
		r.held, r.recorded = held, append(r.recorded, history)
	}
	return err
}

// runWith runs a handler on a lease from a store.
func runWith(t *testing.T, store backend.Backend, lease *backend.Lease, log *slog.Logger, handler func(context.Context, *Job[welcome]) error) Result {
	t.Helper()
	r := NewRegistry()
	Handle(r, handler)
	run, refusal := r.Begin(lease, instant, "w")
	require.Nil(t, refusal)
	if store != nil {
		run.Store(store)
	}
	run.Log(log)
	var result Result
	run.Do(t.Context(), func() time.Time { return instant }, func(r Result) { result = r })
	return result
}

func TestACheckpointGoesOnFromRunToRun(t *testing.T) {
	t.Parallel()
	lease := aLease()
	for attempt := range 3 {
		result := runWith(t, nil, lease, nil, func(ctx context.Context, job *Job[welcome]) error {
			var page int
			found, err := job.Checkpoint(&page)
			require.NoError(t, err)
			require.Equal(t, attempt > 0, found)
			require.Equal(t, attempt, page)
			require.NoError(t, job.SaveCheckpoint(ctx, attempt+7))
			require.NoError(t, job.SaveCheckpoint(ctx, attempt+1))
			_, err = job.Checkpoint(&page)
			require.NoError(t, err)
			require.Equal(t, attempt+1, page)
			return errors.New("not yet")
		})
		require.NotNil(t, result.Settlement.History)
		lease.History = *result.Settlement.History
	}
	checkpoint, err := CheckpointOf[int](newClient(t, &fakeStore{}, NewRegistry()).jobInfo(backend.JobInfo{Job: lease.Job, History: lease.History}))
	require.NoError(t, err)
	require.Equal(t, 3, checkpoint)
}

func TestACheckpointIsInTheStoreWhenTheCallReturns(t *testing.T) {
	t.Parallel()
	store := &recorder{answers: []error{nil}}
	lease := aLease(func(l *backend.Lease) {
		l.History = backend.History{Attempts: 2, Failures: []backend.Failure{{Attempt: 2, Error: "error"}}}
	})
	result := runWith(t, store, lease, nil, func(ctx context.Context, job *Job[welcome]) error {
		require.NoError(t, job.SaveCheckpoint(ctx, "page 7"))
		want := lease.History
		want.Checkpoint = []byte(`"page 7"`)
		require.Equal(t, []backend.History{want}, store.recorded)
		require.Equal(t, backend.Held{Queue: "mail", ID: "job-1", Token: "w.1"}, store.held)
		return Snooze(time.Minute)
	})
	require.Equal(t, `"page 7"`, string(result.Settlement.History.Checkpoint))
	refused := func() Result {
		r := NewRegistry()
		Handle(r, func(context.Context, *Job[welcome]) error { return nil })
		run, _ := r.Begin(lease, instant, "w")
		require.NoError(t, run.Info().SaveCheckpoint(t.Context(), "page 8"))
		return run.Refused(errors.New("too large"), instant)
	}()
	require.Equal(t, `"page 8"`, string(refused.Settlement.History.Checkpoint), "what the handler left is dropped, what it saved is kept")
}

func TestACheckpointIsTriedAgainWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		away := fmt.Errorf("%w: no route", backend.ErrUnavailable)
		store := &recorder{answers: []error{away, away, away, nil}}
		began := time.Now()
		runWith(t, store, aLease(), slog.New(slog.NewTextHandler(&log, nil)), func(ctx context.Context, job *Job[welcome]) error {
			require.NoError(t, job.SaveCheckpoint(ctx, 1))
			return nil
		})
		require.Equal(t, 350*time.Millisecond, time.Since(began), "with pauses")
		require.Len(t, store.recorded, 1)
		require.Equal(t, 1, strings.Count(log.String(), "a checkpoint cannot be saved"), log.String())
		require.Contains(t, log.String(), "id=job-1")
		require.Contains(t, log.String(), "no route")
	})
}

func TestACheckpointThatCannotBeSavedSaysWhy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		save := func(answer error, v any) (failure error) {
			runWith(t, &recorder{answers: []error{answer}}, aLease(), slog.New(slog.DiscardHandler), func(ctx context.Context, job *Job[welcome]) error {
				ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, ErrStopping)
				defer cancel()
				failure = job.SaveCheckpoint(ctx, v)
				found, err := job.Checkpoint(new(any))
				require.NoError(t, err)
				require.False(t, found, "what is not stored does not count")
				return nil
			})
			return failure
		}
		err := save(backend.ErrState, 1)
		require.ErrorIs(t, err, ErrLeaseLost)
		err = save(backend.ErrUnavailable, 1)
		require.ErrorIs(t, err, backend.ErrUnavailable)
		require.ErrorIs(t, err, ErrStopping)
		require.ErrorIs(t, save(backend.ErrFull, 1), backend.ErrFull)
		require.ErrorIs(t, save(backend.ErrRejected, 1), backend.ErrRejected)
		err = save(nil, strings.Repeat("x", backend.MaxCheckpoint))
		require.ErrorIs(t, err, ErrPayload)
		require.ErrorContains(t, err, "it has 65538 bytes, 65536 are allowed")
	})
}

func TestNoCheckpointIsTakenWhenTheHandlerHasReturned(t *testing.T) {
	t.Parallel()
	var job *Job[welcome]
	runWith(t, &recorder{answers: []error{nil}}, aLease(), nil, func(_ context.Context, j *Job[welcome]) error {
		job = j
		return nil
	})
	require.ErrorContains(t, job.SaveCheckpoint(t.Context(), 1), "the attempt has ended")
}

func TestAHandlerThatIsTestedAloneHasItsCheckpoint(t *testing.T) {
	t.Parallel()
	job := &Job[welcome]{}
	require.NoError(t, job.SaveCheckpoint(t.Context(), "page 7"))
	var page string
	found, err := job.Checkpoint(&page)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "page 7", page)
}

func TestAHandBackWithoutAStoreKeepsTheCheckpoint(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	Handle(r, func(ctx context.Context, job *Job[welcome]) error {
		require.NoError(t, job.SaveCheckpoint(ctx, 1))
		return errors.New("interrupted")
	})
	result := runIn(t, endedBy(ErrStopping), r, aLease())
	require.Equal(t, backend.OutcomeReleased, result.Settlement.Outcome)
	require.Equal(t, "1", string(result.Settlement.History.Checkpoint))
}
