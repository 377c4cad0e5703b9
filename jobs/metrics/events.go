// Package metrics tells Prometheus what the jobs do. Only programs that import it compile
// Prometheus' client. The names of all metrics, alerts and a board for Grafana are in
// docs/metrics.md.
//
//	events := metrics.NewEvents(metrics.EventsConfig{})
//	prometheus.MustRegister(events, metrics.NewStore(client, metrics.StoreConfig{}))
//	system, err := caddis.New(caddis.Config{OnEvent: events.Observe, ...})
//
// [Events] counts what happens in this process, so every process has one. [Store] reads
// what the store says of all queues and workers, so one process of the fleet is enough.
package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/internal/series"
)

// DefaultMaxPairs is how many pairs of a queue and a kind have series of their own; Other
// is the queue and the kind of those that have none.
const (
	DefaultMaxPairs = series.DefaultMaxPairs
	Other           = series.Other
)

// DefaultBuckets are the upper bounds of the histograms, in seconds.
func DefaultBuckets() []float64 { return series.Buckets() }

// EventsConfig says how [Events] counts. The zero value is right for most.
type EventsConfig struct {
	// MaxPairs bounds the number of series: of queues and kinds beyond so many pairs all
	// is counted as [Other]. 0 means DefaultMaxPairs.
	MaxPairs int
	// Buckets are the upper bounds of the histograms, in seconds, ascending. Empty means
	// DefaultBuckets.
	Buckets []float64
}

// Events is a [prometheus.Collector] of the events of one process. Its Observe is what
// caddis.Config.OnEvent and jobs.ClientConfig.OnEvent take.
type Events struct {
	pairs  *series.Pairs
	counts *prometheus.CounterVec
	run    *prometheus.HistogramVec
	wait   *prometheus.HistogramVec
}

// NewEvents makes a collector that has counted nothing yet. It panics if the buckets do
// not ascend.
func NewEvents(config EventsConfig) *Events {
	if len(config.Buckets) == 0 {
		config.Buckets = DefaultBuckets()
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: config.Buckets}, labels)
	}
	return &Events{
		pairs: series.NewPairs(config.MaxPairs),
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "caddis_events_total",
			Help: "What happened in this process: to jobs, by queue and kind, and to its workers, where both are empty.",
		}, []string{"event", "queue", "kind"}),
		run: histogram("caddis_run_seconds",
			"How long handlers ran, by what became of the job.", "event", "queue", "kind"),
		wait: histogram("caddis_wait_seconds",
			"How long jobs waited for their first attempt since they were due.", "queue", "kind"),
	}
}

// Describe implements [prometheus.Collector].
func (e *Events) Describe(descriptions chan<- *prometheus.Desc) {
	e.counts.Describe(descriptions)
	e.run.Describe(descriptions)
	e.wait.Describe(descriptions)
}

// Collect implements [prometheus.Collector].
func (e *Events) Collect(metrics chan<- prometheus.Metric) {
	e.counts.Collect(metrics)
	e.run.Collect(metrics)
	e.wait.Collect(metrics)
}

// Observe counts an event. It waits for nothing and is safe for concurrent use.
func (e *Events) Observe(event jobs.Event) {
	queue, kind := e.pairs.Of(event.Job)
	happened := max(1, event.Jobs) // what happens to a worker is about no job
	e.counts.WithLabelValues(string(event.Type), queue, kind).Add(float64(happened))
	switch info := event.Job; {
	case info == nil:
	case event.Type == jobs.EventStarted:
		if wait, known := series.Wait(info, event.At); known {
			observe(e.wait.WithLabelValues(queue, kind), wait.Seconds(), info)
		}
	case event.Took > 0:
		observe(e.run.WithLabelValues(string(event.Type), queue, kind), event.Took.Seconds(), info)
	}
}

// observe adds a value, with the job's trace as its exemplar if the job has one.
func observe(to prometheus.Observer, seconds float64, info *jobs.Info) {
	exemplars, able := to.(prometheus.ExemplarObserver)
	if trace := traceOf(info.Headers["traceparent"]); able && trace != "" {
		exemplars.ObserveWithExemplar(seconds, prometheus.Labels{"trace_id": trace})
		return
	}
	to.Observe(seconds)
}

// traceOf takes the id of a trace from a header as the W3C's Trace Context has it:
// version, trace, parent and flags, of which the last bit says that the trace is kept.
func traceOf(header string) string {
	parts := strings.Split(header, "-")
	if len(parts) < 4 || len(parts[1]) != 32 || len(parts[3]) != 2 || strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	if kept := strings.IndexByte("13579bdf", parts[3][1]) >= 0; !kept {
		return ""
	}
	return parts[1]
}
