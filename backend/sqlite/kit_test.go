package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/sqlite"
)

// patience bounds what has to happen at all: machines are noisy.
const patience = 20 * time.Second

// at opens the store in a file; it is closed with the test.
func at(t testing.TB, path string) backend.Backend {
	t.Helper()
	store, err := backend.Open("sqlite:" + path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// appDatabase opens the database of an application, with a table of its own.
func appDatabase(t testing.TB) *sql.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE orders (id TEXT PRIMARY KEY)`)
	require.NoError(t, err)
	return db
}

// in opens the store in the database of an application.
func in(t testing.TB, db *sql.DB) *sqlite.Backend {
	t.Helper()
	store, err := sqlite.New(db, sqlite.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func job(id string) backend.NewJob {
	return backend.NewJob{Job: backend.Job{ID: id, Queue: "q", Kind: "kind", Payload: []byte("payload of " + id)}}
}

func enqueue(t testing.TB, store backend.Backend, ids ...string) {
	t.Helper()
	batch := make([]backend.NewJob, len(ids))
	for i, id := range ids {
		batch[i] = job(id)
	}
	_, err := store.Enqueue(context.Background(), batch)
	require.NoError(t, err)
}

// worker leases and settles under an id of its own.
type worker struct {
	testing.TB
	store  backend.Backend
	id     string
	tokens int
	calls  uint64
}

func (w *worker) request(limit int, duration time.Duration) backend.LeaseRequest {
	w.tokens++
	return backend.LeaseRequest{
		Worker: w.id, Token: fmt.Sprintf("%s.%d", w.id, w.tokens), Queues: []string{"q"}, Max: limit, Duration: duration,
	}
}

func (w *worker) lease(limit int, duration time.Duration) []backend.Lease {
	w.Helper()
	reply, err := w.store.Lease(context.Background(), w.request(limit, duration))
	require.NoError(w, err)
	return reply.Leases
}

func (w *worker) settle(leases []backend.Lease, outcome backend.Outcome) []backend.SettleResult {
	w.Helper()
	w.calls++
	request := backend.SettleRequest{Worker: w.id, Call: w.calls}
	for _, l := range leases {
		request.Settlements = append(request.Settlements, backend.Settlement{
			Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token, Outcome: outcome,
		})
	}
	results, err := w.store.Settle(context.Background(), request)
	require.NoError(w, err)
	return results
}

func ids(leases []backend.Lease) []string {
	all := make([]string, len(leases))
	for i := range leases {
		all[i] = leases[i].Job.ID
	}
	return all
}

// drain takes jobs as they come, each at once, until there were so many or ctx ends.
// It says of each when it came.
func (w *worker) drain(ctx context.Context, n int) map[string]time.Time {
	w.Helper()
	waiter, err := w.store.Waiter([]string{"q"})
	require.NoError(w, err)
	defer func() { require.NoError(w, waiter.Close()) }()
	came := make(map[string]time.Time)
	for len(came) < n {
		reply, err := waiter.Lease(ctx, w.request(100, time.Minute), patience)
		if ctx.Err() != nil {
			return came
		}
		require.NoError(w, err)
		now := time.Now()
		for _, l := range reply.Leases {
			require.NotContains(w, came, l.Job.ID, "it came twice")
			came[l.Job.ID] = now
		}
		w.settle(reply.Leases, backend.OutcomeCompleted)
	}
	return came
}
