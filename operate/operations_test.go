package operate_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// failing is a store whose pages of jobs fail, panic or wait, if the test says so.
type failing struct {
	backend.Backend
	err   error
	panic bool
	gate  chan struct{}
}

func (f *failing) Jobs(ctx context.Context, q backend.JobsQuery) (backend.JobsPage, error) {
	if f.panic {
		panic("a fault of the store")
	}
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return backend.JobsPage{}, ctx.Err()
		}
	}
	if f.err != nil {
		return backend.JobsPage{}, f.err
	}
	return f.Backend.Jobs(ctx, q)
}

// runner makes one whose changes the test can wait for.
func runner(t *testing.T, client *jobs.Client) (*operate.Operations, func(id string) operate.Operation) {
	changes := make(chan struct{}, 1000)
	s := operate.NewOperations(client, slog.New(slog.DiscardHandler), func() { changes <- struct{}{} })
	t.Cleanup(s.Close)
	return s, func(id string) operate.Operation {
		t.Helper()
		for {
			o, err := s.Get(t.Context(), id)
			require.NoError(t, err)
			if o.Phase != operate.PhaseRunning {
				return o
			}
			<-changes
		}
	}
}

func boom(string) backend.Failure { return backend.Failure{At: time.Now(), Error: "boom"} }

func TestAnActOnAllThatMatchIsCountedFirstAndThenDone(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("mail", ids("a", 300)...)
		f.die("mail", func(id string) backend.Failure {
			text := "boom"
			if strings.HasSuffix(id, "0") {
				text = "no such user"
			}
			return backend.Failure{At: time.Now(), Error: text}
		})
		f.enqueue("other", "b")
		f.die("other", boom)
		s, end := runner(t, f.client)
		request := operate.Request{
			Act: operate.ActRetry, Queues: []string{"mail"}, State: backend.StateDead,
			Filter: operate.Filter{Text: "no such"}, DryRun: true, By: "ann",
		}
		o, err := s.Start(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, 300, o.Of)
		o = end(o.ID)
		require.Equal(t, operate.PhaseDone, o.Phase)
		require.EqualValues(t, 30, o.Applied)
		require.EqualValues(t, 300, o.Looked)
		require.EqualValues(t, 300, f.count("mail", backend.StateDead), "it was a dry run")

		all := request
		all.Filter = operate.Filter{}
		o, err = s.Start(t.Context(), all)
		require.NoError(t, err)
		require.EqualValues(t, 300, end(o.ID).Applied, "without a filter the store has counted them")

		request.DryRun = false
		o, err = s.Start(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, 30, end(o.ID).Applied)
		require.EqualValues(t, 270, f.count("mail", backend.StateDead))
		require.EqualValues(t, 30, f.count("mail", backend.StateWaiting))
		require.EqualValues(t, 1, f.count("other", backend.StateDead), "it is in another queue")

		request.Queues, request.Filter, request.Act = []string{"mail", "other"}, operate.Filter{}, operate.ActDelete
		o, err = s.Start(t.Context(), request)
		require.NoError(t, err)
		require.EqualValues(t, 271, end(o.ID).Applied)
		require.Zero(t, f.count("mail", backend.StateDead))
		listed, err := s.List(t.Context())
		require.NoError(t, err)
		require.Len(t, listed, 4)
		require.Equal(t, o.ID, listed[0].ID, "the newest is first")
	})
}

func TestAnOperationCanBeStopped(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", "a")
	store := &failing{Backend: f.store, gate: make(chan struct{})}
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	s, end := runner(t, client)
	request := operate.Request{Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateWaiting}
	var started []string
	for range operate.MaxOperations {
		o, err := s.Start(t.Context(), request)
		require.NoError(t, err)
		started = append(started, o.ID)
	}
	_, err = s.Start(t.Context(), request)
	require.ErrorIs(t, err, operate.ErrBusy)
	ran, err := s.Stop(t.Context(), started[0], "ann")
	require.NoError(t, err)
	require.True(t, ran)
	o := end(started[0])
	require.Equal(t, operate.PhaseStopped, o.Phase)
	require.Equal(t, "ann", o.StoppedBy)
	ran, err = s.Stop(t.Context(), started[0], "ann")
	require.NoError(t, err)
	require.False(t, ran, "it has ended")
	_, err = s.Stop(t.Context(), "another", "ann")
	require.ErrorIs(t, err, backend.ErrNotFound)
	s.Close()
	o, err = s.Get(t.Context(), started[1])
	require.NoError(t, err)
	require.Equal(t, operate.PhaseRunning, o.Phase, "others go on with it")
	require.Empty(t, o.Runner)
	_, err = s.Start(t.Context(), request)
	require.ErrorIs(t, err, backend.ErrClosed)
	require.EqualValues(t, 1, f.count("mail", backend.StateWaiting))
}

func TestAnOperationTellsWhyItFailed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", "a")
	request := operate.Request{Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateWaiting}
	for says, store := range map[string]*failing{
		"the job store is unavailable": {Backend: f.store, err: backend.ErrUnavailable},
		"panic: a fault of the store":  {Backend: f.store, panic: true},
	} {
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		s, end := runner(t, client)
		o, err := s.Start(t.Context(), request)
		require.NoError(t, err)
		o = end(o.ID)
		require.Equal(t, operate.PhaseFailed, o.Phase)
		require.Contains(t, o.Error, says)
	}
}

func TestAnOperationRestsBetweenItsPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "memory:")
		f.enqueue("mail", ids("a", 2500)...)
		store := &slow{Backend: f.store}
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		s, end := runner(t, client)
		o, err := s.Start(t.Context(), operate.Request{Act: operate.ActCancel, Queues: []string{"mail"}, State: backend.StateWaiting})
		require.NoError(t, err)
		o = end(o.ID)
		require.EqualValues(t, 2500, o.Applied)
		require.Equal(t, 3*13*100*time.Millisecond, o.Took(time.Now()), "three pages of 100 ms, each with twelve times that of rest")
	})
}

// slow is a store that takes its time to cancel.
type slow struct{ backend.Backend }

func (s *slow) Cancel(ctx context.Context, queue string, ids []string) ([]backend.ActResult, error) {
	time.Sleep(100 * time.Millisecond)
	return s.Backend.Cancel(ctx, queue, ids)
}

func TestWhatCannotBeDoneIsRefusedBeforeItBegins(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	s, _ := runner(t, f.client)
	for says, r := range map[string]operate.Request{
		"there is no act":           {Act: "burn", Queues: []string{"mail"}, State: backend.StateDead},
		"no queue is named":         {Act: operate.ActRetry, State: backend.StateDead},
		"retry is not for waiting":  {Act: operate.ActRetry, Queues: []string{"mail"}, State: backend.StateWaiting},
		"delete is not for running": {Act: operate.ActDelete, Queues: []string{"mail"}, State: backend.StateRunning},
		"queue name":                {Act: operate.ActRetry, Queues: []string{"../mail"}, State: backend.StateDead},
		"no job has an empty tag":   {Act: operate.ActRetry, Queues: []string{"mail"}, State: backend.StateDead, Filter: operate.Filter{Tags: []string{""}}},
	} {
		_, err := s.Start(t.Context(), r)
		require.ErrorIs(t, err, backend.ErrRejected, says)
		require.ErrorContains(t, err, says)
	}
	_, err := s.Start(t.Context(), operate.Request{Act: operate.ActRetry, Queues: []string{"nowhere"}, State: backend.StateDead})
	require.ErrorIs(t, err, backend.ErrNotFound)
}
