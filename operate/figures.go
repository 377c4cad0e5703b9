package operate

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// MaxFigureQueues is of how many queues Figures sums up what happened.
const MaxFigureQueues = 50

// Busiest names those of some queues whose figures count where there are more than
// MaxFigureQueues: in which most jobs run and wait. They stay in their order.
func Busiest(queues []backend.QueueInfo) (names []string) {
	load := func(q backend.QueueInfo) int64 {
		return q.Counts[backend.StateRunning] + q.Counts[backend.StateWaiting]
	}
	order := make([]int, len(queues))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(load(queues[b]), load(queues[a])) })
	order = order[:min(len(order), MaxFigureQueues)]
	slices.Sort(order)
	for _, i := range order {
		names = append(names, queues[i].Name)
	}
	return names
}

// Figures sums up what happened to the jobs of some queues, MaxFigureQueues of them at most,
// as the query says, whose own Queue is not looked at: one read for each queue. Queues that
// have gone meanwhile are left out.
func Figures(ctx context.Context, client *jobs.Client, queues []string, query backend.FiguresQuery) (sum backend.Series, err error) {
	for _, query.Queue = range queues[:min(len(queues), MaxFigureQueues)] {
		series, err := client.Figures(ctx, query)
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if err != nil {
			return backend.Series{}, err
		}
		if len(sum.Points) == 0 {
			sum = series
			continue
		}
		for i := range series.Points {
			sum.Add(series.Points[i].At, &series.Points[i].Figures)
		}
		sum.Kinds = append(sum.Kinds, series.Kinds...)
	}
	slices.Sort(sum.Kinds)
	sum.Kinds = slices.Compact(sum.Kinds)
	return sum, nil
}

// Failed counts the attempts that failed, be it for good.
func Failed(f *backend.Figures) int64 { return f.Retried + f.Died }

// Forecast is when a queue is drained.
type Forecast struct {
	// PerMinute is how many jobs were done with in each of the last minutes.
	PerMinute float64
	// In is how long what waits will take at this rate, if no more comes; negative if
	// nothing was done, so that it is not known.
	In time.Duration
}

// forecastMinutes is how many minutes a forecast goes by.
const forecastMinutes = 10

// Drained forecasts when so many jobs are done with, by how many were in the last ten whole
// minutes of figures, whose step is a minute: completed, cancelled or dead.
func Drained(depth int64, minutes *backend.Series) Forecast {
	var done int64
	n := 0
	for i := len(minutes.Points) - 1; i >= 0 && n < forecastMinutes; i-- {
		p := &minutes.Points[i]
		if minutes.Now.Before(p.At.Add(minutes.Step)) {
			continue // it is not over yet
		}
		done += p.Completed + p.Cancelled + p.Died
		n++
	}
	if done == 0 {
		return Forecast{In: -1}
	}
	f := Forecast{PerMinute: float64(done) / float64(n)}
	f.In = time.Duration(min(float64(depth)/f.PerMinute, maxForecast) * float64(time.Minute))
	return f
}

// maxForecast is the longest time that is forecast, in minutes: a year.
const maxForecast = 365 * 24 * 60
