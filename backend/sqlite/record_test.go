package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestASweepForgetsWhatWasRecordedLongAgo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store := at(t, path)
	enqueue(t, store, "a")
	record := backend.Record{
		Worker: "w", Call: 1,
		Figures: []backend.Figure{{Queue: "q", Kind: "k", Minute: time.Now().Truncate(time.Minute), Figures: backend.Figures{Completed: 1}}},
		Events:  []backend.Event{{Type: "completed", Queue: "q"}, {Type: "worker-quiet"}},
	}
	require.NoError(t, store.Record(t.Context(), record))
	file, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	// age makes all that is there older.
	age := func(d time.Duration) {
		for _, change := range []string{
			`UPDATE caddis_figure SET at = at - ?1`, `UPDATE caddis_figure_kind SET at = at - 1000 * ?1`, `UPDATE caddis_event SET at = at - 1000 * ?1`,
		} {
			_, err := file.ExecContext(t.Context(), change, int64(d/time.Second))
			require.NoError(t, err)
		}
	}
	rows := func() (n [3]int) {
		_, err := store.Sweep(t.Context(), backend.SweepRequest{Queues: []string{"q"}, Duration: time.Minute})
		require.NoError(t, err)
		for i, table := range []string{"caddis_figure", "caddis_figure_kind", "caddis_event WHERE queue > 0"} {
			require.NoError(t, file.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table).Scan(&n[i]))
		}
		return n
	}
	require.Equal(t, [3]int{2, 1, 1}, rows())
	age(backend.MinutesKept + time.Minute)
	require.Equal(t, [3]int{1, 1, 1}, rows(), "the hours stay")
	age(backend.HoursKept)
	require.Equal(t, [3]int{0, 1, 0}, rows(), "the kind goes with the next record")
	s, err := store.Figures(t.Context(), backend.FiguresQuery{Queue: "q"})
	require.NoError(t, err)
	require.Empty(t, s.Kinds)
	record.Call, record.Figures[0].Kind = 2, "other"
	require.NoError(t, store.Record(t.Context(), record))
	require.Equal(t, [3]int{2, 1, 1}, rows())
	for _, queue := range []string{"", "q"} {
		page, err := store.Events(t.Context(), backend.EventsQuery{Queue: queue})
		require.NoError(t, err)
		require.Len(t, page.Events, 1)
		require.Equal(t, "1", page.Next, "it is a new journal")
	}
}

func TestFiguresAndEventsThatCannotBeReadAreLeftOut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store := at(t, path)
	enqueue(t, store, "a")
	record := backend.Record{
		Worker: "w", Call: 1,
		Figures: []backend.Figure{{Queue: "q", Kind: "k", Minute: time.Now().Truncate(time.Minute), Figures: backend.Figures{Completed: 1}}},
		Events:  []backend.Event{{Type: "completed", Queue: "q"}},
	}
	require.NoError(t, store.Record(t.Context(), record))
	file, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	_, err = file.ExecContext(t.Context(), `UPDATE caddis_figure SET data = 'c=many'; UPDATE caddis_event SET data = '{'`)
	require.NoError(t, err)
	completed := func() int64 {
		s, err := store.Figures(t.Context(), backend.FiguresQuery{Queue: "q"})
		require.NoError(t, err)
		total := s.Total()
		return total.Completed
	}
	require.Zero(t, completed())
	page, err := store.Events(t.Context(), backend.EventsQuery{Queue: "q"})
	require.NoError(t, err)
	require.Len(t, page.Events, 1)
	record.Call = 2
	require.NoError(t, store.Record(t.Context(), record))
	require.EqualValues(t, 1, completed(), "it goes on with what can be read")
}
