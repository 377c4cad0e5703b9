package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/telemetry"
)

type order struct{ Panics bool }

func (order) Kind() string { return "order" }

type receipt struct{}

func (receipt) Kind() string { return "receipt" }

// lab is a system whose spans and figures are kept in memory.
type lab struct {
	spans    *tracetest.SpanRecorder
	provider *sdktrace.TracerProvider
	figures  *sdkmetric.ManualReader
	*telemetry.Telemetry
	*caddis.System
}

func newLab(t *testing.T, config telemetry.Config, handle func(*jobs.Registry)) *lab {
	l := &lab{spans: tracetest.NewSpanRecorder(), figures: sdkmetric.NewManualReader()}
	l.provider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l.spans))
	config.TracerProvider = l.provider
	config.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.figures))
	l.Telemetry = telemetry.New(config)
	registry := jobs.NewRegistry(jobs.WithEnqueueMiddleware(l.Enqueue), jobs.WithRunMiddleware(l.Telemetry.Run))
	handle(registry)
	var err error
	l.System, err = caddis.New(caddis.Config{Registry: registry, OnEvent: l.Observe, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, l.Start(t.Context()))
	t.Cleanup(func() { _, _ = l.Stop().Wait(context.WithoutCancel(t.Context())) })
	return l
}

// await waits until so many spans of a name have ended, and returns them in the order in
// which they began.
func (l *lab) await(t *testing.T, name string, n int) []sdktrace.ReadOnlySpan {
	var found []sdktrace.ReadOnlySpan
	require.Eventually(t, func() bool {
		found = nil
		for _, s := range l.spans.Ended() {
			if s.Name() == name {
				found = append(found, s)
			}
		}
		return len(found) >= n
	}, 20*time.Second, time.Millisecond, name)
	require.Len(t, found, n, name)
	slices.SortStableFunc(found, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return found
}

func attributes(s sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.Emit()
	}
	return all
}

func TestARequestItsJobTwoRetriesAndWhatFollowsAreOneTrace(t *testing.T) {
	t.Parallel()
	l := newLab(t, telemetry.Config{}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[order]) error {
			if job.Attempt < 3 {
				return jobs.RetryIn(0, errors.New("the till is closed"))
			}
			client, _ := jobs.ClientFrom(ctx)
			_, err := client.Enqueue(ctx, receipt{})
			return err
		})
		jobs.Handle(registry, func(context.Context, *jobs.Job[receipt]) error { return nil })
	})
	ctx, request := l.provider.Tracer("shop").Start(t.Context(), "POST /orders")
	enqueued, err := l.Client().Enqueue(ctx, order{})
	require.NoError(t, err)
	request.End()

	l.await(t, "settle default", 4)
	sent, attempts := l.await(t, "send default", 2), l.await(t, "process default", 4)
	for _, s := range l.spans.Ended() {
		require.Equal(t, request.SpanContext().TraceID(), s.SpanContext().TraceID(), s.Name())
	}
	require.Equal(t, request.SpanContext().SpanID(), sent[0].Parent().SpanID())
	for i, s := range attempts[:3] {
		require.Equal(t, sent[0].SpanContext().SpanID(), s.Parent().SpanID())
		require.Equal(t, trace.SpanKindConsumer, s.SpanKind())
		a := attributes(s)
		require.Equal(t, enqueued.ID, a["messaging.message.id"])
		require.Equal(t, []string{"caddis", "default", "process", "process", "order"}, []string{a["messaging.system"],
			a["messaging.destination.name"], a["messaging.operation.name"], a["messaging.operation.type"], a["caddis.job.kind"]})
		require.Equal(t, []string{"1", "2", "3"}[i], a["caddis.job.attempt"])
	}
	require.Equal(t, codes.Error, attempts[1].Status().Code)
	require.Contains(t, attempts[1].Status().Description, "the till is closed")
	require.Equal(t, codes.Unset, attempts[2].Status().Code)
	require.Equal(t, attempts[2].SpanContext().SpanID(), sent[1].Parent().SpanID(), "what a handler enqueues follows from its attempt")
	require.Equal(t, sent[1].SpanContext().SpanID(), attempts[3].Parent().SpanID())

	var parents []trace.SpanID
	for _, s := range l.await(t, "wait default", 2) {
		parents = append(parents, s.Parent().SpanID())
	}
	require.ElementsMatch(t, []trace.SpanID{sent[0].SpanContext().SpanID(), sent[1].SpanContext().SpanID()}, parents)
	events := map[string]int{}
	for _, s := range l.await(t, "settle default", 4) {
		events[attributes(s)["caddis.event"]]++
		require.False(t, s.EndTime().Before(s.StartTime()))
	}
	require.Equal(t, map[string]int{"retried": 2, "completed": 2}, events)
}

func TestAnAttemptThatHasEndedBeforeTheFirstEventCameHasItsSettlementToo(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	tel := telemetry.New(telemetry.Config{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))})
	info := &jobs.Info{Queue: "default", ID: "a", Kind: "order", Attempt: 1, Worker: "w"}
	require.NoError(t, tel.Run(func(context.Context, *jobs.Info) error { return nil })(t.Context(), info))
	tel.Observe(jobs.Event{Type: jobs.EventStarted, Job: info})
	tel.Observe(jobs.Event{Type: jobs.EventCompleted, Job: info})
	ended := spans.Ended()
	require.Equal(t, "settle default", ended[len(ended)-1].Name())
}

func TestAPanicEndsItsSpanAsAnErrorAndReachesTheWorker(t *testing.T) {
	t.Parallel()
	l := newLab(t, telemetry.Config{}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(context.Context, *jobs.Job[order]) error { panic("at the till") }, jobs.MaxAttempts(1))
	})
	_, err := l.Client().Enqueue(t.Context(), order{})
	require.NoError(t, err)
	s := l.await(t, "process default", 1)[0]
	require.Equal(t, codes.Error, s.Status().Code)
	require.Equal(t, "died", attributes(l.await(t, "settle default", 1)[0])["caddis.event"])
}

