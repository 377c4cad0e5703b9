package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func newJob(id string) backend.NewJob {
	return backend.NewJob{Job: backend.Job{ID: id, Queue: "q", Kind: "kind", Payload: make([]byte, 1000)}}
}

func TestTheWriterWaitsForTheDiskUnlessItIsTold(t *testing.T) {
	t.Parallel()
	for parameters, want := range map[string]int{"": 2, "?relaxed=true": 1} {
		store, err := Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db") + parameters)
		require.NoError(t, err)
		_, err = store.Check(t.Context())
		require.NoError(t, err)
		var synchronous int
		require.NoError(t, store.writer.beside(func(c *connection) error {
			_, err := one(c, `PRAGMA synchronous`, nil, &synchronous)
			return err
		}))
		require.Equal(t, want, synchronous)
		require.NoError(t, store.Close())
	}
}

func TestAFullDiskRefusesJobsAndKeepsWhatWasAccepted(t *testing.T) {
	t.Parallel()
	store, err := Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	limit := func(pages int) {
		_, err := store.Check(t.Context())
		require.NoError(t, err)
		require.NoError(t, store.writer.beside(func(c *connection) error { return c.pragma(fmt.Sprintf("max_page_count = %d", pages)) }))
	}
	limit(60)
	accepted := 0
	for ; err == nil; accepted++ {
		_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob(fmt.Sprint("job-", accepted))})
	}
	accepted--
	require.ErrorIs(t, err, backend.ErrFull)
	require.ErrorContains(t, err, "make room")
	limit(1000)
	_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob("there is room again")})
	require.NoError(t, err)
	q, err := store.Queue(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, accepted+1, q.Counts[backend.StateWaiting])
}

// lesson: after a deploy nothing drained a store that was full.
func TestAWorkerThatStartsWhileTheDiskIsFullDrainsIt(t *testing.T) {
	t.Parallel()
	store, err := Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, err = store.Check(t.Context())
	require.NoError(t, err)
	require.NoError(t, store.writer.beside(func(c *connection) error { return c.pragma("max_page_count = 60") }))
	for n := 0; err == nil; n++ {
		_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob(fmt.Sprint("job-", n))})
	}
	require.ErrorIs(t, err, backend.ErrFull)

	queues := []string{"new", "q"}
	_, err = store.Announce(t.Context(), backend.WorkerInfo{ID: "w", Queues: queues}, time.Minute)
	require.NoError(t, err)
	_, err = store.Sweep(t.Context(), backend.SweepRequest{Queues: queues, Duration: time.Minute})
	require.NoError(t, err)
	reply, err := store.Lease(t.Context(), backend.LeaseRequest{
		Worker: "w", Token: "w.1", Queues: queues, Max: backend.MaxBatch, Duration: time.Minute,
	})
	require.NoError(t, err)
	require.NotEmpty(t, reply.Leases)
	settle := backend.SettleRequest{Worker: "w", Call: 1}
	for _, l := range reply.Leases {
		settle.Settlements = append(settle.Settlements, backend.Settlement{
			Queue: "q", ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeCompleted,
		})
	}
	_, err = store.Settle(t.Context(), settle)
	require.NoError(t, err)
	q, err := store.Queue(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, len(reply.Leases), q.Completed)
	require.Zero(t, q.Counts[backend.StateWaiting])
}

