package backend_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

func TestABucketHasTheTimesUpToItsBound(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration) int {
		var h backend.Histogram
		h.Observe(d)
		return len(h.Buckets) - 1
	}
	require.Equal(t, 0, at(-time.Hour), "no time is negative")
	for i := range backend.HistogramBuckets - 1 {
		bound := backend.BucketBound(i)
		require.Equal(t, i, at(bound), "%v", bound)
		require.Equal(t, i+1, at(bound+1), "%v", bound+1)
	}
	require.Equal(t, backend.HistogramBuckets-1, at(1<<62))
	require.Equal(t, 100*time.Microsecond, backend.BucketBound(0))
	require.InDelta(t, 30, backend.BucketBound(backend.HistogramBuckets-2).Hours(), 0.5)
	require.Zero(t, backend.BucketBound(backend.HistogramBuckets-1))
}

func TestAQuantileLiesInTheBucketOfItsTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(0, int64(20*time.Hour)), 1, 50).Draw(t, "times")
		var h backend.Histogram
		for _, d := range times {
			h.Observe(time.Duration(d))
		}
		slower := func(d time.Duration) (n int) {
			for _, each := range times {
				if time.Duration(each) > d {
					n++
				}
			}
			return n
		}
		last := time.Duration(0)
		for _, q := range []float64{0, 0.5, 0.95, 1} {
			got := h.Quantile(q)
			require.GreaterOrEqual(t, got, last)
			last = got
			require.LessOrEqual(t, float64(slower(max(2*got, backend.BucketBound(0)))), (1-q)*float64(len(times))+1e-6, "%v of %v", q, times)
		}
		require.EqualValues(t, len(times), h.Count())
	})
	var none backend.Histogram
	require.Zero(t, none.Quantile(0.5))
	require.Zero(t, none.Mean())
	require.True(t, none.IsZero())
	h := backend.Histogram{}
	h.Observe(time.Second)
	h.Observe(3 * time.Second)
	require.Equal(t, 2*time.Second, h.Mean())
	h = backend.Histogram{}
	h.Observe(1 << 62)
	require.Equal(t, backend.BucketBound(backend.HistogramBuckets-2), h.Quantile(0.5))
}

// drawFigures draws figures with some times.
func drawFigures(t *rapid.T) (f backend.Figures) {
	n := rapid.Int64Range(0, 1<<40)
	f.Started, f.Completed, f.Retried, f.Snoozed = n.Draw(t, "started"), n.Draw(t, "completed"), n.Draw(t, "retried"), n.Draw(t, "snoozed")
	f.Cancelled, f.Died, f.HandedBack, f.Parked = n.Draw(t, "cancelled"), n.Draw(t, "died"), n.Draw(t, "handed back"), n.Draw(t, "parked")
	for _, h := range []*backend.Histogram{&f.Waiting, &f.Running} {
		for range rapid.IntRange(0, 3).Draw(t, "times") {
			h.Observe(time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "time")) * time.Microsecond)
		}
	}
	return f
}

func TestFiguresComeOutOfTheirTextAndOfJSONAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawFigures(t)
		parsed, err := backend.ParseFigures(f.Text())
		require.NoError(t, err)
		require.Equal(t, f, parsed)
		point := backend.Point{At: time.Unix(60, 0).UTC(), Figures: f}
		text, err := json.Marshal(point)
		require.NoError(t, err)
		var read backend.Point
		require.NoError(t, json.Unmarshal(text, &read))
		require.Equal(t, point, read)
	})
	for _, text := range []string{"s", "s=", "=1", "q=1", "w32=1", "w-1=1", "wx=1", "ss=1", "sc=1", "s=1=2"} {
		_, err := backend.ParseFigures(text)
		require.Error(t, err, text)
	}
	text, err := json.Marshal(backend.Point{})
	require.NoError(t, err)
	require.JSONEq(t, `{"at":"0001-01-01T00:00:00Z"}`, string(text), "what is 0 takes no room")
}

