// Package otlp has the test of traces that leave the process: by OpenTelemetry's own exporter
// to a collector that speaks OTLP. It is a module of its own, so that exporter and protocol
// are in nobody's module graph.
package otlp

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/telemetry"
)

// collector keeps the spans that it is sent, by the service that sent them.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string][]*tracepb.Span
}

func newCollector(t *testing.T) *collector {
	c := &collector{spans: map[string][]*tracepb.Span{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collectorpb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.keep(&request)
		answer, _ := proto.Marshal(&collectorpb.ExportTraceServiceResponse{})
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(answer)
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) keep(request *collectorpb.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range request.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == string(semconv.ServiceNameKey) {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			c.spans[service] = append(c.spans[service], scope.Spans...)
		}
	}
}

// provider sends the spans of a service to the collector.
func (c *collector) provider(t *testing.T, service string) *sdktrace.TracerProvider {
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(c.URL+"/v1/traces"))
	require.NoError(t, err)
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName(service))))
}

type order struct{ ID string }

func (order) Kind() string { return "order" }

type receipt struct{ Order string }

func (receipt) Kind() string { return "receipt" }

// A request comes to one service, which enqueues a job; another one works it, in three
// attempts, the last of which enqueues what follows.
func TestATraceArrivesWholeInACollector(t *testing.T) {
	collector := newCollector(t)
	web, works := collector.provider(t, "web"), collector.provider(t, "worker")

	worker := telemetry.New(telemetry.Config{TracerProvider: works})
	registry := jobs.NewRegistry(jobs.WithEnqueueMiddleware(worker.Enqueue), jobs.WithRunMiddleware(worker.Run))
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[order]) error {
		if job.Attempt < 3 {
			return jobs.RetryIn(0, errors.New("the till is closed"))
		}
		client, _ := jobs.ClientFrom(ctx)
		_, err := client.Enqueue(ctx, receipt{Order: job.Args.ID})
		return err
	})
	done := make(chan struct{})
	jobs.Handle(registry, func(context.Context, *jobs.Job[receipt]) error {
		close(done)
		return nil
	})
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, OnEvent: worker.Observe, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))

	producer := telemetry.New(telemetry.Config{TracerProvider: web})
	client, err := jobs.NewClient(store, jobs.ClientConfig{
		Registry: jobs.NewRegistry(jobs.WithEnqueueMiddleware(producer.Enqueue)),
	})
	require.NoError(t, err)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := web.Tracer("shop").Start(ctx, "POST /orders", trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		if _, err := client.Enqueue(ctx, order{ID: "A-1"}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	defer shop.Close()

	const traceID, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shop.URL, nil)
	require.NoError(t, err)
	request.Header.Set("traceparent", "00-"+traceID+"-"+caller+"-01")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	<-done
	_, err = system.Stop().Wait(t.Context())
	require.NoError(t, err)
	require.NoError(t, web.Shutdown(t.Context()))
	require.NoError(t, works.Shutdown(t.Context()))

	names := func(service string) (all []string) {
		for _, s := range collector.spans[service] {
			all = append(all, s.Name)
		}
		slices.Sort(all)
		return all
	}
	require.Equal(t, []string{"POST /orders", "send default"}, names("web"))
	require.Equal(t, []string{
		"process default", "process default", "process default", "process default", "send default",
		"settle default", "settle default", "settle default", "settle default", "wait default", "wait default",
	}, names("worker"))
	known := map[string]bool{caller: true}
	all := slices.Concat(collector.spans["web"], collector.spans["worker"])
	for _, s := range all {
		known[hex.EncodeToString(s.SpanId)] = true
	}
	require.Len(t, known, 1+len(all))
	for _, s := range all {
		require.Equal(t, traceID, hex.EncodeToString(s.TraceId), s.Name)
		require.True(t, known[hex.EncodeToString(s.ParentSpanId)], "the parent of %s", s.Name)
		require.LessOrEqual(t, s.StartTimeUnixNano, s.EndTimeUnixNano, s.Name)
	}
}
