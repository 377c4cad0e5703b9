package jobs

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

// inSQL is a store with transactions that notes what it is told.
type inSQL struct {
	backend.Backend
	tx        *sql.Tx
	enqueued  []backend.NewJob
	completed []backend.Held
	err       error
}

func (s *inSQL) EnqueueTx(_ context.Context, tx *sql.Tx, jobs []backend.NewJob) ([]backend.Receipt, error) {
	s.tx, s.enqueued = tx, append(s.enqueued, jobs...)
	receipts := make([]backend.Receipt, len(jobs))
	for i := range jobs {
		receipts[i] = backend.Receipt{Queue: jobs[i].Queue, ID: jobs[i].ID, State: backend.StateWaiting}
	}
	return receipts, s.err
}

func (s *inSQL) CompleteTx(_ context.Context, tx *sql.Tx, held backend.Held) error {
	s.tx, s.completed = tx, append(s.completed, held)
	return s.err
}

func TestJobsThatAreEnqueuedInATransactionGoToItAsTheyWouldToTheStore(t *testing.T) {
	t.Parallel()
	store, tx := &inSQL{}, &sql.Tx{}
	seen := 0
	registry := NewRegistry(WithEnqueueMiddleware(func(next EnqueueFunc) EnqueueFunc {
		return func(ctx context.Context, jobs []backend.NewJob) ([]Receipt, error) {
			seen += len(jobs)
			return next(ctx, jobs)
		}
	}))
	client, err := NewClient(store, ClientConfig{Registry: registry})
	require.NoError(t, err)

	receipt, err := client.EnqueueTx(t.Context(), tx, welcome{}, ID("a"), Queue("mail"))
	require.NoError(t, err)
	require.Equal(t, Receipt{Queue: "mail", ID: "a", State: backend.StateWaiting}, receipt)
	receipts, err := client.EnqueueManyTx(t.Context(), tx, New(welcome{}), New(welcome{}))
	require.NoError(t, err)
	require.Len(t, receipts, 2)

	require.Len(t, store.enqueued, 3)
	require.Same(t, tx, store.tx)
	require.Equal(t, 3, seen, "through the middleware")
	_, err = client.EnqueueTx(t.Context(), tx, welcome{}, Priority(99))
	require.ErrorIs(t, err, backend.ErrRejected)
	store.err = backend.ErrUnavailable
	_, err = client.EnqueueTx(t.Context(), tx, welcome{})
	require.ErrorIs(t, err, backend.ErrUnavailable)
}

func TestAStoreWithoutTransactionsSaysWhichToTake(t *testing.T) {
	t.Parallel()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	client, err := NewClient(store, ClientConfig{})
	require.NoError(t, err)
	_, err = client.EnqueueTx(t.Context(), &sql.Tx{}, welcome{})
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, "backend/sqlite")
	client, err = NewClient(&inSQL{}, ClientConfig{})
	require.NoError(t, err)
	_, err = client.EnqueueManyTx(t.Context(), nil, New(welcome{}))
	require.ErrorIs(t, err, backend.ErrRejected)
}

func TestAHandlerCompletesItsJobInATransactionUnderItsLease(t *testing.T) {
	t.Parallel()
	store, tx := &inSQL{}, &sql.Tx{}
	registry := NewRegistry()
	var failed error
	var late *Job[welcome]
	Handle(registry, func(ctx context.Context, job *Job[welcome]) error {
		failed, late = job.CompleteTx(ctx, tx), job
		return nil
	})
	lease := &backend.Lease{
		Job: backend.Job{ID: "a", Queue: "q", Kind: welcome{}.Kind(), Payload: []byte("{}")}, Token: "w.1",
	}
	run := func() {
		r, refusal := registry.Begin(lease, time.Now(), "w")
		require.Nil(t, refusal)
		r.Store(store)
		r.Do(t.Context(), time.Now, func(Result) {})
	}

	run()
	require.NoError(t, failed)
	require.Equal(t, []backend.Held{{Queue: "q", ID: "a", Token: "w.1"}}, store.completed)
	require.Same(t, tx, store.tx)
	require.ErrorIs(t, late.CompleteTx(t.Context(), tx), errEnded)

	store.err = backend.ErrState
	run()
	require.ErrorIs(t, failed, ErrLeaseLost)

	require.NoError(t, new(Job[welcome]).CompleteTx(t.Context(), tx), "without a worker it does nothing")
}
