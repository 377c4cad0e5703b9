package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/metrics"
)

const docs = "../../docs/"

// collectors are one of each, of a store with a job in it.
func collectors(t *testing.T) (*metrics.Events, *metrics.Store) {
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	events := metrics.NewEvents(metrics.EventsConfig{})
	client, err := jobs.NewClient(store, jobs.ClientConfig{OnEvent: events.Observe})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), letter{}, jobs.Queue("mail"))
	require.NoError(t, err)
	return events, metrics.NewStore(client, metrics.StoreConfig{Every: time.Nanosecond, Logger: silent()})
}

func TestTheTableTheAlertsAndTheBoardNameTheMetricsThatThereAre(t *testing.T) {
	t.Parallel()
	events, store := collectors(t)
	descriptions := make(chan *prometheus.Desc, 100)
	events.Describe(descriptions)
	store.Describe(descriptions)
	close(descriptions)
	are := map[string]bool{}
	name := regexp.MustCompile(`caddis_[a-z_]+`)
	for d := range descriptions {
		are[name.FindString(d.String())] = true
	}
	for _, file := range []string{"metrics.md", "metrics/alerts.yml", "metrics/grafana.json"} {
		text, err := os.ReadFile(docs + file)
		require.NoError(t, err)
		named := map[string]bool{}
		for _, n := range name.FindAllString(string(text), -1) {
			for _, part := range []string{"_bucket", "_sum", "_count"} { // of a histogram
				n = strings.TrimSuffix(n, part)
			}
			named[n] = true
		}
		require.NotEmpty(t, named, file)
		for n := range named {
			require.True(t, are[n], "%s names %s", file, n)
		}
		if file == "metrics.md" {
			require.Equal(t, slices.Sorted(maps.Keys(are)), slices.Sorted(maps.Keys(named)))
		}
	}
	board, err := os.ReadFile(docs + "metrics/grafana.json")
	require.NoError(t, err)
	require.True(t, json.Valid(board))
}

// tool finds a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv(redistest.RequireEnv) == "" {
		t.Skipf("%s is not in PATH", name)
	}
	require.NoError(t, err)
	return path
}

func TestTheAlertsFireWhenTheyShouldAndNotBefore(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	alerts, err := filepath.Abs(docs + "metrics/alerts.yml")
	require.NoError(t, err)
	story, err := os.ReadFile("testdata/alerts_test.yml")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "story.yml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(story), "ALERTS", alerts, 1)), 0o600))
	out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestTheDemandInPromQLIsANumberAlsoIfNothingRan(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	text, err := os.ReadFile(docs + "metrics.md")
	require.NoError(t, err)
	_, after, found := strings.Cut(string(text), "```\n(sum(rate(")
	require.True(t, found)
	expression, _, _ := strings.Cut("(sum(rate("+after, "```")
	story := "rule_files: []\ntests:\n"
	for _, c := range []struct{ series, want string }{
		{"", "0"},
		{`caddis_queue_jobs{queue="mail",state="waiting"} 0x10; caddis_queue_jobs{queue="mail",state="blocked"} 0x10`, "0"},
		{`caddis_queue_jobs{queue="mail",state="waiting"} 7x10; caddis_queue_jobs{queue="mail",state="blocked"} 0x10`, "1"},
		{`caddis_queue_jobs{queue="mail",state="waiting"} 0x10; caddis_queue_jobs{queue="mail",state="blocked"} 2x10`, "1"},
		{`caddis_queue_jobs{queue="mail",state="waiting"} 7x10; caddis_run_seconds_sum{queue="mail"} 5x10; caddis_run_seconds_count{queue="mail"} 5x10`, "1"},
		{`caddis_queue_jobs{queue="mail",state="waiting"} 30x10; caddis_run_seconds_sum{queue="mail"} 0+120x10; caddis_run_seconds_count{queue="mail"} 0+60x10`, "3"},
	} {
		story += "  - interval: 1m\n    input_series:\n"
		for line := range strings.SplitSeq(c.series, "; ") {
			if series, values, ok := strings.Cut(line, " "); ok {
				story += fmt.Sprintf("      - series: '%s'\n        values: '%s'\n", series, values)
			}
		}
		story += fmt.Sprintf("    promql_expr_test:\n      - expr: %q\n        eval_time: 10m\n        exp_samples: [{labels: '{}', value: %s}]\n", expression, c.want)
	}
	file := filepath.Join(t.TempDir(), "story.yml")
	require.NoError(t, os.WriteFile(file, []byte(story), 0o600))
	out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// watcher is a Prometheus that scrapes a worker.
type watcher struct{ address string }

// watch starts a Prometheus that scrapes collectors, and evaluates rules, at an interval.
func watch(t *testing.T, rules string, interval time.Duration, collectors ...prometheus.Collector) *watcher {
	server := tool(t, "prometheus")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors...)
	target := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	t.Cleanup(target.Close)

	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: %[1]v, scrape_timeout: %[1]v, evaluation_interval: %[1]v}\nrule_files: [%[2]q]\nscrape_configs:\n- job_name: caddis\n  static_configs: [{targets: [%[3]q]}]\n",
		interval, rules, target.Listener.Addr())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600))
	w := &watcher{address: freeAddress(t)}
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	command := exec.Command(server, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", w.address)
	command.Stdout, command.Stderr = log, log
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
	})
	return w
}

