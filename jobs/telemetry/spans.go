package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/internal/series"
)

// Enqueue is a [jobs.EnqueueMiddleware]: a span around each enqueue, of one job or of
// many, whose context goes with the jobs. A job that has a context in its headers already
// keeps that.
func (t *Telemetry) Enqueue(next jobs.EnqueueFunc) jobs.EnqueueFunc {
	return func(ctx context.Context, batch []backend.NewJob) ([]jobs.Receipt, error) {
		ctx, span := t.tracer.Start(ctx, "send "+destination(batch),
			trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(sent(batch)...))
		defer span.End()
		for i := range batch {
			t.inject(ctx, &batch[i].Job)
		}
		receipts, err := next(ctx, batch)
		if err != nil {
			fail(span, err)
		}
		if n := existing(receipts); n > 0 {
			span.SetAttributes(existingKey.Int(n))
		}
		return receipts, err
	}
}

// destination names the queue of jobs, if they have one in common.
func destination(batch []backend.NewJob) string {
	if len(batch) == 0 {
		return "nothing"
	}
	for i := range batch {
		if batch[i].Queue != batch[0].Queue {
			return "several queues"
		}
	}
	return batch[0].Queue
}

func sent(batch []backend.NewJob) []attribute.KeyValue {
	attributes := about("enqueue", semconv.MessagingOperationTypeSend, destination(batch))
	if len(batch) != 1 {
		return append(attributes, semconv.MessagingBatchMessageCount(len(batch)))
	}
	job := &batch[0]
	return append(attributes, semconv.MessagingMessageID(job.ID), semconv.MessagingMessageBodySize(len(job.Payload)), kindKey.String(job.Kind))
}

func (t *Telemetry) inject(ctx context.Context, job *backend.Job) {
	if job.Headers == nil {
		job.Headers = make(map[string]string, 2)
	}
	for _, field := range t.propagator.Fields() {
		if _, has := job.Headers[field]; has {
			return
		}
	}
	t.propagator.Inject(ctx, propagation.MapCarrier(job.Headers))
}

func existing(receipts []jobs.Receipt) (n int) {
	for i := range receipts {
		if receipts[i].Existing || receipts[i].Duplicate() {
			n++
		}
	}
	return n
}

// Run is a [jobs.RunMiddleware]: a span around each attempt, and one for the time that
// the job had waited for its first.
func (t *Telemetry) Run(next jobs.RunFunc) jobs.RunFunc {
	return func(ctx context.Context, info *jobs.Info) error {
		origin := t.propagator.Extract(ctx, propagation.MapCarrier(info.Headers))
		attributes := append(about("process", semconv.MessagingOperationTypeProcess, info.Queue), described(info)...)
		options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...)}
		if t.newTrace {
			options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(origin)))
		} else {
			t.waited(origin, info)
		}
		ctx, span := t.tracer.Start(origin, "process "+info.Queue, options...)
		if t.newTrace {
			t.waited(ctx, info)
		}
		returned := false
		defer func() {
			if !returned { // a panic or a Goexit goes on its way
				span.SetStatus(codes.Error, "the handler panicked")
			}
			span.End()
			t.settling.begin(info, span.SpanContext(), time.Now())
		}()
		err := next(with(ctx, info), info)
		returned = true
		if err != nil {
			judge(ctx, span, err)
		}
		return err
	}
}

func described(info *jobs.Info) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingMessageID(info.ID), kindKey.String(info.Kind), attemptKey.Int(info.Attempt), workerKey.String(info.Worker),
	}
}

// waited makes the span of the wait, whose beginning is by the store's clock.
func (t *Telemetry) waited(ctx context.Context, info *jobs.Info) {
	now := time.Now()
	wait, known := series.Wait(info, now)
	if !known {
		return
	}
	_, span := t.tracer.Start(ctx, "wait "+info.Queue, trace.WithTimestamp(now.Add(-wait)),
		trace.WithAttributes(semconv.MessagingSystemKey.String(system), semconv.MessagingDestinationName(info.Queue), semconv.MessagingMessageID(info.ID)))
	span.End(trace.WithTimestamp(now))
}

// judge tells an attempt that failed from one whose handler asked for something, or that
// was stopped.
func judge(ctx context.Context, span trace.Span, err error) {
	outcome, said := jobs.OutcomeOf(err)
	switch {
	case said && outcome != backend.OutcomeRetry && outcome != backend.OutcomeDead:
		span.AddEvent(string(jobs.EventOf(outcome)))
	case errors.Is(context.Cause(ctx), jobs.ErrStopping), errors.Is(context.Cause(ctx), jobs.ErrCancelled):
		span.AddEvent(context.Cause(ctx).Error())
	default:
		fail(span, err)
	}
}

func fail(span trace.Span, err error) {
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}
