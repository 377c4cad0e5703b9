package operate_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// cutOff is a store that is out of reach from the first deletion on, until it is well again.
type cutOff struct {
	backend.Backend
	panics  bool
	off     atomic.Bool
	refused atomic.Int32
}

func (c *cutOff) check() error {
	switch {
	case !c.off.Load():
		return nil
	case c.panics:
		c.refused.Add(1)
		panic("a fault of the store")
	}
	c.refused.Add(1)
	return backend.ErrUnavailable
}

func (c *cutOff) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	if err := c.check(); err != nil {
		return backend.Memo{}, err
	}
	return c.Backend.Memo(ctx, name, key)
}

func (c *cutOff) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	if err := c.check(); err != nil {
		return backend.Memo{}, err
	}
	return c.Backend.WriteMemo(ctx, write)
}

func (c *cutOff) Delete(ctx context.Context, queue string, ids []string) ([]backend.ActResult, error) {
	if c.refused.Load() == 0 {
		c.off.Store(true)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c.Backend.Delete(ctx, queue, ids)
}

// explosive is a handler of logs with a fault.
type explosive struct{ slog.Handler }

func (explosive) Enabled(context.Context, slog.Level) bool { return true }

func (explosive) Handle(context.Context, slog.Record) error { panic("a fault of the log") }

func TestAFaultOfTheStoreTheLogOrWhoIsToldEndsNoProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "memory:")
		f.enqueue("mail", "a", "b")
		store := &cutOff{Backend: f.store, panics: true}
		s := operate.NewOperations(mustClient(t, store), slog.New(explosive{}), func() { panic("a fault of who is told") })
		defer s.Close()
		o, err := s.Start(t.Context(), operate.Request{Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateWaiting})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.Greater(t, store.refused.Load(), int32(20), "it goes on to look")
		store.off.Store(false)
		time.Sleep(time.Minute)
		o, err = s.Get(t.Context(), o.ID)
		require.NoError(t, err)
		require.Equal(t, operate.PhaseDone, o.Phase, "it goes on when the store is well again")
		require.EqualValues(t, 2, o.Applied)
	})
}

func TestAnOperationWhoseEndCouldNotBeWrittenIsShownAsOthersFinishedIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", "a", "b")
	store := &cutOff{Backend: f.store}
	first, _ := hasty(t, store)
	_, end := hasty(t, f.store)
	o, err := first.Start(t.Context(), operate.Request{Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateWaiting})
	require.NoError(t, err)
	require.Equal(t, operate.PhaseDone, end(o.ID).Phase)
	store.off.Store(false)
	o, err = first.Get(t.Context(), o.ID)
	require.NoError(t, err)
	require.Equal(t, operate.PhaseDone, o.Phase, o.Error)
	require.EqualValues(t, 2, o.Applied)
}

// forgetful is a store that loses the reply of each write of a memo, and carries it out once
// more as another one.
type forgetful struct {
	backend.Backend
	mu   sync.Mutex
	lost map[string]bool
}

func (f *forgetful) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	written, err := f.Backend.WriteMemo(ctx, write)
	f.mu.Lock()
	defer f.mu.Unlock()
	if id := write.Key + string(write.Value); err == nil && write.If != "" && !f.lost[id] {
		f.lost[id] = true
		write.Call = jobs.NewID()
		return f.Backend.WriteMemo(ctx, write)
	}
	return written, err
}

func TestAnOperationIsNotLeftToOthersAsAReplyWasLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "memory:")
		f.enqueue("mail", "a")
		var log bytes.Buffer
		s := operate.NewOperations(mustClient(t, &forgetful{Backend: f.store, lost: map[string]bool{}}), slog.New(slog.NewTextHandler(&log, nil)), nil)
		defer s.Close()
		_, err := s.Start(t.Context(), operate.Request{Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateWaiting})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		all, err := s.List(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1, "it is listed once")
		require.Equal(t, operate.PhaseDone, all[0].Phase)
		require.Zero(t, all[0].Moved)
		s.Close()
		require.Contains(t, log.String(), "an operation on jobs has ended")
		require.NotContains(t, log.String(), "left to others")
	})
}

// hungUp is a store that loses the reply of the write of the index, as its caller has gone.
type hungUp struct {
	backend.Backend
	leave context.CancelFunc
	left  atomic.Bool
	// gone says that nothing is deleted any more.
	gone bool
}

func (h *hungUp) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	if ctx.Err() != nil || h.gone && write.Act == backend.MemoDelete {
		return backend.Memo{}, backend.ErrUnavailable
	}
	written, err := h.Backend.WriteMemo(ctx, write)
	if write.Key == "index" && !h.left.Swap(true) {
		h.leave()
		return backend.Memo{}, backend.ErrUnavailable
	}
	return written, err
}

func TestAnOperationThatWasRefusedDoesNotRunLater(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"withdrawn": false, "or it is said that it may run": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, "memory:")
				f.enqueue("mail", "a", "b")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s, _ := runner(t, mustClient(t, &hungUp{Backend: f.store, leave: cancel, gone: gone}))
				_, err := s.Start(ctx, operate.Request{Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateWaiting})
				require.ErrorIs(t, err, backend.ErrUnavailable)
				time.Sleep(time.Minute)
				if gone {
					require.ErrorContains(t, err, "may run in some seconds all the same")
					require.Zero(t, f.count("mail", backend.StateWaiting))
					return
				}
				require.EqualValues(t, 2, f.count("mail", backend.StateWaiting))
				all, err := s.List(t.Context())
				require.NoError(t, err)
				require.Empty(t, all)
			})
		})
	}
}

func TestAnOperationThatCannotBeReadKeepsNoOtherFromGoingOn(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", "a")
	request := operate.Request{Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateWaiting}
	first, _ := runner(t, mustClient(t, &failing{Backend: f.store, gate: make(chan struct{})}))
	lost, err := first.Start(t.Context(), request)
	require.NoError(t, err)
	broken, err := first.Start(t.Context(), request)
	require.NoError(t, err)
	first.Close()
	require.NoError(t, f.client.PlainMemo("caddis:operations").Set(t.Context(), broken.ID, "of another version"))
	_, end := hasty(t, f.store)
	require.Equal(t, operate.PhaseDone, end(lost.ID).Phase)
}
