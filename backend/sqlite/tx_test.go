package sqlite_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/sqlite"
)

func TestAThousandTransactionsOfWhichHalfAreRolledBackEnqueueExactlyTheCommittedOnes(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	store := in(t, db)
	other := in(t, db) // as another process would
	const transactions = 1000
	committed := make(map[string]time.Time)
	done := make(chan map[string]time.Time, 1)
	go func() { done <- (&worker{TB: t, store: store, id: "w"}).drain(t.Context(), transactions/2) }()
	for i := range transactions {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		id := fmt.Sprint("order-", i)
		_, err = tx.ExecContext(t.Context(), `INSERT INTO orders VALUES (?)`, id)
		require.NoError(t, err)
		by := store
		if i%4 >= 2 {
			by = other
		}
		_, err = by.EnqueueTx(t.Context(), tx, []backend.NewJob{job(id)})
		require.NoError(t, err)
		if i%2 == 0 {
			require.NoError(t, tx.Rollback())
			continue
		}
		require.NoError(t, tx.Commit())
		committed[id] = time.Now()
		if i%10 == 1 {
			time.Sleep(time.Millisecond) // the worker is idle again
		}
	}
	var came map[string]time.Time
	select {
	case came = <-done:
	case <-time.After(patience):
		require.Fail(t, "committed jobs were not picked up")
	}
	var late []time.Duration
	for id, at := range committed {
		require.Contains(t, came, id)
		late = append(late, came[id].Sub(at))
	}
	require.Len(t, came, len(committed), "a job of a transaction that was rolled back")
	slices.Sort(late)
	t.Logf("picked up after the commit: p50 %v, p99 %v, at most %v", late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
	q, err := store.Queue(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, transactions/2, q.Completed)
}

func TestAnEnqueueThatFailsLeavesNothingInTheTransactionAndTheRestOfIt(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	store := in(t, db)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `INSERT INTO orders VALUES ('kept')`)
	require.NoError(t, err)
	bad := job("b")
	bad.Deadline = time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC) // no text says that
	_, err = store.EnqueueTx(t.Context(), tx, []backend.NewJob{job("a"), bad})
	require.ErrorIs(t, err, backend.ErrRejected)
	_, err = store.EnqueueTx(t.Context(), tx, []backend.NewJob{job("c")})
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	_, err = store.Job(t.Context(), "q", "a")
	require.ErrorIs(t, err, backend.ErrNotFound)
	_, err = store.Job(t.Context(), "q", "c")
	require.NoError(t, err)
	var orders int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM orders`).Scan(&orders))
	require.Equal(t, 1, orders)
}

func TestATransactionOfAnotherDatabaseIsRejected(t *testing.T) {
	t.Parallel()
	store := in(t, appDatabase(t))
	tx, err := appDatabase(t).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = store.EnqueueTx(t.Context(), tx, []backend.NewJob{job("a")})
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, "another database")
	_, err = store.EnqueueTx(t.Context(), nil, []backend.NewJob{job("a")})
	require.ErrorIs(t, err, backend.ErrRejected)
}

func TestATransactionOnTheFileOfAnotherStoreIsRejected(t *testing.T) {
	t.Parallel()
	elsewhere := appDatabase(t)
	there := in(t, elsewhere)
	for name, here := range map[string]*sqlite.Backend{"a file": in(t, appDatabase(t)), "memory": inMemory(t)} {
		enqueue(t, here, "a")
		enqueue(t, there, "a")
		tx, err := elsewhere.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = here.EnqueueTx(t.Context(), tx, []backend.NewJob{job("b")})
		require.ErrorIs(t, err, backend.ErrRejected, name)
		require.ErrorContains(t, err, "another database")
		err = here.CompleteTx(t.Context(), tx, backend.Held{Queue: "q", ID: "a", Token: "t"})
		require.ErrorIs(t, err, backend.ErrRejected, name)
		require.NoError(t, tx.Commit())
	}
	_, err := there.Job(t.Context(), "q", "b")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

func inMemory(t *testing.T) *sqlite.Backend {
	t.Helper()
	store, err := sqlite.Open("sqlite:")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func TestAJobThatWasCompletedInACommittedTransactionEndsSoWhateverElseHappens(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	store := in(t, db)
	complete := func(l backend.Lease, commit bool) error {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		err = store.CompleteTx(t.Context(), tx, backend.Held{Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token})
		if commit && err == nil {
			require.NoError(t, tx.Commit())
		} else {
			require.NoError(t, tx.Rollback())
		}
		return err
	}
	w := &worker{TB: t, store: store, id: "w"}
	for i, outcome := range []backend.Outcome{
		backend.OutcomeCompleted, backend.OutcomeRetry, backend.OutcomeReleased, backend.OutcomeDead, backend.OutcomeCancelled,
	} {
		enqueue(t, store, fmt.Sprint("committed-", i))
		leases := w.lease(1, time.Minute)
		require.NoError(t, complete(leases[0], true))
		require.Equal(t, backend.StateCompleted, w.settle(leases, outcome)[0].State, "%v", outcome)
		require.ErrorIs(t, complete(leases[0], true), backend.ErrState, "it is no longer held")
	}
	enqueue(t, store, "rolled back")
	leases := w.lease(1, time.Minute)
	require.NoError(t, complete(leases[0], false))
	require.Equal(t, backend.StateWaiting, w.settle(leases, backend.OutcomeReleased)[0].State)
	w.settle(w.lease(1, time.Minute), backend.OutcomeDead)

	enqueue(t, store, "its worker vanished")
	leases = w.lease(1, backend.MinLease)
	require.NoError(t, complete(leases[0], true))
	require.Eventually(t, func() bool {
		_, err := store.Sweep(context.Background(), backend.SweepRequest{Queues: []string{"q"}, Duration: backend.MinLease})
		require.NoError(t, err)
		q, err := store.Queue(context.Background(), "q")
		require.NoError(t, err)
		return q.Completed == 6 && q.Crashed == 0
	}, patience, 10*time.Millisecond)
	require.Empty(t, w.lease(1, time.Minute))
}

func TestAnIdleWorkerPicksACommittedJobUpSoon(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	here := in(t, db)
	for where, store := range map[string]backend.Backend{"the same process": here, "another one": in(t, db)} {
		w := &worker{TB: t, store: store, id: where}
		waiter, err := store.Waiter([]string{"q"})
		require.NoError(t, err)
		var late []time.Duration
		for i := range 100 {
			picked := make(chan time.Time, 1)
			go func() {
				for {
					reply, err := waiter.Lease(context.Background(), w.request(1, time.Minute), patience)
					if err != nil || len(reply.Leases) > 0 {
						picked <- time.Now()
						w.settle(reply.Leases, backend.OutcomeCompleted)
						picked <- time.Now()
						return
					}
				}
			}()
			time.Sleep(2 * time.Millisecond) // it waits
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = here.EnqueueTx(t.Context(), tx, []backend.NewJob{job(fmt.Sprint(where, i))})
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			committed := time.Now()
			late = append(late, (<-picked).Sub(committed))
			<-picked
		}
		require.NoError(t, waiter.Close())
		slices.Sort(late)
		t.Logf("in %s: p50 %v, p99 %v", where, late[50], late[98])
	}
}
