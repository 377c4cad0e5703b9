// Package sqlite is a job store in one file: durable, and shared by all processes of
// a machine. It needs no server and no C compiler.
//
//	store, err := backend.Open("sqlite:jobs.db")
//
// An application that has an SQLite database already keeps its jobs in it, in tables
// whose names begin with caddis_, and may enqueue in its own transactions:
//
//	store, err := sqlite.New(db, sqlite.Config{})
//
// Each process has one writer. It gathers the calls that come while a transaction is
// on its way to the disk into the next one, so the more is going on, the less each
// call costs. Every verb is decided within one transaction and is on disk when it
// has answered. Readers go beside the writer.
//
// Who waits for work is woken by the enqueue in the same process, and else by the
// change of the file. The leases of a process that has ended badly are recognised by
// its lock, which the system has released.
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/internal/logs"
)

// Config says how a store keeps its jobs. The zero Config is fit for use.
type Config struct {
	// Retention says how long finished jobs are kept, per queue. Each field that is
	// zero takes the one of backend.DefaultRetention. All processes of a file should
	// say the same.
	Retention backend.RetentionPolicy
	// Relaxed lets the disk take its time: what was accepted shortly before the
	// machine crashes may be lost, as with Redis and appendfsync everysec. A crash of
	// the process loses nothing. By default each call is on disk when it is answered.
	Relaxed bool
	// BusyTimeout is how long a call waits for the lock of the file while another
	// program holds it, before it fails with backend.ErrUnavailable. The default is
	// 5 s.
	BusyTimeout time.Duration
	// Log gets what the store has to say while it works. The default is
	// slog.Default().
	Log *slog.Logger
}

// Backend is a job store in an SQLite file. Its methods may be called concurrently.
type Backend struct {
	config Config
	source source
	log    *slog.Logger
	hub    *hub
	writer *writer
	crew   *crew
	// clocks reads those of the machine.
	clocks func() reading

	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc
	closed atomic.Bool
	tasks  sync.WaitGroup

	starting sync.Mutex
	started  atomic.Bool
	file     *file
	readers  *sql.DB // nil in memory
}

var _ backend.Backend = (*Backend)(nil)

// New makes a store in a database that the application has opened: a file of any
// driver for SQLite, or one in memory. The store opens connections of its own to
// the file, by the same driver, and never closes db. It makes its tables, or brings
// those of an older version up to date.
//
// The database should be in WAL mode; Check warns if it is not.
func New(db *sql.DB, config Config) (*Backend, error) {
	if db == nil {
		return nil, fmt.Errorf("sqlite: New: the database is nil; open one by sql.Open: %w", backend.ErrRejected)
	}
	b, err := newBackend(source{db: db}, config)
	if err != nil {
		return nil, err
	}
	if err := b.start(context.Background()); err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("sqlite: New: %w", err)
	}
	return b, nil
}

func newBackend(source source, config Config) (*Backend, error) {
	var err error
	if config.Retention, err = config.Retention.Fill(); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	switch {
	case config.BusyTimeout < 0:
		return nil, fmt.Errorf("sqlite: BusyTimeout is %v; give a positive time, or 0 for the default: %w", config.BusyTimeout, backend.ErrRejected)
	case config.BusyTimeout == 0:
		config.BusyTimeout = 5 * time.Second
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	b := &Backend{config: config, source: source, log: logs.Guard(config.Log), clocks: readClocks}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.hub = newHub(b)
	b.writer = newWriter(b)
	b.crew = newCrew(b)
	return b, nil
}

// start opens the file at the first call. A start that fails is tried again by the
// next call.
func (b *Backend) start(ctx context.Context) error {
	if b.started.Load() {
		return nil
	}
	b.starting.Lock()
	defer b.starting.Unlock()
	if b.closed.Load() {
		return backend.ErrClosed
	}
	if b.started.Load() {
		return nil
	}
	f, err := b.source.open(ctx, &b.config)
	if err != nil {
		return err
	}
	if err := migrate(ctx, f); err != nil {
		f.close()
		return err
	}
	if f.path != "" {
		b.readers = f.readers()
	}
	b.file = f
	b.tasks.Go(b.writer.run)
	if f.path != "" {
		b.tasks.Go(b.watch)
		b.tasks.Go(b.maintain)
	}
	b.started.Store(true)
	return nil
}

// Close ends all calls in flight with backend.ErrClosed and closes what the store
// has opened. What was accepted is on disk before.
func (b *Backend) Close() error {
	b.starting.Lock()
	defer b.starting.Unlock()
	if b.closed.Swap(true) {
		return nil
	}
	b.cancel()
	b.hub.close()
	b.writer.close()
	b.tasks.Wait()
	b.crew.leave()
	if b.readers != nil {
		_ = b.readers.Close()
	}
	if b.file != nil {
		b.file.close()
	}
	return nil
}

// begin is what each verb does first.
func (b *Backend) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.closed.Load() {
		return backend.ErrClosed
	}
	return b.start(ctx)
}

// write runs a verb within a transaction. Run may be called again if the transaction
// fails, and then has to begin anew. Weight is how many jobs it is about.
func (b *Backend) write(ctx context.Context, op, queue string, weight int, run func(t *txn) error) error {
	err := b.begin(ctx)
	if err == nil {
		err = b.writer.do(ctx, weight, run)
	}
	return b.fail(op, queue, "", err)
}

// read runs a verb that only reads, beside the writer.
func (b *Backend) read(ctx context.Context, op, queue string, run func(x executor) error) error {
	err := b.begin(ctx)
	switch {
	case err != nil:
	case b.readers == nil:
		err = b.writer.do(ctx, 1, func(t *txn) error { return run(t.executor) })
	default:
		err = b.snapshot(ctx, run)
	}
	return b.fail(op, queue, "", err)
}

// snapshot lets all that is read by one verb be of one moment.
func (b *Backend) snapshot(ctx context.Context, run func(x executor) error) error {
	tx, err := b.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return run(transaction{ctx, tx})
}
