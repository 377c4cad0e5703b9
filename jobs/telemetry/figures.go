package telemetry

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/internal/series"
)

// figures are the instruments.
type figures struct {
	events metric.Int64Counter
	run    metric.Float64Histogram
	wait   metric.Float64Histogram
	pairs  *series.Pairs
}

func newFigures(meter metric.Meter) *figures {
	f := &figures{pairs: series.NewPairs(series.DefaultMaxPairs)}
	bounds := metric.WithExplicitBucketBoundaries(series.Buckets()...)
	var err error
	if f.events, err = meter.Int64Counter("caddis.events", metric.WithUnit("{event}"),
		metric.WithDescription("What happened in this process, to jobs and to its workers.")); err != nil {
		otel.Handle(err)
	}
	if f.run, err = meter.Float64Histogram("messaging.process.duration", metric.WithUnit("s"), bounds,
		metric.WithDescription("How long handlers ran, by what became of the job.")); err != nil {
		otel.Handle(err)
	}
	if f.wait, err = meter.Float64Histogram("caddis.job.wait.duration", metric.WithUnit("s"), bounds,
		metric.WithDescription("How long jobs waited for their first attempt since they were due.")); err != nil {
		otel.Handle(err)
	}
	return f
}

func (f *figures) observe(event jobs.Event) {
	ctx := context.Background()
	attributes := []attribute.KeyValue{semconv.MessagingSystemKey.String(system), eventKey.String(string(event.Type))}
	if event.Job != nil {
		queue, kind := f.pairs.Of(event.Job)
		attributes = append(attributes, semconv.MessagingDestinationName(queue), kindKey.String(kind))
	}
	f.events.Add(ctx, int64(max(1, event.Jobs)), metric.WithAttributes(attributes...))
	switch {
	case event.Job == nil:
	case event.Type == jobs.EventStarted:
		if wait, known := series.Wait(event.Job, event.At); known {
			f.wait.Record(ctx, wait.Seconds(), metric.WithAttributes(attributes...))
		}
	case event.Took > 0:
		f.run.Record(ctx, event.Took.Seconds(), metric.WithAttributes(append(attributes, semconv.MessagingOperationName("process"))...))
	}
}