// lesson: a call that fails must not fail those that share its transaction.
func TestACallThatFailsOrPanicsFailsNoneOfThoseInItsTransaction(t *testing.T) {
	t.Parallel()
	store, err := newBackend(source{path: filepath.Join(t.TempDir(), "jobs.db")}, Config{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, err = store.Check(t.Context())
	require.NoError(t, err)
	w := store.writer
	const calls = 12
	errs := make([]error, calls)
	var all sync.WaitGroup
	w.working.Lock() // so that the calls gather
	letThemRun := sync.OnceFunc(w.working.Unlock)
	defer letThemRun()
	for i := range calls {
		all.Go(func() {
			switch i {
			case 3:
				errs[i] = w.await(t.Context(), &call{run: func(*txn) error { return backend.ErrRejected }})
			case 7:
				errs[i] = w.await(t.Context(), &call{run: func(*txn) error { panic("a fault") }})
			default:
				_, errs[i] = store.Enqueue(t.Context(), []backend.NewJob{newJob(fmt.Sprint("job-", i))})
			}
		})
	}
	gathered := func() (n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range w.queued {
			if c.run != nil { // the store asks for something, too
				n++
			}
		}
		return n
	}
	require.Eventually(t, func() bool { return gathered() == calls }, 10*time.Second, time.Millisecond)
	letThemRun()
	all.Wait()

	for i, err := range errs {
		switch i {
		case 3:
			require.ErrorIs(t, err, backend.ErrRejected)
		case 7:
			require.ErrorIs(t, err, backend.ErrUnavailable)
			require.ErrorContains(t, err, "a fault")
		default:
			require.NoError(t, err, "call %d", i)
		}
	}
	q, err := store.Queue(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, calls-2, q.Counts[backend.StateWaiting])
}

func TestAFileThatCannotBeWrittenIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	store, err := Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob("a")})
	require.NoError(t, err)
	// SQLite says the same of a file that is read-only, which it is not to root.
	require.NoError(t, store.writer.beside(func(c *connection) error { return c.pragma("query_only = 1") }))
	_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob("b")})
	require.ErrorIs(t, err, backend.ErrDenied)
	require.ErrorContains(t, err, "make the file and its folder writable")
	_, err = store.Job(t.Context(), "q", "a")
	require.NoError(t, err)
}

func TestAnEnqueueWhoseCtxEndsInTheMidstLeavesNothingInTheTransaction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_txlock=immediate")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	store, err := New(db, Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	ctx, end := context.WithCancel(t.Context())
	err = store.within(ctx, "enqueue", tx, func(t *txn) error {
		_, err := t.enqueue([]backend.NewJob{newJob("a")}, false)
		end()
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	_, err = store.EnqueueTx(t.Context(), tx, []backend.NewJob{newJob("b")})
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	_, err = store.Job(t.Context(), "q", "a")
	require.ErrorIs(t, err, backend.ErrNotFound)
	q, err := store.Queue(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, 1, q.Counts[backend.StateWaiting])
	reply, err := store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"q"}, Max: 9, Duration: time.Minute})
	require.NoError(t, err)
	require.Len(t, reply.Leases, 1)
}

func TestWhatCouldNotBeReadOfOthersIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	store, err := Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob("a")})
	require.NoError(t, err)
	waiter, err := store.Waiter([]string{"q"})
	require.NoError(t, err)
	defer func() { require.NoError(t, waiter.Close()) }()
	open := func() *connection {
		inner, err := store.readers.Conn(t.Context())
		require.NoError(t, err)
		return newConnection(inner)
	}
	w := &watcher{store: store, conn: open(), together: true}
	w.conn.close()
	require.Eventually(t, func() bool { // the store's own watcher may be quicker
		require.NoError(t, store.writer.beside(func(*connection) error {
			store.writer.version = -1 // as if another connection had written
			return nil
		}))
		return !w.look(nil) && w.behind
	}, time.Minute, time.Millisecond)
	w.conn = open()
	defer w.conn.close()
	require.True(t, w.look(nil))
	store.hub.mu.Lock()
	defer store.hub.mu.Unlock()
	require.True(t, store.hub.bells["q"].rung)
}

func TestAFileThatHasBecomeEmptyGivesItsRoomBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store, err := Open("sqlite:" + path + "?relaxed=true")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	var ids []string
	for i := range 12 {
		batch := make([]backend.NewJob, 1000)
		for k := range batch {
			batch[k] = newJob(fmt.Sprint("job-", i, "-", k))
			batch[k].Payload = make([]byte, 2000)
			ids = append(ids, batch[k].ID)
		}
		_, err := store.Enqueue(t.Context(), batch)
		require.NoError(t, err)
	}
	size := func() int64 {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Size()
	}
	require.Eventually(t, func() bool { return size() > 20<<20 }, time.Minute, 50*time.Millisecond, "it is brought from the log to its place")
	for len(ids) > 0 {
		_, err := store.Delete(t.Context(), "q", ids[:1000])
		require.NoError(t, err)
		ids = ids[1000:]
	}
	require.Eventually(t, func() bool { return size() < 18<<20 }, time.Minute, 50*time.Millisecond)
	log, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	require.LessOrEqual(t, log.Size(), int64(64<<20))
}
