package sqlite_test

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
	"github.com/caddis-go/caddis/backend/sqlite"
)

// tryEnqueue answers the error of an enqueue.
func tryEnqueue(store backend.Backend, id string) error {
	_, err := store.Enqueue(context.Background(), []backend.NewJob{job(id)})
	return err
}

func TestAFileThatIsMovedOrReplacedBeneathTheStoreTakesNothingMore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "jobs.db")
	store := at(t, path)
	require.NoError(t, tryEnqueue(store, "a"))

	require.NoError(t, os.Rename(path, path+".moved"))
	err := tryEnqueue(store, "b")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorContains(t, err, "was moved or deleted while it was open")

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	err = tryEnqueue(store, "b")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorContains(t, err, "was replaced by another one")

	require.NoError(t, os.Rename(path+".moved", path))
	require.NoError(t, tryEnqueue(store, "b"), "it is back")
	require.Len(t, (&worker{TB: t, store: store, id: "w"}).lease(10, time.Minute), 2)
}

func TestAFolderThatIsNotThereIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	store := at(t, filepath.Join(t.TempDir(), "nowhere", "jobs.db"))
	_, err := store.Check(t.Context())
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorContains(t, err, "the folder of the file must exist")
}

func TestAFileOfSomethingElseIsRejected(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	require.NoError(t, os.WriteFile(path, []byte("this is a letter to my aunt and no database at all, as anybody can see who reads it to its end, which is here, or nearly so"), 0o600))
	_, err := at(t, path).Check(t.Context())
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, "none of SQLite")
}

func TestALockThatAnotherProgramHoldsIsWaitedForAndThenNamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store := at(t, path+"?busy_timeout=300ms")
	require.NoError(t, tryEnqueue(store, "a"))
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	err = tryEnqueue(store, "b")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorContains(t, err, "another program has held the lock")
	_, err = store.Job(t.Context(), "q", "a")
	require.NoError(t, err, "readers go on")

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = store.Enqueue(ctx, []backend.NewJob{job("c")})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	waits := make(chan error, 1)
	go func() { waits <- tryEnqueue(store, "d") }()
	require.NoError(t, tx.Rollback())
	require.NoError(t, <-waits)
}

func TestAJobThatIsDueIsReadWhileAnotherProgramHoldsTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store := at(t, path)
	due := job("due")
	due.Delay = time.Millisecond
	_, err := store.Enqueue(t.Context(), []backend.NewJob{due})
	require.NoError(t, err)
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	time.Sleep(20 * time.Millisecond)
	info, err := store.Job(t.Context(), "q", "due")
	require.NoError(t, err)
	require.Equal(t, backend.StateScheduled, info.State, "nobody could move it")
	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool {
		info, err := store.Job(t.Context(), "q", "due")
		return err == nil && info.State == backend.StateWaiting
	}, patience, 10*time.Millisecond)
}

func TestLeasesOutliveALockThatAnotherProgramHeldForLonger(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store := at(t, path)
	enqueue(t, store, "a", "b")
	const lease = 600 * time.Millisecond
	w := &worker{TB: t, store: store, id: "w"}
	held := w.lease(10, lease)
	require.Len(t, held, 2)

	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	leased := make(chan []backend.Lease, 1)
	go func() { leased <- w.lease(10, time.Minute) }()
	time.Sleep(2 * lease)
	require.NoError(t, tx.Rollback())
	require.Empty(t, <-leased, "nobody could settle or renew them")
	for _, result := range w.settle(held, backend.OutcomeCompleted) {
		require.False(t, result.Stale)
	}
}

