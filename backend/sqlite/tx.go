package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"

	"github.com/caddis-go/caddis/backend"
)

var _ backend.Transactional = (*Backend)(nil)

// EnqueueTx implements backend.Transactional. The transaction is one on the file of
// the store. It should have been begun as one that writes (BEGIN IMMEDIATE; most
// drivers have _txlock=immediate for that): one that has read first fails if anybody
// has written since.
func (b *Backend) EnqueueTx(ctx context.Context, tx *sql.Tx, jobs []backend.NewJob) ([]backend.Receipt, error) {
	return b.enqueue(jobs, true, func(run func(t *txn) error) error { return b.within(ctx, "enqueue", tx, run) })
}

// CompleteTx implements backend.Transactional.
func (b *Backend) CompleteTx(ctx context.Context, tx *sql.Tx, held backend.Held) error {
	held.Progress = nil
	var found int64
	err := b.within(ctx, "complete", tx, func(t *txn) (err error) {
		found, err = t.exec(`UPDATE caddis_job SET done = 1
			WHERE queue = (SELECT id FROM caddis_queue WHERE name = ?) AND id = ? AND state = 3 AND token = ?`, held.Queue, held.ID, held.Token)
		return err
	})
	if err == nil && found == 0 {
		err = fmt.Errorf("%w: the lease on the job was lost; roll the transaction back", backend.ErrState)
	}
	return b.fail("complete", held.Queue, held.ID, err)
}

// within runs a verb in a transaction of the application: all of it or nothing.
func (b *Backend) within(ctx context.Context, op string, tx *sql.Tx, run func(t *txn) error) error {
	if tx == nil {
		return b.fail(op, "", "", reject("the transaction is nil"))
	}
	if err := b.begin(ctx); err != nil {
		return b.fail(op, "", "", err)
	}
	x := transaction{ctx, tx}
	// What the verb has done is undone even if ctx has ended, as the application may
	// commit the rest of its transaction.
	undoing := transaction{context.WithoutCancel(ctx), tx}
	err := b.file.owns(x)
	if err == nil {
		_, err = x.exec("SAVEPOINT caddis")
	}
	if err == nil {
		var t *txn
		if t, err = newTxn(b, x); err == nil {
			err = run(t)
		}
		if err == nil {
			err = t.flush()
		}
		if err != nil {
			_, undo := undoing.exec("ROLLBACK TO caddis")
			err = errors.Join(err, undo)
		}
		_, release := undoing.exec("RELEASE caddis")
		err = errors.Join(err, release)
	}
	if busy(err) {
		err = fmt.Errorf("%w: the transaction does not get the lock of the file; begin it by BEGIN IMMEDIATE, on a connection with a busy_timeout: %w",
			backend.ErrUnavailable, err)
	}
	return b.fail(op, "", "", err)
}

// owns says what is wrong with a transaction that is none on the file: the database that
// it is on may have the tables of another store.
func (f *file) owns(tx transaction) error {
	var number int
	var name string
	var path sql.NullString
	_, err := one(tx, `PRAGMA database_list`, nil, &number, &name, &path)
	switch {
	case err != nil && tx.ctx.Err() != nil:
		return err
	case err != nil:
		return reject("the transaction does not answer as one of SQLite does: %w", err)
	case f.path != "" && path.String == f.path:
		return nil
	}
	theirs, err := os.Stat(path.String)
	if f.path == "" || err != nil || !os.SameFile(theirs, f.opened) {
		return reject("the transaction is one of another database (%q) than the store's (%q)", path.String, f.path)
	}
	return nil
}
