package examples_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/metrics"
	"github.com/caddis-go/caddis/jobs/telemetry"
)

func measure(config *caddis.Config) *metrics.Events {
	events := metrics.NewEvents(metrics.EventsConfig{})
	config.OnEvent = events.Observe
	return events
}

func serveMetrics(client *jobs.Client, events *metrics.Events) {
	prometheus.MustRegister(events, metrics.NewStore(client, metrics.StoreConfig{}))
	http.Handle("GET /metrics", promhttp.Handler())
}

func trace(handler slog.Handler) caddis.Config {
	t := telemetry.New(telemetry.Config{}) // the providers that are set globally
	registry := jobs.NewRegistry(
		jobs.WithEnqueueMiddleware(t.Enqueue),
		jobs.WithRunMiddleware(t.Run),
	)
	config := caddis.Config{
		Registry: registry,
		OnEvent:  t.Observe,
		Logger:   slog.New(telemetry.LogHandler(handler)),
	}
	return config
}

func TestTheCodeAboutMetricsWorks(t *testing.T) {
	t.Parallel()
	config := trace(slog.DiscardHandler)
	jobs.Handle(config.Registry, func(context.Context, *jobs.Job[Welcome]) error { return nil })
	events := measure(&config)
	system, err := caddis.New(config)
	require.NoError(t, err)
	serveMetrics(system.Client(), events)
	w := httptest.NewRecorder()
	http.DefaultServeMux.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Contains(t, w.Body.String(), "caddis_store_up 1")
}