func FuzzParseFigures(f *testing.F) {
	f.Add("s=3 c=2 w7=3 ws=41000")
	f.Fuzz(func(t *testing.T, text string) {
		figures, err := backend.ParseFigures(text)
		if err == nil {
			again, err := backend.ParseFigures(figures.Text())
			require.NoError(t, err)
			require.Equal(t, figures.Text(), again.Text())
		}
	})
}

func TestASeriesHasAPointForEachStepThatIsKept(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	at := func(hour, minute int) time.Time { return time.Date(2026, 3, 4, hour, minute, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		query       backend.FiguresQuery
		first, last time.Time
		points      int
	}{
		"all minutes":    {backend.FiguresQuery{}, at(2, 7), at(5, 6), 180},
		"all hours":      {backend.FiguresQuery{Step: time.Hour}, at(6, 0).AddDate(0, 0, -8), at(5, 0), 192},
		"some minutes":   {backend.FiguresQuery{From: at(5, 0).Add(59 * time.Second), To: at(5, 2)}, at(5, 0), at(5, 2), 3},
		"five minutes":   {backend.FiguresQuery{Step: 5 * time.Minute, From: at(4, 58)}, at(4, 55), at(5, 5), 3},
		"days":           {backend.FiguresQuery{Step: 24 * time.Hour, From: at(0, 0).AddDate(0, 0, -1)}, at(0, 0).AddDate(0, 0, -1), at(0, 0), 2},
		"the future":     {backend.FiguresQuery{From: at(6, 0)}, time.Time{}, time.Time{}, 0},
		"what is gone":   {backend.FiguresQuery{To: at(1, 0)}, time.Time{}, time.Time{}, 0},
		"another zone":   {backend.FiguresQuery{From: at(5, 0).In(time.FixedZone("", 1800)), To: at(5, 0)}, at(5, 0), at(5, 0), 1},
		"one, to itself": {backend.FiguresQuery{From: at(5, 0), To: at(5, 0)}, at(5, 0), at(5, 0), 1},
	} {
		c.query.Queue = "q"
		require.NoError(t, c.query.Check(), name)
		s, _ := backend.NewSeries(c.query, now)
		require.Len(t, s.Points, c.points, name)
		require.Equal(t, now, s.Now)
		if c.points == 0 {
			continue
		}
		require.Equal(t, c.first, s.Points[0].At, name)
		require.Equal(t, c.last, s.Points[len(s.Points)-1].At, name)
		s.Add(c.first.Add(-1), &backend.Figures{Started: 100})
		s.Add(c.first, &backend.Figures{Started: 1})
		s.Add(c.last.Add(c.query.Step-1), &backend.Figures{Started: 2})
		s.Add(c.last.Add(c.query.Step), &backend.Figures{Started: 100})
		total := s.Total()
		require.EqualValues(t, 3, total.Started, name)
	}
}

func TestAQueryForFiguresThatCannotBeMeantSaysWhatWouldBe(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for want, q := range map[string]backend.FiguresQuery{
		"the queue has no name":            {},
		"whole minutes below an hour":      {Queue: "q", Step: 90 * time.Second},
		"or whole hours":                   {Queue: "q", Step: 90 * time.Minute},
		"up to a day":                      {Queue: "q", Step: 48 * time.Hour},
		"a step of -1m0s":                  {Queue: "q", Step: -time.Minute},
		"the end is before the beginning":  {Queue: "q", From: now, To: now.Add(-1)},
		"kind \"a b\" has ' ' at byte 1":   {Queue: "q", Kind: "a b"},
		"the years go from 0 to 9999":      {Queue: "q", To: now.AddDate(9000, 0, 0)},
		"queue name \"a/b\" has '/' at by": {Queue: "a/b"},
	} {
		err := q.Check()
		require.ErrorIs(t, err, backend.ErrRejected, want)
		require.ErrorContains(t, err, want)
	}
	other := backend.FiguresQuery{Queue: "q", Kind: backend.OtherKinds}
	require.NoError(t, other.Check())
	require.Equal(t, time.Minute, other.Step)
}
