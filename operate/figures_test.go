package operate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/operate"
)

// record notes so many jobs of a queue as completed in a minute.
func (f *fleet) record(queue string, at time.Time, figures backend.Figures) {
	f.t.Helper()
	f.calls++
	require.NoError(f.t, f.store.Record(f.t.Context(), backend.Record{Worker: "w", Call: f.calls, Figures: []backend.Figure{
		{Queue: queue, Kind: "kind-" + queue, Minute: at.Truncate(time.Minute), Figures: figures},
	}}))
}

func TestFiguresOfQueuesAreSummedUp(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("a", "1")
		f.enqueue("b", "1")
		now := time.Now()
		f.record("a", now.Add(-2*time.Minute), backend.Figures{Started: 5, Completed: 3, Retried: 1, Died: 1})
		f.record("b", now.Add(-2*time.Minute), backend.Figures{Started: 2, Completed: 2})
		f.record("b", now.Add(-20*time.Minute), backend.Figures{Started: 7, Completed: 7})
		series, err := operate.Figures(t.Context(), f.client, []string{"a", "gone", "b"}, backend.FiguresQuery{From: now.Add(-59 * time.Minute), Step: time.Minute})
		require.NoError(t, err)
		total := series.Total()
		require.EqualValues(t, 12, total.Completed)
		require.EqualValues(t, 2, operate.Failed(&total))
		require.GreaterOrEqual(t, len(series.Points), 60)
		require.Equal(t, []string{"kind-a", "kind-b"}, series.Kinds)
	})
}

func TestAForecastGoesByTheLastTenWholeMinutes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 30, 20, 0, time.UTC)
	minutes := backend.Series{Step: time.Minute, Now: now}
	for at := now.Truncate(time.Minute).Add(-30 * time.Minute); !at.After(now); at = at.Add(time.Minute) {
		p := backend.Point{At: at}
		switch age := now.Sub(at); {
		case age > 11*time.Minute:
			p.Completed = 1000 // too long ago
		case age < time.Minute:
			p.Completed = 1 // not over yet
		default:
			p.Completed, p.Died, p.Cancelled, p.Retried = 8, 1, 1, 50
		}
		minutes.Points = append(minutes.Points, p)
	}
	f := operate.Drained(250, &minutes)
	require.InDelta(t, 10, f.PerMinute, 0.001)
	require.Equal(t, 25*time.Minute, f.In.Round(time.Second))
	require.Zero(t, operate.Drained(0, &minutes).In)
	require.Negative(t, operate.Drained(5, &backend.Series{Step: time.Minute, Now: now}).In, "nothing is known")
	require.Less(t, operate.Drained(1<<60, &minutes).In, 366*24*time.Hour)
}
