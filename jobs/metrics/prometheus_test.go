package metrics_test

import (
	"encoding/json"
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
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

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
			named[strings.TrimSuffix(n, "_bucket")] = true
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

func TestAPrometheusScrapesTheMetricsAndLoadsTheAlerts(t *testing.T) {
	t.Parallel()
	server := tool(t, "prometheus")
	events, store := collectors(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(events, store)
	target := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	defer target.Close()

	dir := t.TempDir()
	alerts, err := filepath.Abs(docs + "metrics/alerts.yml")
	require.NoError(t, err)
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n- job_name: caddis\n  static_configs: [{targets: [%q]}]\n",
		alerts, target.Listener.Addr())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600))
	address := freeAddress(t)
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	command := exec.Command(server, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", address)
	command.Stdout, command.Stderr = log, log
	require.NoError(t, command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()

	ask := func(path string) string {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return ""
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return string(body)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(ask("/api/v1/query?query="+url.QueryEscape(`caddis_queue_jobs{queue="mail",state="waiting"} == 1`)), `"1"]`) &&
			strings.Contains(ask("/api/v1/query?query="+url.QueryEscape(`caddis_events_total{event="enqueued"} == 1`)), `"1"]`) &&
			strings.Contains(ask("/api/v1/rules"), `"health":"ok"`)
	}, time.Minute, 100*time.Millisecond)
	rules := ask("/api/v1/rules")
	for _, alert := range []string{"CaddisStoreAway", "CaddisQueueStuck", "CaddisQueueWithoutWorker", "CaddisWorkerVanished", "CaddisJobsDie", "CaddisFailuresGrow"} {
		require.Contains(t, rules, alert)
	}
	require.NotContains(t, rules, `"health":"err"`)
	require.Eventually(t, func() bool { // two minutes are asked until it fires, so it is pending
		return strings.Contains(ask("/api/v1/alerts"), `"alertname":"CaddisQueueWithoutWorker"`)
	}, time.Minute, 100*time.Millisecond)
}

func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}