func (w *watcher) ask(path string) string {
	response, err := http.Get("http://" + w.address + path)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// holds reports whether an expression has a result.
func (w *watcher) holds(expression string) bool {
	answer := w.ask("/api/v1/query?query=" + url.QueryEscape(expression))
	return strings.Contains(answer, `"status":"success"`) && strings.Contains(answer, `"value":`)
}

func (w *watcher) await(t *testing.T, expression string) {
	t.Helper()
	require.Eventually(t, func() bool { return w.holds(expression) }, 2*time.Minute, 100*time.Millisecond, expression)
}

var alertNames = []string{"CaddisStoreAway", "CaddisQueueStuck", "CaddisQueueWithoutWorker", "CaddisWorkerVanished", "CaddisJobsDie", "CaddisFailuresGrow"}

func TestAPrometheusScrapesTheMetricsAndLoadsTheAlerts(t *testing.T) {
	t.Parallel()
	alerts, err := filepath.Abs(docs + "metrics/alerts.yml")
	require.NoError(t, err)
	events, store := collectors(t)
	w := watch(t, alerts, time.Second, events, store)
	w.await(t, `caddis_queue_jobs{queue="mail",state="waiting"} == 1`)
	w.await(t, `caddis_events_total{event="enqueued"} == 1`)
	require.Eventually(t, func() bool { return strings.Contains(w.ask("/api/v1/rules"), `"health":"ok"`) }, time.Minute, 100*time.Millisecond)
	rules := w.ask("/api/v1/rules")
	for _, alert := range alertNames {
		require.Contains(t, rules, alert)
	}
	require.NotContains(t, rules, `"health":"err"`)
	require.Eventually(t, func() bool { // two minutes are asked until it fires, so it is pending
		return strings.Contains(w.ask("/api/v1/alerts"), `"alertname":"CaddisQueueWithoutWorker"`)
	}, time.Minute, 100*time.Millisecond)
}

// quick writes the rules so that a minute of theirs is a second.
func quick(t *testing.T) (file string) {
	text, err := os.ReadFile(docs + "metrics/alerts.yml")
	require.NoError(t, err)
	rules := regexp.MustCompile(`\b1h\b`).ReplaceAllString(string(text), "60m")
	rules = regexp.MustCompile(`\b(\d+)m\b`).ReplaceAllString(rules, "${1}s")
	rules = strings.Replace(rules, "> 300", "> 5", 1)
	require.NotContains(t, rules, "300")
	file = filepath.Join(t.TempDir(), "alerts.yml")
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	return file
}

// awayStore is a store that can be cut off.
type awayStore struct {
	backend.Backend
	away atomic.Bool
}

func (s *awayStore) Queues(ctx context.Context) ([]backend.QueueInfo, error) {
	if s.away.Load() {
		return nil, fmt.Errorf("the cable is out: %w", backend.ErrUnavailable)
	}
	return s.Backend.Queues(ctx)
}

func TestTheAlertsFireOnRealFaults(t *testing.T) {
	t.Parallel()
	registry := jobs.NewRegistry()
	var hang, fail atomic.Bool
	hung := make(chan struct{})
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[letter]) error {
		switch {
		case job.Queue == "stuck" && hang.Load():
			<-hung
		case job.Queue == "shaky" && job.Args.Fail:
			return jobs.Discard(errors.New("no use"))
		case job.Queue == "shaky" && fail.Load():
			return jobs.RetryIn(10*time.Millisecond, errors.New("the till is closed"))
		}
		return nil
	})
	inner, err := memory.New(memory.Config{})
	require.NoError(t, err)
	store := &awayStore{Backend: inner}
	systems := map[string]*caddis.System{}
	for _, queue := range []string{"stuck", "shaky", "left", "orphaned"} {
		systems[queue], err = caddis.New(caddis.Config{Registry: registry, Backend: store, Queues: []string{queue}, Concurrency: 1, Logger: silent()})
		require.NoError(t, err)
		require.NoError(t, systems[queue].Start(t.Context()))
	}
	stop := func(queue string) {
		_, err := systems[queue].Stop().Wait(t.Context())
		require.NoError(t, err)
	}
	client := systems["stuck"].Client()
	enqueue := func(queue string, n int, args letter) {
		for range n {
			_, err := client.Enqueue(t.Context(), args, jobs.Queue(queue), jobs.MaxAttempts(1000))
			require.NoError(t, err)
		}
	}
	for queue := range systems {
		enqueue(queue, 1, letter{})
	}
	w := watch(t, quick(t), 200*time.Millisecond, metrics.NewStore(client, metrics.StoreConfig{Every: time.Nanosecond, Logger: silent()}))

	// For long enough all is well.
	w.await(t, `count(caddis_queue_events_total{event="completed"} == 1) == 4`)
	w.await(t, `count(count_over_time(caddis_queue_events_total{event="retried",queue="shaky"}[2s] offset 12s)) == 1`)
	require.False(t, w.holds(`max_over_time(ALERTS{alertstate="firing"}[60s])`), "nothing fires")

	// Each alert fires for its fault.
	fires := func(alert, queue string) {
		t.Helper()
		w.await(t, fmt.Sprintf(`ALERTS{alertstate="firing",alertname=%q,queue=%q}`, alert, queue))
	}
	hang.Store(true)
	fail.Store(true)
	enqueue("stuck", 2, letter{}) // one hangs, the other waits
	enqueue("shaky", 20, letter{})
	enqueue("shaky", 1, letter{Fail: true})
	stop("orphaned")
	enqueue("orphaned", 1, letter{})
	stop("left") // what is leased there by a worker that is killed then comes back to the next one
	enqueue("left", 1, letter{})
	reply, err := store.Lease(t.Context(), backend.LeaseRequest{Worker: "killed", Token: "killed.1", Queues: []string{"left"}, Max: 1, Duration: time.Second})
	require.NoError(t, err)
	require.Len(t, reply.Leases, 1)
	next, err := caddis.New(caddis.Config{Registry: registry, Backend: store, Queues: []string{"left"}, Concurrency: 1, Logger: silent()})
	require.NoError(t, err)
	require.NoError(t, next.Start(t.Context()))
	fires("CaddisWorkerVanished", "left")
	fires("CaddisFailuresGrow", "shaky")
	fires("CaddisJobsDie", "shaky")
	fires("CaddisQueueWithoutWorker", "orphaned")
	fires("CaddisQueueStuck", "stuck")

	// They are over when it is mended.
	close(hung)
	w.await(t, `absent(ALERTS{alertname="CaddisQueueStuck",queue="stuck"})`)
	store.away.Store(true)
	w.await(t, `ALERTS{alertstate="firing",alertname="CaddisStoreAway"}`)
	store.away.Store(false)
	w.await(t, `absent(ALERTS{alertname="CaddisStoreAway"})`)
	fail.Store(false)
	stop("stuck")
	stop("shaky")
	_, err = next.Stop().Wait(t.Context())
	require.NoError(t, err)
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}
