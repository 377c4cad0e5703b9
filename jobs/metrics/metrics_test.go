package metrics_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/metrics"
)

// scrape asks collectors as Prometheus does.
func scrape(t *testing.T, collectors ...prometheus.Collector) string {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors...)
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, r)
	require.Equal(t, 200, w.Code, w.Body)
	return w.Body.String()
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

type letter struct{ Fail bool }

func (letter) Kind() string { return "letter" }

func TestAWorkersEventsAndItsStoreAreCounted(t *testing.T) {
	t.Parallel()
	events := metrics.NewEvents(metrics.EventsConfig{})
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[letter]) error {
		if job.Args.Fail {
			return jobs.Discard(errors.New("no use"))
		}
		return nil
	})
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	system, err := caddis.New(caddis.Config{Registry: registry, Backend: store, Queues: []string{"mail"}, Concurrency: 3, OnEvent: events.Observe, Logger: silent()})
	require.NoError(t, err)
	for _, fail := range []bool{false, false, true} {
		_, err = system.Client().Enqueue(t.Context(), letter{Fail: fail}, jobs.Queue("mail"))
		require.NoError(t, err)
	}
	_, err = system.Client().Enqueue(t.Context(), letter{}, jobs.Queue("mail"), jobs.In(time.Hour))
	require.NoError(t, err)

	reader := metrics.NewStore(system.Client(), metrics.StoreConfig{Every: time.Nanosecond, Logger: silent()})
	waiting := scrape(t, reader)
	require.Contains(t, waiting, `caddis_queue_jobs{queue="mail",state="waiting"} 3.0`)
	require.Contains(t, waiting, `caddis_queue_jobs{queue="mail",state="scheduled"} 1.0`)
	require.Contains(t, waiting, `caddis_queue_workers{queue="mail"} 0.0`)

	require.NoError(t, system.Start(t.Context()))
	require.Eventually(t, func() bool { return system.Status().Counts.Completed == 2 && system.Status().Counts.Dead == 1 }, 20*time.Second, time.Millisecond)
	var text string
	require.Eventually(t, func() bool {
		text = scrape(t, reader)
		return strings.Contains(text, `caddis_executors{state="free"} 3.0`) // its record tells of a moment ago
	}, 20*time.Second, 10*time.Millisecond)
	for _, line := range []string{
		"caddis_store_up 1.0",
		`caddis_queue_jobs{queue="mail",state="waiting"} 0.0`,
		`caddis_queue_oldest_waiting_seconds{queue="mail"} 0.0`,
		`caddis_queue_events_total{event="completed",queue="mail"} 2.0`,
		`caddis_queue_events_total{event="died",queue="mail"} 1.0`,
		`caddis_queue_events_total{event="recovered",queue="mail"} 0.0`,
		`caddis_queue_workers{queue="mail"} 1.0`,
		`caddis_queue_paused{queue="mail"} 0.0`,
		`caddis_workers{state="running"} 1.0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	_, err = system.Stop().Wait(t.Context())
	require.NoError(t, err)
	text = scrape(t, events)
	for _, line := range []string{
		`caddis_events_total{event="enqueued",kind="letter",queue="mail"} 3.0`,
		`caddis_events_total{event="scheduled",kind="letter",queue="mail"} 1.0`,
		`caddis_events_total{event="started",kind="letter",queue="mail"} 3.0`,
		`caddis_events_total{event="completed",kind="letter",queue="mail"} 2.0`,
		`caddis_events_total{event="died",kind="letter",queue="mail"} 1.0`,
		`caddis_events_total{event="worker-started",kind="",queue=""} 1.0`,
		`caddis_events_total{event="worker-stopped",kind="",queue=""} 1.0`,
		`caddis_run_seconds_count{event="completed",kind="letter",queue="mail"} 2`,
		`caddis_wait_seconds_count{kind="letter",queue="mail"} 3`,
	} {
		require.Contains(t, text, line+"\n")
	}
}

func started(queue string, mend func(*jobs.Info)) jobs.Event {
	due := time.Unix(1000, 0)
	info := &jobs.Info{Queue: queue, Kind: "letter", Attempt: 1, DueAt: due}
	if mend != nil {
		mend(info)
	}
	return jobs.Event{Type: jobs.EventStarted, At: due.Add(2 * time.Second), Job: info, Jobs: 1}
}

func TestOnlyTheWaitOfAFirstAttemptIsKnown(t *testing.T) {
	t.Parallel()
	events := metrics.NewEvents(metrics.EventsConfig{})
	for _, mend := range []func(*jobs.Info){
		nil,
		func(i *jobs.Info) { i.Attempt = 2 },
		func(i *jobs.Info) { i.Snoozes = 1 },
		func(i *jobs.Info) { i.Crashes = 1 },
		func(i *jobs.Info) { i.DueAt = time.Time{} },
	} {
		events.Observe(started("mail", mend))
	}
	text := scrape(t, events)
	require.Contains(t, text, `caddis_wait_seconds_count{kind="letter",queue="mail"} 1`+"\n")
	require.Contains(t, text, `caddis_wait_seconds_sum{kind="letter",queue="mail"} 2.0`+"\n")
}

func TestRecoveredJobsAreCountedAsManyAsTheyAre(t *testing.T) {
	t.Parallel()
	events := metrics.NewEvents(metrics.EventsConfig{})
	events.Observe(jobs.Event{Type: jobs.EventRecovered, Jobs: 7})
	require.Contains(t, scrape(t, events), `caddis_events_total{event="recovered",kind="",queue=""} 7.0`)
}

func TestATraceThatIsKeptIsTheExemplarOfItsJob(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for header, want := range map[string]bool{
		"00-" + trace + "-00f067aa0ba902b7-01":                  true,
		"00-" + trace + "-00f067aa0ba902b7-00":                  false,
		"00-" + trace[1:] + "-00f067aa0ba902b7-01":              false,
		"00-" + strings.ToUpper(trace) + "-00f067aa0ba902b7-01": false,
		"00-\n\"" + trace[2:] + "-00f067aa0ba902b7-01":          false,
		"nonsense":                            false,
		"":                                    false,
		strings.Repeat("-", 1000):             false,
		"00-" + trace + "-00f067aa0ba902b7-0": false,
	} {
		events := metrics.NewEvents(metrics.EventsConfig{})
		events.Observe(started("mail", func(i *jobs.Info) { i.Headers = map[string]string{"traceparent": header} }))
		require.Equal(t, want, strings.Contains(scrape(t, events), `{trace_id="`+trace+`"}`), header)
	}
}

func TestQueuesAndKindsBeyondTheBoundAreCountedTogether(t *testing.T) {
	t.Parallel()
	events := metrics.NewEvents(metrics.EventsConfig{MaxPairs: 2})
	for _, queue := range []string{"a", "b", "c", "d", "a"} {
		events.Observe(started(queue, nil))
	}
	text := scrape(t, events)
	require.Contains(t, text, `caddis_events_total{event="started",kind="letter",queue="a"} 2.0`)
	require.Contains(t, text, `caddis_events_total{event="started",kind="(other)",queue="(other)"} 2.0`)
	require.NotContains(t, text, `queue="c"`)

	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	for queue, n := range map[string]int{"few": 1, "many": 3, "some": 2} {
		for range n {
			_, err = client.Enqueue(t.Context(), letter{}, jobs.Queue(queue))
			require.NoError(t, err)
		}
	}
	text = scrape(t, metrics.NewStore(client, metrics.StoreConfig{MaxQueues: 1, Logger: silent()}))
	require.Contains(t, text, `caddis_queue_jobs{queue="many",state="waiting"} 3.0`)
	require.Contains(t, text, `caddis_queue_jobs{queue="(other)",state="waiting"} 3.0`)
	require.NotContains(t, text, `caddis_queue_events_total{event="completed",queue="(other)"}`)
}

// moody is a store that answers, fails or panics.
type moody struct {
	backend.Backend
	asked int
	queue func() ([]backend.QueueInfo, error)
}

func (m *moody) Queues(context.Context) ([]backend.QueueInfo, error) {
	m.asked++
	return m.queue()
}

// explosive is a handler of logs with a fault, which is to end no process.
type explosive struct{ slog.Handler }

func (explosive) Enabled(context.Context, slog.Level) bool { return true }

func (explosive) Handle(context.Context, slog.Record) error { panic("a fault of the log") }

func TestAStoreThatFailsIsDownAndIsNotAskedMoreOftenThanAllowed(t *testing.T) {
	t.Parallel()
	store := &moody{queue: func() ([]backend.QueueInfo, error) { return nil, backend.ErrUnavailable }}
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	for name, answer := range map[string]func() ([]backend.QueueInfo, error){
		"fails":  store.queue,
		"panics": func() ([]backend.QueueInfo, error) { panic("in the store") },
	} {
		store.queue, store.asked = answer, 0
		reader := metrics.NewStore(client, metrics.StoreConfig{Every: time.Hour, Logger: slog.New(explosive{})})
		for range 3 {
			text := scrape(t, reader)
			require.Contains(t, text, "caddis_store_up 0.0\n", name)
			require.NotContains(t, text, "caddis_queue_jobs{", name)
		}
		require.Equal(t, 1, store.asked, name)
	}
}
