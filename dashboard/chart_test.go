package dashboard

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

func TestAChartStaysWithinItsBoxWhateverHappened(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		series := backend.Series{Step: time.Minute}
		for i := range rapid.IntRange(0, 170).Draw(t, "points") {
			p := backend.Point{At: time.Unix(int64(i)*60, 0)}
			p.Completed = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1<<50)).Draw(t, "completed")
			p.Retried = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1<<50)).Draw(t, "retried")
			for range rapid.IntRange(0, 3).Draw(t, "times") {
				p.Running.Observe(time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "took")))
			}
			series.Points = append(series.Points, p)
		}
		inside := func(text string, most float64) {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil || n < -0.01 || n > most+0.01 {
				t.Fatalf("%q is not within 0 and %v", text, most)
			}
		}
		for _, b := range throughput(&series).Bars {
			inside(b.X, chartWidth)
			inside(b.Width, chartWidth)
			inside(b.Y, chartHeight)
			inside(b.Height, chartHeight)
		}
		for _, l := range latency(&series, "", func(f *backend.Figures) *backend.Histogram { return &f.Running }).Lines {
			for point := range strings.FieldsSeq(l.Points) {
				x, y, _ := strings.Cut(point, ",")
				inside(x, chartWidth)
				inside(y, chartHeight)
			}
		}
	})
}

func TestScalesReadWell(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]int64{0: 2, 1: 2, 3: 4, 7: 10, 10: 10, 11: 20, 99: 100, 5001: 6000} {
		require.Equal(t, want, roundUp(n))
	}
	for d, want := range map[time.Duration]string{
		50 * time.Microsecond: "50µs", 3400 * time.Microsecond: "3.4ms", 20 * time.Millisecond: "20ms", 1500 * time.Millisecond: "1.5s", 10 * time.Minute: "10m", time.Second: "1s",
	} {
		require.Equal(t, want, short(d))
	}
}
