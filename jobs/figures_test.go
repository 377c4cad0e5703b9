package jobs_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// record tells a store of n jobs of the default queue that were completed.
func record(t *testing.T, store backend.Backend, call uint64, n int) {
	t.Helper()
	f := backend.Figure{Queue: jobs.DefaultQueue, Kind: "welcome", Minute: time.Now().Truncate(time.Minute)}
	r := backend.Record{Worker: "w", Call: call}
	for i := range n {
		f.Completed++
		f.Running.Observe(time.Duration(i) * time.Second)
		r.Events = append(r.Events, backend.Event{Type: jobs.EventCompleted, Queue: jobs.DefaultQueue, ID: fmt.Sprint(call, ".", i), At: time.Now()})
	}
	r.Figures = []backend.Figure{f}
	require.NoError(t, store.Record(t.Context(), r))
}

func makeQueue(t *testing.T, store backend.Backend) {
	t.Helper()
	_, err := store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "a", Queue: jobs.DefaultQueue, Kind: "welcome"}}})
	require.NoError(t, err)
}

func TestAClientReadsFiguresAndEvents(t *testing.T) {
	t.Parallel()
	store, client := open(t)
	ctx := t.Context()
	_, err := client.Figures(ctx, backend.FiguresQuery{Queue: "default"})
	require.ErrorIs(t, err, backend.ErrNotFound)
	_, err = client.Events(ctx, backend.EventsQuery{Queue: "default"})
	require.ErrorIs(t, err, backend.ErrNotFound)
	page, err := client.Events(ctx, backend.EventsQuery{})
	require.NoError(t, err, "the workers' journal is always there")
	require.Empty(t, page.Events)

	makeQueue(t, store)
	series, err := client.Figures(ctx, backend.FiguresQuery{Queue: "default"})
	require.NoError(t, err)
	require.Empty(t, series.Kinds)
	record(t, store, 1, 5)
	series, err = client.Figures(ctx, backend.FiguresQuery{Queue: "default", From: time.Now().Add(-time.Hour), Step: 5 * time.Minute})
	require.NoError(t, err)
	require.Len(t, series.Points, 13)
	total := series.Total()
	require.EqualValues(t, 5, total.Completed)
	require.InDelta(t, 2, total.Running.Quantile(0.5).Seconds(), 1)
	require.Equal(t, 2*time.Second, total.Running.Mean())
	page, err = client.Events(ctx, backend.EventsQuery{Queue: "default", Last: 2})
	require.NoError(t, err)
	require.Len(t, page.Events, 2)
	_, err = client.Figures(ctx, backend.FiguresQuery{Queue: "default", Step: time.Second})
	require.ErrorIs(t, err, backend.ErrRejected)
}

// interrupted is a store whose journal cannot be read for a while.
type interrupted struct {
	backend.Backend
	fails atomic.Int64 // may be negative
}

func (s *interrupted) Events(ctx context.Context, query backend.EventsQuery) (backend.EventsPage, error) {
	if s.fails.Add(-1) >= 0 {
		return backend.EventsPage{}, backend.ErrUnavailable
	}
	return s.Backend.Events(ctx, query)
}

func TestAJournalIsFollowedThroughOutagesAndGaps(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, _ := open(t)
		makeQueue(t, store)
		broken := &interrupted{Backend: store}
		client, err := jobs.NewClient(broken, jobs.ClientConfig{})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		record(t, store, 1, 3)
		var mu sync.Mutex
		var list []string
		failures := 0
		done := make(chan struct{})
		heard := func() []string { // since it was asked the last time
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			said := list
			list = nil
			return said
		}
		go func() {
			defer close(done)
			for e, err := range client.FollowEvents(ctx, backend.EventsQuery{Queue: "default", Last: 2}) {
				mu.Lock()
				switch {
				case err != nil:
					list = append(list, "failure")
				case e.Type == jobs.EventLeftOut:
					list = append(list, "left out")
				default:
					list = append(list, e.ID)
				}
				mu.Unlock()
			}
		}()
		require.Equal(t, []string{"1.1", "1.2"}, heard())
		record(t, store, 2, 1)
		time.Sleep(time.Second)
		require.Equal(t, []string{"2.0"}, heard())
		broken.fails.Store(3)
		record(t, store, 3, 1)
		time.Sleep(4 * time.Second)
		require.Equal(t, []string{"failure", "failure", "failure", "3.0"}, heard())
		for call := range uint64(4) {
			record(t, store, 4+call, backend.MaxRecordEvents)
		}
		time.Sleep(time.Second)
		said := heard()
		require.Equal(t, "left out", said[0])
		require.Equal(t, fmt.Sprint("7.", backend.MaxRecordEvents-1), said[len(said)-1])
		cancel()
		<-done
		require.Empty(t, heard(), "the end of ctx is no failure")

		for _, err := range client.FollowEvents(t.Context(), backend.EventsQuery{Queue: "unknown"}) {
			require.ErrorIs(t, err, backend.ErrNotFound, "this is the last")
			failures++
		}
		require.Equal(t, 1, failures)
		for range client.FollowEvents(t.Context(), backend.EventsQuery{Queue: "default"}) {
			break
		}
	})
}

func TestOnlyWhatIsStoredIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, _ := open(t)
		registry := jobs.NewRegistry()
		jobs.Declare[pair](registry)
		var told []string
		events := jobs.NewEvents(func(e jobs.Event) { told = append(told, string(e.Type)+" "+e.Job.ID) })
		recorded := 0
		events.OnStored(func(batch []backend.NewJob, receipts []jobs.Receipt) {
			for i := range batch {
				if _, stored := jobs.Stored(&batch[i], &receipts[i]); stored {
					recorded++
				}
			}
		})
		client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry, Events: events})
		require.NoError(t, err)
		first, err := client.Enqueue(t.Context(), pair{}, jobs.Unique(), jobs.In(time.Hour))
		require.NoError(t, err)
		second, err := client.Enqueue(t.Context(), pair{}, jobs.Unique())
		require.NoError(t, err)
		require.True(t, second.Duplicate())
		third, err := client.Enqueue(t.Context(), pair{}, jobs.Unique(jobs.Replace()))
		require.NoError(t, err)
		require.True(t, third.Replaced)
		_, err = client.Enqueue(t.Context(), pair{}, jobs.ID("a"))
		require.NoError(t, err)
		_, err = client.Enqueue(t.Context(), pair{}, jobs.ID("a"))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []string{"scheduled " + first.ID, "enqueued " + first.ID, "enqueued a"}, told)
		require.Equal(t, 3, recorded)
		events.OnStored(nil)
		_, err = client.Enqueue(t.Context(), pair{})
		require.NoError(t, err)
		require.Equal(t, 3, recorded)
	})
}
