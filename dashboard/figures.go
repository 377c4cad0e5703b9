package dashboard

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// span is a time that figures are shown of.
type span struct {
	Name, Text string
	// step is what each point stands for, points how many there are.
	step   time.Duration
	points int
	// age is how old figures may be that are shown.
	age time.Duration
}

var spans = []span{
	{"hour", "the last hour", time.Minute, 60, 5 * time.Second},
	{"day", "the last day", time.Hour, 24, 30 * time.Second},
	{"week", "the last week", time.Hour, 7 * 24, time.Minute},
}

// figures keeps what was read, so that many who look cost the store what one does.
type figures struct {
	client *jobs.Client
	// looking is held by who uses what follows.
	looking chan struct{}
	read    map[string]kept
}

type kept struct {
	series backend.Series
	at     time.Time
}

// maxKept is how many series are kept.
const maxKept = 100

func newFigures(client *jobs.Client) *figures {
	return &figures{client: client, looking: make(chan struct{}, 1), read: map[string]kept{}}
}

// of are the figures of some queues, by the clock of the store.
func (f *figures) of(ctx context.Context, queues []string, kind string, s span, now time.Time) (backend.Series, error) {
	select {
	case f.looking <- struct{}{}:
	case <-ctx.Done():
		return backend.Series{}, ctx.Err()
	}
	defer func() { <-f.looking }()
	key := s.Name + "/" + kind + "/" + strings.Join(queues, "/")
	if k, ok := f.read[key]; ok && time.Since(k.at) < s.age {
		return k.series, nil
	}
	series, err := operate.Figures(ctx, f.client, queues, backend.FiguresQuery{Kind: kind, From: now.Add(-time.Duration(s.points-1) * s.step), Step: s.step})
	if err != nil {
		return series, err
	}
	if len(f.read) >= maxKept {
		clear(f.read)
	}
	f.read[key] = kept{series, time.Now()}
	return series, nil
}

// figureRow is a step as it stands in a table.
type figureRow struct {
	At                                                 string
	Completed, Failed                                  int64
	WaitingHalf, WaitingMost, RunningHalf, RunningMost string
}

func figureRows(series *backend.Series) (rows []figureRow) {
	for i := range series.Points {
		p := &series.Points[i]
		row := figureRow{At: p.At.UTC().Format("2 Jan 15:04"), Completed: p.Completed, Failed: operate.Failed(&p.Figures)}
		if p.Waiting.Count() > 0 {
			row.WaitingHalf, row.WaitingMost = short(p.Waiting.Quantile(0.5)), short(p.Waiting.Quantile(0.95))
		}
		if p.Running.Count() > 0 {
			row.RunningHalf, row.RunningMost = short(p.Running.Quantile(0.5)), short(p.Running.Quantile(0.95))
		}
		rows = append(rows, row)
	}
	slices.Reverse(rows) // the newest first
	return rows
}

func (d *Dashboard) figurePage(q *request) error {
	values := q.URL.Query()
	body := struct {
		Queue, Kind string
		Span        span
		Spans       []span
		All, Kinds  []string
		Charts      []chart
		Rows        []figureRow
		Empty       bool
		Left        int
	}{Queue: values.Get("queue"), Kind: values.Get("kind"), Span: spans[0], Spans: spans}
	if name := values.Get("span"); name != "" {
		i := slices.IndexFunc(spans, func(s span) bool { return s.Name == name })
		if i < 0 {
			return failed(http.StatusBadRequest, "there is no span %.20q; there are hour, day and week", name)
		}
		body.Span = spans[i]
	}
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	for i := range look.Queues {
		body.All = append(body.All, look.Queues[i].Name)
	}
	s := selection{Queue: body.Queue}
	queues, err := s.queuesOf(look)
	if err != nil {
		return err
	}
	names := operate.Busiest(queues)
	body.Left = len(queues) - len(names)
	series, err := d.figures.of(q.Context(), names, body.Kind, body.Span, look.At)
	if err != nil {
		return err
	}
	body.Kinds = series.Kinds
	if total := series.Total(); len(series.Points) == 0 || total.Started == 0 && total.Completed == 0 && operate.Failed(&total) == 0 {
		body.Empty = true
	} else {
		body.Charts = charts(&series)
		body.Rows = figureRows(&series)
	}
	every := 5
	if body.Span.step > time.Minute {
		every = 60
	}
	return d.render(q, http.StatusOK, view{Name: "figures", Title: "Figures", Nav: "figures", Now: look.At, Every: every, Body: body})
}

func charts(series *backend.Series) []chart {
	return []chart{
		throughput(series),
		latency(series, "How long jobs waited for their first attempt", func(f *backend.Figures) *backend.Histogram { return &f.Waiting }),
		latency(series, "How long attempts ran", func(f *backend.Figures) *backend.Histogram { return &f.Running }),
	}
}

// lastHour is the throughput of queues in the last hour.
type lastHour struct {
	Chart chart
	// Any is false if nothing happened.
	Any bool
	// Forecast is when what waits is done, of one queue.
	Forecast operate.Forecast
	Queue    string
}

func (d *Dashboard) lastHour(ctx context.Context, look *operate.Look, queues []backend.QueueInfo) (h lastHour, err error) {
	series, err := d.figures.of(ctx, operate.Busiest(queues), "", spans[0], look.At)
	if err != nil {
		return h, err
	}
	total := series.Total()
	h.Chart, h.Any = throughput(&series), total.Completed+operate.Failed(&total) > 0
	if len(queues) == 1 {
		h.Queue = queues[0].Name
		h.Forecast = operate.Drained(queues[0].Counts[backend.StateWaiting], &series)
	}
	return h, nil
}
