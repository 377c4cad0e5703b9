package metrics

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/internal/logs"
	"github.com/caddis-go/caddis/jobs"
)

const (
	// DefaultMaxQueues is how many queues have series of their own.
	DefaultMaxQueues = 500
	// DefaultEvery is how often the store is read at most.
	DefaultEvery = 5 * time.Second
	// DefaultTimeout bounds one reading.
	DefaultTimeout = 5 * time.Second
)

// StoreConfig says how [Store] reads. The zero value is right for most.
type StoreConfig struct {
	// MaxQueues bounds the number of series: of more queues those with the most unfinished
	// jobs have series of their own, and the jobs of the rest are summed up as [Other]. 0
	// means DefaultMaxQueues.
	MaxQueues int
	// Every is how often the store is read at most, however often it is scraped. 0 means
	// DefaultEvery.
	Every time.Duration
	// Timeout bounds one reading. 0 means DefaultTimeout.
	Timeout time.Duration
	// Logger hears of readings that fail. nil means slog.Default.
	Logger *slog.Logger
}

// Store is a [prometheus.Collector] of what the store says of all queues and workers.
// While the store does not answer, caddis_store_up is 0 and there is nothing else.
type Store struct {
	client *jobs.Client
	config StoreConfig

	mu   sync.Mutex
	last reading
}

// reading is what the store said at an instant.
type reading struct {
	at      time.Time
	took    time.Duration
	queues  []backend.QueueInfo
	workers []backend.WorkerInfo
	err     error
}

var (
	storeUp = prometheus.NewDesc("caddis_store_up",
		"1 if the job store answers, else 0.", nil, nil)
	storeSeconds = prometheus.NewDesc("caddis_store_read_seconds",
		"How long it took to read the queues and workers from the job store.", nil, nil)
	queueJobs = prometheus.NewDesc("caddis_queue_jobs",
		"Jobs in a queue, by state.", []string{"queue", "state"}, nil)
	queueOldest = prometheus.NewDesc("caddis_queue_oldest_waiting_seconds",
		"How long ago the job at the head of those that wait was enqueued; 0 if none waits.", []string{"queue"}, nil)
	queuePaused = prometheus.NewDesc("caddis_queue_paused",
		"1 if the queue is paused, else 0.", []string{"queue"}, nil)
	queueWorkers = prometheus.NewDesc("caddis_queue_workers",
		"Workers that take jobs from a queue now.", []string{"queue"}, nil)
	queueEvents = prometheus.NewDesc("caddis_queue_events_total",
		"What ever happened to the jobs of a queue, on all workers.", []string{"queue", "event"}, nil)
	workers = prometheus.NewDesc("caddis_workers",
		"Workers, by state.", []string{"state"}, nil)
	executors = prometheus.NewDesc("caddis_executors",
		"Executors of all workers, by whether they run a job.", []string{"state"}, nil)
)

// NewStore makes a collector of the store of a client.
func NewStore(client *jobs.Client, config StoreConfig) *Store {
	config.MaxQueues = cmp.Or(max(0, config.MaxQueues), DefaultMaxQueues)
	config.Every = cmp.Or(max(0, config.Every), DefaultEvery)
	config.Timeout = cmp.Or(max(0, config.Timeout), DefaultTimeout)
	config.Logger = logs.Guard(cmp.Or(config.Logger, slog.Default())) // it is called by goroutines of Prometheus
	return &Store{client: client, config: config}
}

// Describe implements [prometheus.Collector].
func (s *Store) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		storeUp, storeSeconds, queueJobs, queueOldest, queuePaused, queueWorkers, queueEvents, workers, executors,
	} {
		descriptions <- d
	}
}

