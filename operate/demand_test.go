package operate_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
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
