package operate_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// times is a histogram of n times of a length.
func times(n int, d time.Duration) (h backend.Histogram) {
	for range n {
		h.Observe(d)
	}
	return h
}

func TestTheDemandIsWhatIsBusyAndWhatDrainsTheBacklogInTime(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		demand := func(need operate.Need) operate.Demand {
			t.Helper()
			d, err := operate.DemandFor(t.Context(), f.client, need)
			require.NoError(t, err)
			return d
		}
		require.Zero(t, demand(operate.Need{}), "nothing is there")
		require.Equal(t, 2, demand(operate.Need{Min: 2}).Workers)

		f.enqueue("mail", ids("m", 200)...)
		d := demand(operate.Need{})
		require.Equal(t, []int{1, 1, 200}, []int{d.Executors, d.Workers, int(d.Waiting)}, "how long jobs take is not known yet")

		// In each of three of the last five whole minutes 300 jobs ran for 2 s: 6 were busy.
		now := time.Now()
		for ago := 2; ago <= 4; ago++ {
			f.record("mail", now.Add(-time.Duration(ago)*time.Minute), backend.Figures{Completed: 300, Running: times(300, 2*time.Second)})
		}
		d = demand(operate.Need{})
		require.InDelta(t, 6, d.Busy, 0.001)
		require.Equal(t, 2*time.Second, d.Took)
		require.Equal(t, 13, d.Executors, "6 are busy, and 200 x 2 s in a minute are 6.7 more")
		require.Equal(t, (13+actors.DefaultConcurrency-1)/actors.DefaultConcurrency, d.Workers, "of a worker that is not told how many executors it has")
		require.Equal(t, 46, demand(operate.Need{DrainWithin: 10 * time.Second}).Executors)
		require.Equal(t, 206, demand(operate.Need{DrainWithin: time.Millisecond}).Executors, "each job takes one executor at most")
		require.Equal(t, 13, demand(operate.Need{PerWorker: 1}).Workers)
		require.Equal(t, 4, demand(operate.Need{PerWorker: 1, Max: 4}).Workers)
		require.Equal(t, demand(operate.Need{}), demand(operate.Need{}), "it is steady")

		// Only what is asked for counts, and nothing that more workers would not help.
		f.enqueue("other", ids("o", 30)...)
		require.Equal(t, d, demand(operate.Need{Queues: []string{"mail", "gone"}}))
		f.announce(backend.WorkerInfo{ID: "w", Queues: []string{"mail"}, Concurrency: 4})
		require.Equal(t, 4, demand(operate.Need{Queues: []string{"mail"}}).Workers, "of 4 executors each, as that which runs")
		require.NoError(t, f.client.PauseQueue(t.Context(), "mail"))
		require.Equal(t, 6, demand(operate.Need{Queues: []string{"mail"}}).Executors)
	})
}

func TestLongJobsAreCountedByHowManyRun(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("films", ids("f", 9)...)
		_, err := f.store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"films"}, Max: 3, Duration: time.Hour})
		require.NoError(t, err)
		f.record("films", time.Now().Add(-2*time.Minute), backend.Figures{Completed: 1, Running: times(1, time.Hour)})
		d, err := operate.DemandFor(t.Context(), f.client, operate.Need{})
		require.NoError(t, err)
		require.Equal(t, 9, d.Executors, "3 run and 6 wait; the hour that ended in the last minutes is not 12 of them")
	})
}

func TestWithNoWorkersWhatOnlyAWorkerCanFindOutNeedsOneExecutor(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		demand := func() operate.Demand {
			t.Helper()
			d, err := operate.DemandFor(t.Context(), f.client, operate.Need{})
			require.NoError(t, err)
			return d
		}
		_, err := f.client.Enqueue(t.Context(), Welcome{}, jobs.Queue("later"), jobs.ID("a"), jobs.In(time.Second))
		require.NoError(t, err)
		require.Zero(t, demand().Executors)
		require.Eventually(t, func() bool { return demand().Executors == 1 }, time.Minute, 100*time.Millisecond, "a job is due")
		_, err = f.client.Delete(t.Context(), "later", "a")
		require.NoError(t, err)
		require.Zero(t, demand())

		f.enqueue("kinds", "a")
		reply, err := f.store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"kinds"}, Max: 1, Duration: time.Hour})
		require.NoError(t, err)
		_, err = f.store.Settle(t.Context(), backend.SettleRequest{Worker: "w", Call: 1, Settlements: []backend.Settlement{
			{Queue: "kinds", ID: "a", Token: reply.Leases[0].Token, Outcome: backend.OutcomeBlocked, Key: jobs.BlockKey("welcome")},
		}})
		require.NoError(t, err)
		require.Equal(t, operate.Demand{Executors: 1, Workers: 1, Blocked: 1}, demand(), "a program may know its kind by now")
		require.NoError(t, f.client.PauseQueue(t.Context(), "kinds"))
		require.Zero(t, demand())
		_, err = f.client.Delete(t.Context(), "kinds", "a")
		require.NoError(t, err)

		_, err = f.client.PutSchedule(t.Context(), "nightly", jobs.Every(time.Second), Welcome{}, jobs.Queue("ticks"))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return demand().Executors == 1 }, time.Minute, 100*time.Millisecond, "a schedule is overdue")
		require.Equal(t, "ticks/nightly", demand().Overdue)
		_, err = f.client.PauseSchedule(t.Context(), "ticks", "nightly")
		require.NoError(t, err)
		require.Zero(t, demand())
	})
}

