package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"

	"github.com/caddis-go/caddis/jobs"
)

type infoKey struct{}

func with(ctx context.Context, info *jobs.Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}

// LogHandler adds to each record that is written with the context of a handler, as by
// slog.InfoContext, which job and attempt it belongs to, and to each that is written within
// a span the ids of trace and span. They stand at the top of the record, whatever groups
// the logger has.
func LogHandler(next slog.Handler) slog.Handler { return &logHandler{next: next} }

// logHandler keeps what came after the first group to itself, so that what it adds
// precedes it.
type logHandler struct {
	next   slog.Handler
	groups []func(slog.Handler) slog.Handler
}

func (h *logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *logHandler) Handle(ctx context.Context, record slog.Record) error {
	var attrs []slog.Attr
	if info, ok := ctx.Value(infoKey{}).(*jobs.Info); ok {
		attrs = append(attrs, slog.String("job", info.ID), slog.String("kind", info.Kind),
			slog.String("queue", info.Queue), slog.Int("attempt", info.Attempt))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	next := h.next
	switch {
	case len(attrs) > 0 && len(h.groups) == 0:
		record = record.Clone()
		record.AddAttrs(attrs...)
	case len(attrs) > 0:
		next = next.WithAttrs(attrs)
	}
	for _, group := range h.groups {
		next = group(next)
	}
	return next.Handle(ctx, record)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(h.groups) == 0 {
		return &logHandler{next: h.next.WithAttrs(attrs)}
	}
	return h.and(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.and(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h *logHandler) and(group func(slog.Handler) slog.Handler) slog.Handler {
	return &logHandler{next: h.next, groups: append(h.groups[:len(h.groups):len(h.groups)], group)}
}