func TestTwoPartsOfAFileThatWasDamagedFailAloneAndTheOthersWork(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	first := at(t, path)
	var all []string
	for i := range 2000 {
		all = append(all, fmt.Sprintf("job-%05d", i))
	}
	enqueue(t, first, all...)
	require.NoError(t, first.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := len(text) / 2; i < len(text)/2+3*4096; i++ {
		text[i] = 0xa5
	}
	require.NoError(t, os.WriteFile(path, text, 0o600))

	store := at(t, path)
	failed, leased := 0, 0
	for i := 0; i < len(all); i += 10 {
		if _, err := store.Job(t.Context(), "q", all[i]); err != nil {
			require.ErrorIs(t, err, backend.ErrUnavailable)
			require.ErrorContains(t, err, "the file is damaged")
			failed++
		} else {
			leased++
		}
	}
	require.Positive(t, failed)
	require.Positive(t, leased)
}

func TestProcessesThatStartAtOnceMakeTheTablesOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	var all sync.WaitGroup
	errs := make(chan error, 8)
	for i := range cap(errs) {
		all.Go(func() { errs <- tryEnqueue(at(t, path), fmt.Sprint("job-", i)) })
	}
	all.Wait()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	q, err := at(t, path).Queue(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, cap(errs), q.Counts[backend.StateWaiting])
}

func TestAFileOfANewerProgramIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	require.NoError(t, tryEnqueue(at(t, path), "a"))
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.ExecContext(t.Context(), `UPDATE caddis_schema SET version = version + 1`)
	require.NoError(t, err)
	err = tryEnqueue(at(t, path), "b")
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, "use a newer program")
}

func TestTheTablesOfAnApplicationAreLeftAlone(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	store := in(t, db)
	enqueue(t, store, "a")
	rows, err := db.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE name NOT LIKE 'caddis\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`)
	require.NoError(t, err)
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
	require.Equal(t, []string{"orders"}, names)
}

func TestWhatWasAcceptedIsThereAfterTheStoreWasClosed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a file with % and ü?.db")
	require.NoError(t, tryEnqueue(at(t, filepath.Join(filepath.Dir(path), "a file with %25 and ü%3F.db")), "a"))
	store := at(t, filepath.Join(filepath.Dir(path), "a file with %25 and ü%3F.db"))
	require.FileExists(t, path)
	info, err := store.Job(t.Context(), "q", "a")
	require.NoError(t, err)
	require.Equal(t, "payload of a", string(info.Payload))
}

func TestIDsThatAreSaidToBeNewAndAreNotAreFound(t *testing.T) {
	t.Parallel()
	store := at(t, filepath.Join(t.TempDir(), "jobs.db"))
	batch := make([]backend.NewJob, 100)
	for i := range batch {
		batch[i] = job(fmt.Sprint("job-", i))
		batch[i].Fresh = true
	}
	_, err := store.Enqueue(t.Context(), batch[40:50])
	require.NoError(t, err)
	for _, existing := range []int{10, 100} {
		receipts, err := store.Enqueue(t.Context(), batch)
		require.NoError(t, err)
		n := 0
		for i, r := range receipts {
			require.Equal(t, batch[i].ID, r.ID)
			if r.Existing {
				n++
			}
		}
		require.Equal(t, existing, n)
	}
	require.Len(t, (&worker{TB: t, store: store, id: "w"}).lease(1000, time.Minute), 100)
}

// brittle is a handler of logs that panics, after it has handed on what is said.
type brittle struct{ handled chan<- string }

func (brittle) Enabled(context.Context, slog.Level) bool { return true }
func (h brittle) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h brittle) WithGroup(string) slog.Handler          { return h }
func (h brittle) Handle(_ context.Context, r slog.Record) error {
	h.handled <- r.Message
	panic("boom")
}

// lesson: the store logs in goroutines of its own, where a panic ends the process.
func TestAHandlerOfLogsThatPanicsHarmsNobody(t *testing.T) {
	t.Parallel()
	handled := make(chan string, 1)
	db := appDatabase(t)
	store, err := sqlite.New(db, sqlite.Config{Log: slog.New(brittle{handled})})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.Announce(t.Context(), backend.WorkerInfo{ID: "w"}, time.Minute)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `UPDATE caddis_worker SET info = 'no JSON'`)
	require.NoError(t, err)

	workers, err := store.Workers(t.Context())

	require.NoError(t, err)
	require.Empty(t, workers)
	require.Contains(t, <-handled, "cannot be read")
}
