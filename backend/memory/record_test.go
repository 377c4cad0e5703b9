package memory

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestWhatWasRecordedIsForgottenInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := New(Config{})
		require.NoError(t, err)
		_, err = store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "j", Queue: "q", Kind: "k"}}})
		require.NoError(t, err)
		call := uint64(0)
		record := func(kind string) {
			call++
			require.NoError(t, store.Record(t.Context(), backend.Record{
				Worker: "w", Call: call,
				Figures: []backend.Figure{{Queue: "q", Kind: kind, Minute: store.Advance(0).Truncate(time.Minute), Figures: backend.Figures{Completed: 1}}},
				Events:  []backend.Event{{Type: "completed", Queue: "q", At: store.Advance(0)}},
			}))
		}
		look := func() (minutes, hours int64, events int, kinds []string) {
			m, err := store.Figures(t.Context(), backend.FiguresQuery{Queue: "q"})
			require.NoError(t, err)
			h, err := store.Figures(t.Context(), backend.FiguresQuery{Queue: "q", Step: time.Hour})
			require.NoError(t, err)
			page, err := store.Events(t.Context(), backend.EventsQuery{Queue: "q"})
			require.NoError(t, err)
			mt, ht := m.Total(), h.Total()
			return mt.Completed, ht.Completed, len(page.Events), m.Kinds
		}
		record("early")
		store.Advance(backend.MinutesKept - time.Minute)
		minutes, hours, _, _ := look()
		require.EqualValues(t, []int64{1, 1}, []int64{minutes, hours})
		store.Advance(time.Minute)
		minutes, hours, events, _ := look()
		require.EqualValues(t, []int64{0, 1}, []int64{minutes, hours})
		require.Equal(t, 1, events)
		record("late")
		store.Advance(backend.HoursKept - time.Hour)
		_, hours, events, kinds := look()
		require.EqualValues(t, 1, hours)
		require.Equal(t, 2, events, "a journal is kept as a whole")
		require.Equal(t, []string{"late"}, kinds)
		store.Advance(2 * time.Hour)
		_, hours, events, kinds = look()
		require.Zero(t, hours)
		require.Zero(t, events)
		require.Empty(t, kinds)
		require.Empty(t, store.queues["q"].figures.hours)
		require.Empty(t, store.queues["q"].figures.minutes)
	})
}
