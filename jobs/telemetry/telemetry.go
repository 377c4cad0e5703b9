// Package telemetry carries traces through jobs and measures them, by OpenTelemetry. Only
// programs that import it compile that. Names follow the semantic conventions for
// messaging; docs/telemetry.md has them all.
//
//	t := telemetry.New(telemetry.Config{})
//	registry := jobs.NewRegistry(
//		jobs.WithEnqueueMiddleware(t.Enqueue),
//		jobs.WithRunMiddleware(t.Run),
//	)
//	system, err := caddis.New(caddis.Config{Registry: registry, OnEvent: t.Observe, ...})
//
// An enqueue is a span of the caller's trace, whose context goes with the job in its
// headers. Each attempt, on whatever worker, is a span below it, and what its handler
// enqueues is below that one: so a request, its jobs, their retries and what follows from
// them are one trace.
package telemetry

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

const (
	scope  = "github.com/caddis-go/caddis/jobs/telemetry"
	system = "caddis"
)

// Config says where spans and figures go. The zero value takes what is set globally.
type Config struct {
	// TracerProvider makes the spans. nil means otel.GetTracerProvider.
	TracerProvider trace.TracerProvider
	// MeterProvider takes the figures. nil means otel.GetMeterProvider.
	MeterProvider metric.MeterProvider
	// Propagator writes the context of a trace into the headers of jobs, and reads it. nil
	// means the W3C's Trace Context and Baggage. Baggage goes to the store as it is.
	Propagator propagation.TextMapPropagator
	// NewTrace has each attempt begin a trace of its own, which links to the one that
	// enqueued the job: for jobs that run long after, or many from one request.
	NewTrace bool
}

// Telemetry makes spans and figures. Its methods are safe for concurrent use.
type Telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	newTrace   bool
	figures    *figures
	settling   settling
}

// New makes a Telemetry. A provider that cannot make one of the instruments tells
// otel.Handle, and that figure is left out.
func New(config Config) *Telemetry {
	if config.TracerProvider == nil {
		config.TracerProvider = otel.GetTracerProvider()
	}
	if config.MeterProvider == nil {
		config.MeterProvider = otel.GetMeterProvider()
	}
	if config.Propagator == nil {
		config.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	}
	return &Telemetry{
		tracer:     config.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		propagator: config.Propagator,
		newTrace:   config.NewTrace,
		figures:    newFigures(config.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))),
	}
}

// The attributes that the conventions do not know.
const (
	kindKey     = attribute.Key("caddis.job.kind")
	attemptKey  = attribute.Key("caddis.job.attempt")
	workerKey   = attribute.Key("caddis.worker.id")
	eventKey    = attribute.Key("caddis.event")
	existingKey = attribute.Key("caddis.jobs.existing")
)

// about are the attributes of an operation on a queue.
func about(operation string, kind attribute.KeyValue, queue string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String(system),
		semconv.MessagingOperationName(operation),
		kind,
		semconv.MessagingDestinationName(queue),
	}
}
