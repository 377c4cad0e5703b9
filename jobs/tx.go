package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/caddis-go/caddis/backend"
)

// EnqueueTx does what [Client.Enqueue] does, as a part of a transaction of the
// application: the job is there if and only if tx commits, and a worker is woken when
// it does. After an error none of it is part of tx.
//
// It needs a store that is in the database of tx, such as one of backend/sqlite;
// with any other the error wraps [backend.ErrRejected]. Whatever the middleware
// around enqueues does elsewhere is not undone if tx is rolled back.
func (c *Client) EnqueueTx(ctx context.Context, tx *sql.Tx, args Args, options ...EnqueueOption) (Receipt, error) {
	within, err := c.within(tx)
	if err != nil {
		return Receipt{Err: err}, err
	}
	return within.Enqueue(ctx, args, options...)
}

// EnqueueManyTx is [Client.EnqueueMany] as a part of a transaction, like
// [Client.EnqueueTx]. Where the error is an [ErrFinished], what the receipts say is stored
// is part of tx.
func (c *Client) EnqueueManyTx(ctx context.Context, tx *sql.Tx, items ...Item) ([]Receipt, error) {
	within, err := c.within(tx)
	if err != nil {
		return nil, err
	}
	return within.EnqueueMany(ctx, items...)
}

// within returns a client whose enqueues are part of tx.
func (c *Client) within(tx *sql.Tx) (*Client, error) {
	store, err := transactional(c.backend, tx)
	if err != nil {
		return nil, &Error{Op: "enqueue", Err: err}
	}
	within := *c
	within.events = nil
	within.enqueue = chainEnqueue(c.registry.enqueue, func(ctx context.Context, batch []backend.NewJob) ([]Receipt, error) {
		return store.EnqueueTx(ctx, tx, batch)
	})
	return &within, nil
}

func transactional(b backend.Backend, tx *sql.Tx) (backend.Transactional, error) {
	store, ok := b.(backend.Transactional)
	switch {
	case !ok:
		return nil, reject("the store %T has no transactions; take one that is in the database of the application, such as backend/sqlite", b)
	case tx == nil:
		return nil, reject("the transaction is nil")
	}
	return store, nil
}

// Store tells the run which store its job is from.
func (r *Run) Store(b backend.Backend) { r.store = b }

// CompleteTx completes the job as a part of a transaction of the application: what
// the handler has done in tx and the end of the job are one. If tx commits, the job
// ends completed, even if the worker vanishes before the handler returns, or if the
// handler returns an error. If tx is rolled back nothing has happened, and what the
// handler returns decides. A handler that returns nil after the commit also keeps its
// result.
//
// The error wraps [ErrLeaseLost] if the job is no longer this worker's: tx is then to be
// rolled back. It needs a store like [Client.EnqueueTx] does. Without a worker, as in
// a handler's test, it does nothing.
func (i *Info) CompleteTx(ctx context.Context, tx *sql.Tx) error {
	if i.run == nil || i.run.store == nil {
		return nil
	}
	err := i.run.completeTx(ctx, tx)
	if err == nil {
		return nil
	}
	return &Error{Op: "complete", Kind: i.Kind, Err: err}
}

func (r *Run) completeTx(ctx context.Context, tx *sql.Tx) error {
	store, err := transactional(r.store, tx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	if ended {
		return errEnded
	}
	err = store.CompleteTx(ctx, tx, backend.Held{Queue: r.lease.Job.Queue, ID: r.lease.Job.ID, Token: r.lease.Token})
	if errors.Is(err, backend.ErrState) {
		return fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	return err
}