func TestWhatAHandlerAsksForIsNoError(t *testing.T) {
	t.Parallel()
	l := newLab(t, telemetry.Config{}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(context.Context, *jobs.Job[order]) error { return jobs.Snooze(time.Hour) })
		jobs.Handle(registry, func(context.Context, *jobs.Job[receipt]) error { return jobs.Discard(errors.New("unreadable")) })
	})
	_, err := l.Client().Enqueue(t.Context(), order{})
	require.NoError(t, err)
	s := l.await(t, "process default", 1)[0]
	require.Equal(t, codes.Unset, s.Status().Code)
	require.Equal(t, "snoozed", s.Events()[0].Name)
	_, err = l.Client().Enqueue(t.Context(), receipt{})
	require.NoError(t, err)
	require.Equal(t, codes.Error, l.await(t, "process default", 2)[1].Status().Code)
}

func TestJobsOfABatchShareTheContextOfTheirEnqueueAndMayBeginTracesThatLinkToIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, telemetry.Config{NewTrace: true}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(context.Context, *jobs.Job[order]) error { return nil })
	})
	_, err := l.Client().EnqueueMany(t.Context(), jobs.New(order{}), jobs.New(order{}))
	require.NoError(t, err)
	sent := l.await(t, "send default", 1)[0]
	require.Equal(t, "2", attributes(sent)["messaging.batch.message_count"])
	attempts := l.await(t, "process default", 2)
	for _, s := range attempts {
		require.False(t, s.Parent().IsValid())
		require.Len(t, s.Links(), 1)
		require.Equal(t, sent.SpanContext().SpanID(), s.Links()[0].SpanContext.SpanID())
	}
	require.NotEqual(t, attempts[0].SpanContext().TraceID(), attempts[1].SpanContext().TraceID())
}

func TestAnEnqueueThatFailsIsAnErrorAndOneThatFindsItsJobThereIsNone(t *testing.T) {
	t.Parallel()
	l := newLab(t, telemetry.Config{}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(context.Context, *jobs.Job[order]) error { return nil })
	})
	for range 2 {
		_, err := l.Client().Enqueue(t.Context(), order{}, jobs.ID("once"), jobs.In(time.Hour))
		require.NoError(t, err)
	}
	s := l.await(t, "send default", 2)[1]
	require.Equal(t, codes.Unset, s.Status().Code)
	require.Equal(t, "1", attributes(s)["caddis.jobs.existing"])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Client().Enqueue(ctx, order{})
	require.Error(t, err)
	require.Equal(t, codes.Error, l.await(t, "send default", 3)[2].Status().Code)
}

func TestAJobThatBringsItsContextKeepsIt(t *testing.T) {
	t.Parallel()
	l := newLab(t, telemetry.Config{}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(context.Context, *jobs.Job[order]) error { return nil })
	})
	_, err := l.Client().Enqueue(t.Context(), order{}, jobs.Header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	require.NoError(t, err)
	s := l.await(t, "process default", 1)[0]
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", s.SpanContext().TraceID().String())
	require.Equal(t, "00f067aa0ba902b7", s.Parent().SpanID().String())
}

func TestEventsAreFiguresOfTheConventions(t *testing.T) {
	t.Parallel()
	l := newLab(t, telemetry.Config{}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(context.Context, *jobs.Job[order]) error { return nil })
	})
	_, err := l.Client().Enqueue(t.Context(), order{})
	require.NoError(t, err)
	l.await(t, "settle default", 1)
	var all metricdata.ResourceMetrics
	require.NoError(t, l.figures.Collect(t.Context(), &all))
	events, histograms := map[string]int64{}, map[string]uint64{}
	for _, m := range all.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				event, _ := p.Attributes.Value(attribute.Key("caddis.event"))
				events[event.AsString()] += p.Value
			}
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				histograms[m.Name] += p.Count
			}
		}
	}
	require.Equal(t, map[string]int64{"enqueued": 1, "started": 1, "completed": 1, "worker-started": 1}, events)
	require.EqualValues(t, 1, histograms["messaging.process.duration"])
	require.EqualValues(t, 1, histograms["caddis.job.wait.duration"])
}

func TestEveryRecordOfAHandlerHasTheIdsOfItsJobAndTrace(t *testing.T) {
	t.Parallel()
	var written bytes.Buffer
	logger := slog.New(telemetry.LogHandler(slog.NewJSONHandler(&written, nil)))
	l := newLab(t, telemetry.Config{}, func(registry *jobs.Registry) {
		jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[order]) error {
			logger.With("shop", "north").WithGroup("till").With("number", 7).InfoContext(ctx, "closed", "by", "ann")
			return nil
		})
	})
	enqueued, err := l.Client().Enqueue(t.Context(), order{})
	require.NoError(t, err)
	s := l.await(t, "process default", 1)[0]
	var record map[string]any
	require.NoError(t, json.Unmarshal(written.Bytes(), &record))
	delete(record, "time")
	require.Equal(t, map[string]any{
		"level": "INFO", "msg": "closed", "shop": "north", "job": enqueued.ID, "kind": "order", "queue": "default", "attempt": 1.0,
		"trace_id": s.SpanContext().TraceID().String(), "span_id": s.SpanContext().SpanID().String(),
		"till": map[string]any{"number": 7.0, "by": "ann"},
	}, record)

	written.Reset()
	logger.Info("outside of a job", "by", "ann")
	require.NotContains(t, written.String(), "trace_id")
}
