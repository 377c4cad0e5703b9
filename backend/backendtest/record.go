package backendtest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// thisMinute is the beginning of the minute.
func thisMinute() time.Time { return time.Now().UTC().Truncate(time.Minute) }

// counted are figures of jobs of a kind that ran for some times this minute.
func counted(queue, kind string, ran ...time.Duration) backend.Figure {
	f := backend.Figure{Queue: queue, Kind: kind, Minute: thisMinute()}
	for _, d := range ran {
		f.Started++
		f.Completed++
		f.Waiting.Observe(d / 2)
		f.Running.Observe(d)
	}
	return f
}

func happened(queue, id string) backend.Event {
	return backend.Event{Type: "completed", Queue: queue, ID: id, Kind: "kind", Attempt: 1, At: pastInstant, Worker: "w"}
}

// record makes a new call of Record.
func (w *worker) record(figures []backend.Figure, events ...backend.Event) backend.Record {
	w.Helper()
	w.calls++
	r := backend.Record{Worker: w.id, Call: w.calls, Figures: figures, Events: events}
	require.NoError(w, w.Record(w.ctx, r))
	return r
}

// figures reads a series of queue "q".
func (k *kit) figures(kind string, step time.Duration) backend.Series {
	k.Helper()
	s, err := k.Figures(k.ctx, backend.FiguresQuery{Queue: "q", Kind: kind, Step: step})
	require.NoError(k, err)
	require.Equal(k, "q", s.Queue)
	require.Equal(k, kind, s.Kind)
	require.Equal(k, step, s.Step)
	require.WithinDuration(k, time.Now(), s.Now, patience)
	return s
}

// total is the sum of a series of queue "q".
func (k *kit) total(kind string) backend.Figures {
	k.Helper()
	minutes, hours := k.figures(kind, time.Minute), k.figures(kind, time.Hour)
	total := minutes.Total()
	require.Equal(k, total, hours.Total(), "the hours have what the minutes have")
	return total
}

// events reads the journal of a queue to its end, in pages.
func (k *kit) events(query backend.EventsQuery) (ids []string, next string) {
	k.Helper()
	for {
		page, err := k.Events(k.ctx, query)
		require.NoError(k, err)
		for _, e := range page.Events {
			ids = append(ids, e.ID)
		}
		query.After = page.Next
		if len(page.Events) == 0 {
			return ids, page.Next
		}
	}
}

