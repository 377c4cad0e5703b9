package backendtest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// recorded is what was recorded of a queue: the sum of the figures of each kind, and the
// ids of the events.
type recorded struct {
	figures map[string]*backend.Figures
	events  []string
	// calls has the number of each worker's last Record.
	calls map[string]uint64
}

func (r *recorded) record(record *backend.Record) {
	if record.Call <= r.calls[record.Worker] {
		return
	}
	r.calls[record.Worker] = record.Call
	for i := range record.Figures {
		for _, kind := range []string{"", record.Figures[i].Kind} {
			if r.figures[kind] == nil {
				r.figures[kind] = &backend.Figures{}
			}
			r.figures[kind].Add(&record.Figures[i].Figures)
		}
	}
	for _, e := range record.Events {
		r.events = append(r.events, e.ID)
	}
}

// record sends what a worker has to tell, and often again, as after a lost reply.
func (p *player) record() {
	if !p.model.known {
		return
	}
	w := p.worker()
	if w.record.Call == 0 || rapid.IntRange(0, 3).Draw(p.T, "again") > 0 {
		w.record = backend.Record{Worker: w.id, Call: w.record.Call + 1}
		for range rapid.IntRange(0, 3).Draw(p.T, "figures") {
			f := counted(p.queue, rapid.SampledFrom([]string{"kind", "other"}).Draw(p.T, "kind"),
				time.Duration(rapid.IntRange(0, 5000).Draw(p.T, "ran"))*time.Millisecond)
			w.record.Figures = append(w.record.Figures, f)
		}
		for range rapid.IntRange(0, 3).Draw(p.T, "events") {
			p.happened++
			w.record.Events = append(w.record.Events, happened(p.queue, fmt.Sprint(p.happened)))
		}
	}
	require.NoError(p, p.store.Record(p.ctx, w.record))
	p.model.recorded.record(&w.record)
}

// compareRecorded compares figures and events, and goes on with the journal where it was
// last read.
func (p *player) compareRecorded() {
	for _, kind := range []string{"", "kind", "other"} {
		s, err := p.store.Figures(p.ctx, backend.FiguresQuery{Queue: p.queue, Kind: kind})
		require.NoError(p, err)
		want := p.model.recorded.figures[kind]
		if want == nil {
			want = &backend.Figures{}
		}
		require.Equal(p, *want, s.Total(), "kind %q", kind)
	}
	query := backend.EventsQuery{Queue: p.queue, After: p.position, Limit: rapid.IntRange(1, 5).Draw(p.T, "page of events")}
	page, err := p.store.Events(p.ctx, query)
	require.NoError(p, err)
	require.False(p, page.Overtaken)
	rest := p.model.recorded.events[p.followed:]
	require.Len(p, page.Events, min(len(rest), query.Limit))
	for i, e := range page.Events {
		require.Equal(p, rest[i], e.ID)
	}
	p.position, p.followed = page.Next, p.followed+len(page.Events)
}
