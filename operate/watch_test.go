package operate_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// mortal is the store of a process that crashes at its nth act: that one is done to some of
// the jobs, or to all, and from then on nothing that the process does reaches the store.
type mortal struct {
	backend.Backend
	acts  atomic.Int32
	nth   int32
	part  int
	dead  atomic.Bool
	crash chan struct{}
}

func newMortal(store backend.Backend, nth int32, part int) *mortal {
	return &mortal{Backend: store, nth: nth, part: part, crash: make(chan struct{})}
}

func (m *mortal) Retry(ctx context.Context, queue string, ids []string) ([]backend.ActResult, error) {
	if m.acts.Add(1) == m.nth {
		if _, err := m.Backend.Retry(ctx, queue, ids[:min(m.part, len(ids))]); err != nil {
			return nil, err
		}
		m.dead.Store(true)
		close(m.crash)
	}
	if m.dead.Load() {
		return nil, backend.ErrUnavailable
	}
	return m.Backend.Retry(ctx, queue, ids)
}

func (m *mortal) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	if m.dead.Load() {
		return backend.Memo{}, backend.ErrUnavailable
	}
	return m.Backend.Memo(ctx, name, key)
}

func (m *mortal) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	if m.dead.Load() {
		return backend.Memo{}, backend.ErrUnavailable
	}
	return m.Backend.WriteMemo(ctx, write)
}

// hasty is another process on a store, and what waits until an operation has ended there.
func hasty(t *testing.T, store backend.Backend) (*operate.Operations, func(id string) operate.Operation) {
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	changes := make(chan struct{}, 10_000)
	s := operate.NewHastyOperations(client, func() { changes <- struct{}{} })
	t.Cleanup(s.Close)
	return s, func(id string) operate.Operation {
		t.Helper()
		for {
			o, err := s.Get(t.Context(), id)
			require.NoError(t, err)
			if o.Phase != operate.PhaseRunning {
				return o
			}
			select {
			case <-changes:
			case <-t.Context().Done():
				require.FailNow(t, "it has not ended")
			}
		}
	}
}

func TestWhatACrashedProcessHasBegunAnotherOneFinishesAndTheCountsAddUp(t *testing.T) {
	for _, part := range []int{0, 400, 1000} {
		t.Run(fmt.Sprintf("after %d of a page", part), func(t *testing.T) {
			onStores(t, func(t *testing.T, f *fleet) {
				f.enqueue("mail", ids("a", 3500)...)
				f.die("mail", func(id string) backend.Failure {
					if strings.HasSuffix(id, "7") {
						return backend.Failure{At: time.Now(), Error: "of another kind"}
					}
					return boom(id)
				})
				f.enqueue("news", ids("b", 500)...)
				f.die("news", boom)
				store := newMortal(f.store, 3, part)
				first, _ := hasty(t, store)
				begun, err := first.Start(t.Context(), operate.Request{
					Act: operate.ActRetry, Queues: []string{"news", "mail"}, State: backend.StateDead, Filter: operate.Filter{Text: "boom"}, By: "ann",
				})
				require.NoError(t, err)
				<-store.crash

				// Two want it, and one gets it.
				second, end := hasty(t, f.store)
				third, endToo := hasty(t, f.store)
				o := end(begun.ID)
				require.Equal(t, o.Phase, endToo(begun.ID).Phase)
				require.Equal(t, operate.PhaseDone, o.Phase, o.Error)
				require.NotEqual(t, begun.Runner, o.Runner)
				require.EqualValues(t, 4000, o.Of)
				require.EqualValues(t, 4000, o.Looked)
				require.EqualValues(t, 3650, o.Applied)
				require.GreaterOrEqual(t, o.Moved, 1)
				require.EqualValues(t, 350, f.count("mail", backend.StateDead))
				require.EqualValues(t, 3150, f.count("mail", backend.StateWaiting))
				require.EqualValues(t, 500, f.count("news", backend.StateWaiting))
				for _, s := range []*operate.Operations{second, third} {
					all, err := s.List(t.Context())
					require.NoError(t, err)
					require.Len(t, all, 1)
					require.Equal(t, "ann", all[0].By)
				}
			})
		})
	}
}

func TestAProcessThatEndsHandsItsOperationsOver(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("mail", ids("a", 2500)...)
		store := &failing{Backend: f.store, gate: make(chan struct{}, 1)}
		store.gate <- struct{}{} // one page
		first, _ := hasty(t, store)
		begun, err := first.Start(t.Context(), operate.Request{Act: operate.ActCancel, Queues: []string{"mail"}, State: backend.StateWaiting})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			o, err := first.Get(t.Context(), begun.ID)
			return err == nil && o.Applied == 1000
		}, time.Minute, time.Millisecond)
		first.Close()
		_, end := hasty(t, f.store)
		o := end(begun.ID)
		require.Equal(t, operate.PhaseDone, o.Phase, o.Error)
		require.EqualValues(t, 2500, o.Looked)
		require.EqualValues(t, 2500, o.Applied)
		require.Equal(t, 1, o.Moved)
		require.EqualValues(t, 2500, f.count("mail", backend.StateCancelled))
	})
}