var recordTests = []test{
	{"figures add up, by kind and together, by minute and by hour", func(k *kit) {
		k.enqueueAll("a")
		v, w := k.worker("v"), k.worker("w")
		mail := counted("q", "mail", time.Millisecond, 30*time.Second)
		rare := backend.Figure{Queue: "q", Kind: "report", Minute: thisMinute(), Figures: backend.Figures{
			Started: 1, Retried: 2, Snoozed: 3, Cancelled: 4, Died: 5, HandedBack: 6, Parked: 1 << 50,
		}}
		rare.Waiting.Observe(1 << 62)
		v.record([]backend.Figure{mail, rare, mail})
		w.record([]backend.Figure{mail})
		w.record([]backend.Figure{mail})

		var four, all backend.Figures
		for range 4 {
			four.Add(&mail.Figures)
		}
		all.Add(&four)
		all.Add(&rare.Figures)
		require.Equal(k, four, k.total("mail"))
		require.Equal(k, rare.Figures, k.total("report"))
		require.Equal(k, all, k.total(""))
		require.Equal(k, backend.Figures{}, k.total("other"))
		require.Equal(k, []string{"mail", "report"}, k.figures("mail", time.Minute).Kinds)
	}},
	{"figures are found in the step of their minute", func(k *kit) {
		k.enqueueAll("a")
		f := counted("q", "mail", time.Second)
		var figures []backend.Figure
		for _, ago := range []time.Duration{0, time.Minute, 2 * time.Minute, 90 * time.Minute} {
			f.Minute = thisMinute().Add(-ago)
			figures = append(figures, f)
		}
		k.worker("w").record(figures)
		for i := range figures {
			at := figures[i].Minute
			s, err := k.Figures(k.ctx, backend.FiguresQuery{Queue: "q", From: at, To: at})
			require.NoError(k, err)
			require.Equal(k, []backend.Point{{At: at, Figures: f.Figures}}, s.Points)
			hour, err := k.Figures(k.ctx, backend.FiguresQuery{Queue: "q", Kind: "mail", From: at, To: at, Step: time.Hour})
			require.NoError(k, err)
			require.Len(k, hour.Points, 1)
			require.Positive(k, hour.Points[0].Completed)
		}
		s, err := k.Figures(k.ctx, backend.FiguresQuery{Queue: "q", From: figures[2].Minute, Step: 30 * time.Minute})
		require.NoError(k, err)
		total := s.Total()
		require.EqualValues(k, 3, total.Completed)
	}},
	{"figures that are too old or of the future are left out", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		for _, off := range []time.Duration{
			-backend.HoursKept - time.Hour, time.Hour, 10 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour,
		} {
			f := counted("q", "mail", time.Second)
			f.Minute = f.Minute.Add(off)
			w.record([]backend.Figure{f})
		}
		require.Equal(k, backend.Figures{}, k.total(""))
		old := counted("q", "mail", time.Second)
		old.Minute = old.Minute.Add(-backend.MinutesKept - time.Hour)
		w.record([]backend.Figure{old})
		minutes, hours := k.figures("", time.Minute), k.figures("", time.Hour)
		require.Equal(k, backend.Figures{}, minutes.Total())
		require.Equal(k, old.Figures, hours.Total())
	}},
	{"kinds beyond the bound are summed up", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		var figures []backend.Figure
		for i := range backend.MaxFigureKinds + 5 {
			figures = append(figures, counted("q", fmt.Sprintf("kind-%03d", i), time.Second))
		}
		w.record(figures[:50])
		w.record(figures[40:])
		w.record(figures[:1])
		s := k.figures("", time.Minute)
		require.Len(k, s.Kinds, backend.MaxFigureKinds+1)
		require.Equal(k, backend.OtherKinds, s.Kinds[0])
		count := func(kind string) int64 { f := k.total(kind); return f.Completed }
		require.EqualValues(k, 2, count("kind-000"))
		require.EqualValues(k, 2, count("kind-045"))
		require.EqualValues(k, 1, count(fmt.Sprintf("kind-%03d", backend.MaxFigureKinds-1)))
		require.EqualValues(k, 0, count(fmt.Sprintf("kind-%03d", backend.MaxFigureKinds)))
		require.EqualValues(k, 5, count(backend.OtherKinds))
		require.EqualValues(k, backend.MaxFigureKinds+5+10+1, count(""))
	}},
	{"a record that is repeated after a lost reply counts once", func(k *kit) {
		k.enqueue(job("a"), job("b", in("other")))
		v, w := k.worker("v"), k.worker("w")
		f := counted("q", "mail", time.Second)
		first := v.record([]backend.Figure{f, counted("other", "mail", time.Second)}, happened("q", "a"), happened("", ""), happened("other", "b"))
		for range 2 {
			require.NoError(k, k.Record(k.ctx, first))
		}
		require.Equal(k, f.Figures, k.total(""))
		w.record([]backend.Figure{f}, happened("q", "b"))
		require.NoError(k, k.Record(k.ctx, first), "another worker came between")
		v.record([]backend.Figure{f}, happened("q", "c"))
		require.NoError(k, k.Record(k.ctx, first), "it came late")
		total := k.total("mail")
		require.EqualValues(k, 3, total.Completed)
		ids, _ := k.events(backend.EventsQuery{Queue: "q"})
		require.Equal(k, []string{"a", "b", "c"}, ids)
		ids, _ = k.events(backend.EventsQuery{Queue: "other"})
		require.Equal(k, []string{"b"}, ids)
		ids, _ = k.events(backend.EventsQuery{})
		require.Len(k, ids, 1)
	}},
	{"an event comes out as it was recorded", func(k *kit) {
		k.enqueueAll("a")
		all := []backend.Event{
			{Type: "worker-quiet", At: pastInstant, Queue: "q"},
			{
				Type: "died", At: pastInstant.Add(123), Queue: "q", Worker: "w", ID: "a\n\x00☃", Kind: "mail:welcome", Attempt: 25,
				Error: "50% \"quoted\" <script> \x00 \u2028 ☃", Took: time.Hour + 1, Jobs: 1 << 40,
			},
			{Type: "retried", At: pastInstant, Queue: "q", Error: strings.Repeat("x", backend.MaxEventError)},
		}
		k.worker("w").record(nil, all...)
		page, err := k.Events(k.ctx, backend.EventsQuery{Queue: "q"})
		require.NoError(k, err)
		require.Equal(k, all, page.Events)
		require.False(k, page.Overtaken)
	}},
	{"a journal is followed from a position", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		page, err := k.Events(k.ctx, backend.EventsQuery{Queue: "q"})
		require.NoError(k, err)
		require.Empty(k, page.Events)
		beginning := page.Next
		require.NotEmpty(k, beginning)
		w.record(nil, happened("q", "1"), happened("", "not in q"), happened("q", "2"))
		w.record(nil, happened("q", "3"))
		ids, next := k.events(backend.EventsQuery{Queue: "q", After: beginning, Limit: 2})
		require.Equal(k, []string{"1", "2", "3"}, ids)
		ids, again := k.events(backend.EventsQuery{Queue: "q", After: next})
		require.Empty(k, ids)
		require.Equal(k, next, again, "nothing came")
		w.record(nil, happened("q", "4"))
		ids, _ = k.events(backend.EventsQuery{Queue: "q", After: next})
		require.Equal(k, []string{"4"}, ids)
		for last, want := range map[int][]string{1: {"4"}, 3: {"2", "3", "4"}, 100: {"1", "2", "3", "4"}} {
			page, err := k.Events(k.ctx, backend.EventsQuery{Queue: "q", Last: last})
			require.NoError(k, err)
			ids := []string{}
			for _, e := range page.Events {
				ids = append(ids, e.ID)
			}
			require.Equal(k, want, ids, "the last %d", last)
		}
		page, err = k.Events(k.ctx, backend.EventsQuery{Queue: "q", After: "1000000"})
		require.NoError(k, err)
		require.True(k, page.Overtaken, "the journal is another one")
		require.Len(k, page.Events, 4)
	}},
	{"a journal keeps the last events, and who comes too late is told so", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		w.record(nil, happened("q", "first"), happened("q", "second"))
		page, err := k.Events(k.ctx, backend.EventsQuery{Queue: "q", Limit: 1})
		require.NoError(k, err)
		early := page.Next
		const batches = 2 + backend.MaxJournal/backend.MaxRecordEvents
		for i := range batches {
			events := make([]backend.Event, backend.MaxRecordEvents)
			for j := range events {
				events[j] = happened("q", fmt.Sprint(i*len(events)+j))
			}
			w.record(nil, events...)
		}
		page, err = k.Events(k.ctx, backend.EventsQuery{Queue: "q", After: early, Limit: 1})
		require.NoError(k, err)
		require.True(k, page.Overtaken)
		ids, _ := k.events(backend.EventsQuery{Queue: "q", Limit: backend.MaxEvents})
		require.Equal(k, page.Events[0].ID, ids[0], "it goes on with the oldest one")
		require.GreaterOrEqual(k, len(ids), backend.MaxJournal)
		require.Less(k, len(ids), backend.MaxJournal+backend.MaxRecordEvents)
		const last = batches*backend.MaxRecordEvents - 1
		for i, id := range ids {
			require.Equal(k, fmt.Sprint(last-len(ids)+1+i), id)
		}
		page, err = k.Events(k.ctx, backend.EventsQuery{Queue: "q", After: page.Next})
		require.NoError(k, err)
		require.False(k, page.Overtaken)
	}},
	{"of a queue that is not there nothing is kept, and it is not made", func(k *kit) {
		k.worker("w").record([]backend.Figure{counted("q", "mail", time.Second)}, happened("q", "a"))
		_, err := k.Queue(k.ctx, "q")
		require.ErrorIs(k, err, backend.ErrNotFound)
		require.Equal(k, backend.Figures{}, k.total(""))
		require.Empty(k, k.figures("", time.Minute).Kinds)
		k.enqueueAll("a")
		require.Equal(k, backend.Figures{}, k.total(""))
		ids, _ := k.events(backend.EventsQuery{Queue: "q"})
		require.Empty(k, ids)
	}},
	{"a record in which anything is wrong has no effect", func(k *kit) {
		k.enqueueAll("a")
		good, bad := counted("q", "mail", time.Second), counted("q", "mail", time.Second)
		for want, r := range map[string]backend.Record{
			"names no worker":             {Worker: "", Call: 1},
			"call number 0":               {Call: 0},
			"figure 2 of 2":               {Call: 1, Figures: []backend.Figure{good, {Queue: "q", Kind: "mail"}}},
			"beginning of one":            {Call: 1, Figures: []backend.Figure{{Queue: "q", Kind: "mail", Minute: thisMinute().Add(1)}}},
			"queue name \"a b\"":          {Call: 1, Figures: []backend.Figure{{Queue: "a b", Kind: "mail", Minute: thisMinute()}}},
			"the kind has no name":        {Call: 1, Figures: []backend.Figure{{Queue: "q", Minute: thisMinute()}}},
			"a count of -1":               {Call: 1, Figures: []backend.Figure{good, {Queue: "q", Kind: "mail", Minute: bad.Minute, Figures: backend.Figures{Died: -1}}}},
			"a histogram of 33 buckets":   {Call: 1, Figures: []backend.Figure{{Queue: "q", Kind: "mail", Minute: bad.Minute, Figures: backend.Figures{Running: backend.Histogram{Buckets: make([]int64, 33)}}}}},
			"the event has no name":       {Call: 1, Events: []backend.Event{happened("q", "a"), {}}},
			"its error has 301 bytes":     {Call: 1, Events: []backend.Event{{Type: "died", Error: strings.Repeat("x", 301)}}},
			"1001 figures in one call":    {Call: 1, Figures: make([]backend.Figure, 1001)},
			"1001 events in one call":     {Call: 1, Events: make([]backend.Event, 1001)},
			"the year 30000":              {Call: 1, Events: []backend.Event{{Type: "died", At: time.Date(30000, 1, 1, 0, 0, 0, 0, time.UTC)}}},
			"it has a negative number":    {Call: 1, Events: []backend.Event{{Type: "died", Took: -1}}},
			"longer than those of jobs m": {Call: 1, Events: []backend.Event{{Type: "died", ID: strings.Repeat("x", 201)}}},
		} {
			if want != "names no worker" {
				r.Worker = "w"
			}
			err := k.Record(k.ctx, r)
			require.ErrorIs(k, err, backend.ErrRejected, want)
			require.ErrorContains(k, err, want)
		}
		require.Equal(k, backend.Figures{}, k.total(""))
		ids, _ := k.events(backend.EventsQuery{Queue: "q"})
		require.Empty(k, ids)
		for want, q := range map[string]backend.EventsQuery{
			"a page of 1001 events":       {Limit: 1001},
			"the last -1 events":          {Last: -1},
			"the position \"soon\" is":    {After: "soon"},
			"the position \"-1\" is none": {After: "-1"},
		} {
			_, err := k.Events(k.ctx, q)
			require.ErrorIs(k, err, backend.ErrRejected, want)
			require.ErrorContains(k, err, want)
		}
		_, err := k.Figures(k.ctx, backend.FiguresQuery{Queue: "q", Step: 1})
		require.ErrorIs(k, err, backend.ErrRejected)
	}},
	{"the largest record is taken, and what many workers record adds up", func(k *kit) {
		k.enqueue(job("a"), job("b", in("other")))
		f := counted("q", "mail", time.Second)
		for i := range backend.HistogramBuckets - 1 {
			f.Running.Observe(backend.BucketBound(i))
		}
		full := backend.Record{Worker: "w", Call: 1}
		for i := range backend.MaxRecordFigures {
			f.Queue, f.Kind = []string{"q", "other"}[i%2], strings.Repeat("k", 90)+fmt.Sprint(i%9)
			full.Figures = append(full.Figures, f)
		}
		for i := range backend.MaxRecordEvents {
			e := happened([]string{"q", "other"}[i%2], fmt.Sprint(i)+strings.Repeat("i", backend.MaxIDLength-4))
			e.Kind, e.Error = strings.Repeat("k", 100), strings.Repeat("\x00", backend.MaxEventError)
			full.Events = append(full.Events, e)
		}
		require.NoError(k, k.Record(k.ctx, full))
		var workers sync.WaitGroup
		errs := make([]error, 8)
		for n := range errs {
			workers.Go(func() {
				for call := range 5 {
					errs[n] = k.Record(k.ctx, backend.Record{
						Worker: fmt.Sprint("w-", n), Call: uint64(call + 1), Figures: full.Figures[:20], Events: full.Events[:20],
					})
				}
			})
		}
		workers.Wait()
		for _, err := range errs {
			require.NoError(k, err)
		}
		total := k.total("")
		require.EqualValues(k, backend.MaxRecordFigures/2+8*5*10, total.Completed)
		ids, _ := k.events(backend.EventsQuery{Queue: "q", Limit: 77})
		require.Len(k, ids, backend.MaxRecordEvents/2+8*5*10)
	}},
}