func TestTheDemandOfManyQueuesIsThatOfThoseWithTheMostWork(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	for i := range operate.MaxFigureQueues + 10 {
		f.enqueue(fmt.Sprintf("a%02d", i), "idle")
		_, err := f.client.Delete(t.Context(), fmt.Sprintf("a%02d", i), "idle")
		require.NoError(t, err)
	}
	f.enqueue("z", "1", "2")
	f.record("z", time.Now().Add(-2*time.Minute), backend.Figures{Completed: 300, Running: times(300, 2*time.Second)})
	d, err := operate.DemandFor(t.Context(), f.client, operate.Need{})
	require.NoError(t, err)
	require.InDelta(t, 2, d.Busy, 0.001)
}

func TestInTheFirstMinutesOfWorkersWhatIsBusyIsTheAverageSinceTheirStart(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("mail", "a")
		minute := time.Now().Truncate(time.Minute)
		_, err := f.store.Announce(t.Context(), backend.WorkerInfo{ID: "w", Queues: []string{"mail"}, Concurrency: 10, StartedAt: minute.Add(-2 * time.Minute)}, time.Hour)
		require.NoError(t, err)
		f.record("mail", minute.Add(-2*time.Minute), backend.Figures{Completed: 300, Running: times(300, 2*time.Second)})
		f.record("mail", minute.Add(-time.Minute), backend.Figures{Completed: 300, Running: times(300, 2*time.Second)})
		busy := func() float64 {
			d, err := operate.DemandFor(t.Context(), f.client, operate.Need{})
			require.NoError(t, err)
			return d.Busy
		}
		require.Contains(t, []float64{10, 1200. / 180}, busy(), "a minute may have passed")
		f.record("mail", minute.Add(-3*time.Minute), backend.Figures{Completed: 300, Running: times(300, 2*time.Second)})
		require.InDelta(t, 6, busy(), 0.001, "others ran before")
	})
}

func TestAnAutoscalerReadsTheDemandAsJSON(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("mail", "a")
		f.enqueue("other", "b", "c")
		server := httptest.NewServer(operate.DemandHandler(f.client, operate.Need{Queues: []string{"mail"}, Min: 1, Max: 3}))
		defer server.Close()
		get := func(query string) (code int, d operate.Demand) {
			response, err := http.Get(server.URL + query)
			require.NoError(t, err)
			defer response.Body.Close()
			if response.StatusCode == http.StatusOK {
				require.Equal(t, "application/json", response.Header.Get("Content-Type"))
				require.NoError(t, json.NewDecoder(response.Body).Decode(&d))
			}
			return response.StatusCode, d
		}
		code, d := get("")
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, operate.Demand{Executors: 1, Workers: 1, Waiting: 1}, d)
		_, d = get("?queue=other&queue=mail")
		require.EqualValues(t, 3, d.Waiting)
		code, _ = get("?queue=a%20b")
		require.Equal(t, http.StatusBadRequest, code)
		require.NoError(t, f.store.Close())
		code, _ = get("")
		require.Equal(t, http.StatusServiceUnavailable, code)
	})
}

func TestADemandOfNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	for says, need := range map[string]operate.Need{
		"DrainWithin is -1s":   {DrainWithin: -time.Second},
		"PerWorker is -1":      {PerWorker: -1},
		"from 3 to 2 workers":  {Min: 3, Max: 2},
		"from -1 to 0 workers": {Min: -1},
		`has ' ' at byte 1`:    {Queues: []string{"a b"}},
	} {
		_, err := operate.DemandFor(t.Context(), f.client, need)
		require.ErrorIs(t, err, backend.ErrRejected)
		require.ErrorContains(t, err, says)
	}
}
