package sqlite_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestAnEnqueueInATransactionOfWhichAJobIsRefusedLeavesNothingAndTheRestOfIt(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	store := in(t, db)
	refusing := func(id string) backend.NewJob {
		n := job(id)
		n.Limits = []backend.Limit{{Class: "all", Hold: backend.SlotOnceEnqueued, Rule: backend.LimitRule{Slots: 1}}}
		return n
	}
	for _, want := range []struct {
		jobs []backend.NewJob
		err  error
	}{
		{[]backend.NewJob{refusing("a")}, nil},
		{[]backend.NewJob{job("plain"), refusing("b")}, backend.ErrLimited},
	} {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = store.EnqueueTx(t.Context(), tx, want.jobs)
		require.ErrorIs(t, err, want.err)
		require.NoError(t, tx.Commit())
	}
	q, err := store.Queue(t.Context(), "q")
	require.NoError(t, err)
	require.EqualValues(t, 1, q.Counts[backend.StateWaiting])
}

// lesson: a slot that leaks. The rows are counted, as what is told of a limit would hide some.
func TestNothingIsLeftOfLimitsWhoseJobsAreOver(t *testing.T) {
	t.Parallel()
	db := appDatabase(t)
	store := in(t, db)
	for _, hold := range []backend.SlotHold{backend.SlotWhileRunning, backend.SlotUntilFinished, backend.SlotOnceEnqueued} {
		var jobs []backend.NewJob
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			n := job(id)
			n.Limits = []backend.Limit{
				{Class: "all", Hold: hold, Rule: backend.LimitRule{Slots: 5}},
				{Class: "two", Rule: backend.LimitRule{Slots: 2, Rate: 1000, Per: time.Second, Burst: 100}},
			}
			jobs = append(jobs, n)
		}
		_, err := store.Enqueue(t.Context(), jobs)
		require.NoError(t, err)
		request := backend.LeaseRequest{Worker: "w", Token: "w." + string('0'+rune(hold)), Queues: []string{"q"}, Max: 5, Duration: time.Minute}
		reply, err := store.Lease(t.Context(), request)
		require.NoError(t, err)
		require.Len(t, reply.Leases, 2)
		settle := backend.SettleRequest{Worker: "w", Call: uint64(hold) + 1}
		for i, l := range reply.Leases {
			settle.Settlements = append(settle.Settlements, backend.Settlement{
				Queue: "q", ID: l.Job.ID, Token: l.Token, Outcome: []backend.Outcome{backend.OutcomeCompleted, backend.OutcomeDead}[i],
			})
		}
		_, err = store.Settle(t.Context(), settle)
		require.NoError(t, err)
		_, err = store.Cancel(t.Context(), "q", []string{"c"})
		require.NoError(t, err)
		_, err = store.Delete(t.Context(), "q", []string{"a", "b", "c", "d", "e"})
		require.NoError(t, err)
	}
	for table, want := range map[string]int{"caddis_limit": 0, "caddis_ready": 0, "caddis_queue WHERE limited > 0": 0, "caddis_class": 2} {
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
		require.Equal(t, want, n, table)
	}
}