// Collect implements [prometheus.Collector]. It reads the store, unless it has done so a
// moment ago.
func (s *Store) Collect(metrics chan<- prometheus.Metric) {
	r := s.read()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(storeSeconds, r.took.Seconds())
	if r.err != nil {
		gauge(storeUp, 0)
		return
	}
	gauge(storeUp, 1)
	for _, q := range bounded(r.queues, s.config.MaxQueues) {
		for _, state := range backend.States {
			gauge(queueJobs, float64(q.Counts[state]), q.Name, string(state))
		}
		oldest := 0.0
		if !q.OldestWaiting.IsZero() {
			oldest = max(0, r.at.Sub(q.OldestWaiting).Seconds()) // the clocks may differ
		}
		gauge(queueOldest, oldest, q.Name)
		if q.Name == Other { // which is no queue, and whose counters would go down as others leave it
			continue
		}
		gauge(queuePaused, number(q.Paused), q.Name)
		gauge(queueWorkers, float64(takers(r.workers, q.Name)), q.Name)
		for event, n := range map[jobs.EventType]int64{
			jobs.EventCompleted: q.Completed, jobs.EventRetried: q.Failed, jobs.EventCancelled: q.Cancelled,
			jobs.EventDied: q.Dead, jobs.EventRecovered: q.Crashed,
		} {
			metrics <- prometheus.MustNewConstMetric(queueEvents, prometheus.CounterValue, float64(n), q.Name, string(event))
		}
	}
	states, busy, all := map[string]int{}, 0, 0
	for i := range r.workers {
		w := &r.workers[i]
		states[w.State]++
		busy, all = busy+w.Running, all+w.Concurrency
	}
	for state, n := range states {
		gauge(workers, float64(n), state)
	}
	gauge(executors, float64(busy), "busy")
	gauge(executors, float64(max(0, all-busy)), "free")
}

// read reads the store; who comes meanwhile gets the same answer.
func (s *Store) read() reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.at.IsZero() && time.Since(s.last.at) < s.config.Every {
		return s.last
	}
	began := time.Now()
	r := s.ask()
	r.at = time.Now()
	r.took = r.at.Sub(began)
	if r.err != nil {
		s.config.Logger.Warn("metrics: the job store could not be read", "error", r.err)
	}
	s.last = r
	return r
}

func (s *Store) ask() (r reading) {
	defer func() {
		if value := recover(); value != nil { // the store may be the user's
			r = reading{err: fmt.Errorf("the job store panicked: %v", value)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Timeout)
	defer cancel()
	if r.queues, r.err = s.client.Queues(ctx); r.err != nil {
		return r
	}
	r.workers, r.err = s.client.Workers(ctx)
	return r
}

// bounded sums up the jobs of what is more than limit queues: of those with the fewest
// unfinished ones.
func bounded(queues []backend.QueueInfo, limit int) []backend.QueueInfo {
	if len(queues) <= limit {
		return queues
	}
	queues = slices.Clone(queues)
	slices.SortStableFunc(queues, func(a, b backend.QueueInfo) int { return cmp.Compare(unfinished(&b), unfinished(&a)) })
	rest := backend.QueueInfo{Name: Other, Counts: map[backend.State]int64{}}
	for i := range queues[limit:] {
		q := &queues[limit+i]
		for state, n := range q.Counts {
			rest.Counts[state] += n
		}
		if rest.OldestWaiting.IsZero() || !q.OldestWaiting.IsZero() && q.OldestWaiting.Before(rest.OldestWaiting) {
			rest.OldestWaiting = q.OldestWaiting
		}
	}
	return append(queues[:limit], rest)
}

func unfinished(q *backend.QueueInfo) (n int64) {
	for state, more := range q.Counts {
		if !state.Final() {
			n += more
		}
	}
	return n
}

// takers counts the workers that would take a job of a queue now.
func takers(workers []backend.WorkerInfo, queue string) (n int) {
	for i := range workers {
		w := &workers[i]
		if w.State == "running" && slices.Contains(w.Queues, queue) && !slices.Contains(w.Closed, queue) {
			n++
		}
	}
	return n
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