func TestAnOperationIsStoppedFromAnotherProcess(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("mail", ids("a", 2500)...)
		store := &failing{Backend: f.store, gate: make(chan struct{}, 1)}
		store.gate <- struct{}{}
		first, end := hasty(t, store)
		begun, err := first.Start(t.Context(), operate.Request{Act: operate.ActCancel, Queues: []string{"mail"}, State: backend.StateWaiting})
		require.NoError(t, err)
		second, _ := hasty(t, f.store)
		ran, err := second.Stop(t.Context(), begun.ID, "bob")
		require.NoError(t, err)
		require.True(t, ran)
		close(store.gate)
		o := end(begun.ID)
		require.Equal(t, operate.PhaseStopped, o.Phase)
		require.Equal(t, "bob", o.StoppedBy)
		require.Equal(t, o.Applied, f.count("mail", backend.StateCancelled))
		require.Less(t, o.Applied, int64(2500))
	})
}

func TestAnOperationThatNobodyWorksAtIsStoppedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", "a")
	first, _ := runner(t, mustClient(t, &failing{Backend: f.store, gate: make(chan struct{})}))
	begun, err := first.Start(t.Context(), operate.Request{Act: operate.ActCancel, Queues: []string{"mail"}, State: backend.StateWaiting})
	require.NoError(t, err)
	first.Close()
	second, _ := runner(t, f.client)
	ran, err := second.Stop(t.Context(), begun.ID, "bob")
	require.NoError(t, err)
	require.True(t, ran)
	o, err := second.Get(t.Context(), begun.ID)
	require.NoError(t, err)
	require.Equal(t, operate.PhaseStopped, o.Phase)
}

func mustClient(t *testing.T, store backend.Backend) *jobs.Client {
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	return client
}

func TestACrashIsNoticedWithinTwelveSecondsAndASlowRunnerKeepsItsOperation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "memory:")
		f.enqueue("mail", ids("a", 3000)...)
		f.die("mail", boom)
		request := operate.Request{Act: operate.ActRetry, Queues: []string{"mail"}, State: backend.StateDead}

		// Each page takes seconds.
		slowly, end := runner(t, mustClient(t, &sluggish{f.store}))
		other, _ := runner(t, f.client)
		o, err := slowly.Start(t.Context(), request)
		require.NoError(t, err)
		o = end(o.ID)
		require.Equal(t, operate.PhaseDone, o.Phase)
		require.Zero(t, o.Moved)
		slowly.Close()

		f.die("mail", boom)
		began := time.Now()
		first := operate.NewOperations(mustClient(t, newMortal(f.store, 2, 10)), slog.New(slog.DiscardHandler), nil)
		o, err = first.Start(t.Context(), request)
		require.NoError(t, err)
		first.Close()
		for o.Phase == operate.PhaseRunning {
			time.Sleep(100 * time.Millisecond) // of the bubble
			o, err = other.Get(t.Context(), o.ID)
			require.NoError(t, err)
		}
		require.Equal(t, operate.PhaseDone, o.Phase, o.Error)
		require.EqualValues(t, 3000, o.Applied)
		require.LessOrEqual(t, time.Since(began), 12*time.Second+200*time.Millisecond)
	})
}

// sluggish is a store that takes five seconds to retry.
type sluggish struct{ backend.Backend }

func (s *sluggish) Retry(ctx context.Context, queue string, ids []string) ([]backend.ActResult, error) {
	time.Sleep(5 * time.Second)
	return s.Backend.Retry(ctx, queue, ids)
}

func TestTheStoreKeepsABoundedNumberOfOperations(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", "a")
	s, end := runner(t, f.client)
	request := operate.Request{Act: operate.ActRetry, Queues: []string{"mail"}, State: backend.StateDead, DryRun: true}
	var first string
	for range operate.OperationsKept + 3 {
		o, err := s.Start(t.Context(), request)
		require.NoError(t, err)
		if first == "" {
			first = o.ID
		}
		end(o.ID)
	}
	all, err := s.List(t.Context())
	require.NoError(t, err)
	require.Len(t, all, operate.OperationsKept)
	_, err = f.store.Memo(t.Context(), "caddis:operations", first)
	require.ErrorIs(t, err, backend.ErrNotFound, "it is forgotten")
}

func TestIdsOfAnyLengthHaveRoomInThePosition(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", ids(strings.Repeat("<", 150), 900)...)
	s, end := runner(t, f.client)
	o, err := s.Start(t.Context(), operate.Request{Act: operate.ActCancel, Queues: []string{"mail"}, State: backend.StateWaiting})
	require.NoError(t, err)
	o = end(o.ID)
	require.Equal(t, operate.PhaseDone, o.Phase, o.Error)
	require.EqualValues(t, 900, o.Applied)
}
