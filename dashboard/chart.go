package dashboard

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/operate"
)

// chart is a picture of figures over time. It is drawn into a box that is stretched to the
// width of the page, so that all text stands beside it.
type chart struct {
	Title string
	// Says tells in words what is to be seen.
	Says   string
	Bars   []bar
	Lines  []polyline
	Legend []legend
	// Up are the labels beside it, from above; Along those below it, from the left.
	Up, Along []string
}

// bar and polyline are what is drawn, in the units of the box; Class says of what.
type bar struct {
	Class, X, Y, Width, Height string
	// Title is told where somebody points at it.
	Title string
}

type polyline struct{ Class, Points string }

type legend struct{ Class, Text string }

// The size of the box.
const (
	chartWidth  = 720
	chartHeight = 120
)

func unit(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// throughput draws how many jobs were completed in each step, and how many attempts failed.
func throughput(series *backend.Series) chart {
	c := chart{Title: "Completed and failed", Legend: []legend{{"c-done", "completed"}, {"c-failed", "failed"}}, Along: along(series)}
	most := int64(0)
	for i := range series.Points {
		p := &series.Points[i].Figures
		most = max(most, p.Completed+operate.Failed(p))
	}
	top := roundUp(most)
	c.Up = []string{count(top), count(top / 2), "0"}
	width := float64(chartWidth) / float64(max(1, len(series.Points)))
	for i := range series.Points {
		p := &series.Points[i]
		above := float64(0)
		for _, part := range []struct {
			class string
			n     int64
		}{{"c-done", p.Completed}, {"c-failed", operate.Failed(&p.Figures)}} {
			if part.n == 0 {
				continue
			}
			height := chartHeight * float64(part.n) / float64(top)
			above += height
			c.Bars = append(c.Bars, bar{
				Class: part.class, X: unit(float64(i)*width + width/10), Width: unit(width * 0.8), Y: unit(chartHeight - above), Height: unit(height),
				Title: fmt.Sprintf("%s: %s completed, %s failed", clock(p.At, series.Step), count(p.Completed), count(operate.Failed(&p.Figures))),
			})
		}
	}
	total := series.Total()
	c.Says = fmt.Sprintf("%s completed, %s failed; at most %s in a step of %s.", numbered64(total.Completed, "job", "jobs"), numbered64(operate.Failed(&total), "attempt", "attempts"), count(most), operate.Span(series.Step))
	return c
}

// numbered64 is numbered for large numbers.
func numbered64(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// roundUp is the next number above that reads well, an even one or 1, 2, 5 with zeros.
func roundUp(n int64) int64 {
	for step := int64(1); step < math.MaxInt64/10; step *= 10 {
		for _, m := range []int64{2, 4, 6, 10} {
			if m*step >= n {
				return m * step
			}
		}
	}
	return max(n, 1)
}

// marks are the times at which the scale of latencies has a line.
var marks = []time.Duration{
	100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second,
	time.Minute, 10 * time.Minute, time.Hour, 10 * time.Hour, 100 * time.Hour,
}

// latency draws the times that half of the jobs, and 95 of 100, did not exceed, on a scale
// by tens.
func latency(series *backend.Series, title string, of func(*backend.Figures) *backend.Histogram) chart {
	c := chart{Title: title, Legend: []legend{{"c-half", "half of them (p50)"}, {"c-most", "95 of 100 (p95)"}}, Along: along(series)}
	quantiles := []struct {
		class string
		q     float64
	}{{"c-half", 0.5}, {"c-most", 0.95}}
	least, most := time.Duration(math.MaxInt64), time.Duration(0)
	for i := range series.Points {
		h := of(&series.Points[i].Figures)
		if h.Count() == 0 {
			continue
		}
		least, most = min(least, h.Quantile(0.5)), max(most, h.Quantile(0.95))
	}
	total := series.Total()
	all := of(&total)
	if all.Count() == 0 {
		c.Says = "No job began or ended."
		return c
	}
	from, to := scaleOf(least, most)
	c.Up = []string{short(marks[to]), short(marks[from])}
	width := float64(chartWidth) / float64(len(series.Points))
	for _, q := range quantiles {
		var points []string
		flush := func() {
			if len(points) > 0 {
				c.Lines = append(c.Lines, polyline{q.class, strings.Join(points, " ")})
			}
			points = nil
		}
		for i := range series.Points {
			h := of(&series.Points[i].Figures)
			if h.Count() == 0 {
				flush()
				continue
			}
			y := unit(height(h.Quantile(q.q), marks[from], marks[to]))
			points = append(points, unit(float64(i)*width)+","+y, unit(float64(i+1)*width)+","+y)
		}
		flush()
	}
	c.Says = fmt.Sprintf("In all, half took at most %s, and 95 of 100 at most %s.", short(all.Quantile(0.5)), short(all.Quantile(0.95)))
	return c
}

// scaleOf are the marks between which all times lie.
func scaleOf(least, most time.Duration) (from, to int) {
	for to < len(marks)-1 && marks[to] < most {
		to++
	}
	for from < len(marks)-1 && marks[from+1] <= least {
		from++
	}
	if from >= to {
		from = max(0, to-1)
		to = from + 1
	}
	return from, to
}

// height is where a time lies in the box.
func height(d, from, to time.Duration) float64 {
	part := math.Log(float64(max(d, from))/float64(from)) / math.Log(float64(to)/float64(from))
	return chartHeight * (1 - min(max(part, 0), 1))
}

// short tells a time that may be very short.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%dµs", d.Microseconds())
	case d < 10*time.Millisecond && d%time.Millisecond != 0:
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + "ms"
	case d > time.Second && d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	}
	return operate.Span(d)
}

// along are the labels of the axis of time: four of them, with the end.
func along(series *backend.Series) (all []string) {
	from, to, ok := series.Span()
	if !ok {
		return nil
	}
	const labels = 4
	for i := range labels {
		at := from.Add(to.Sub(from) * time.Duration(i) / (labels - 1)).Truncate(series.Step)
		all = append(all, clock(at, to.Sub(from)/labels))
	}
	all[labels-1] += " UTC"
	return all
}

// clock is an instant as it is read, with the day where the steps are long.
func clock(at time.Time, step time.Duration) string {
	if step >= 12*time.Hour {
		return at.UTC().Format("Mon 2 Jan 15:04")
	}
	return at.UTC().Format("15:04")
}
