// Package logs keeps a fault in the user's handler of logs from ending the process: it
// is called in goroutines of ours, too.
package logs

import (
	"context"
	"fmt"
	"log/slog"
)

// Guard returns a logger that drops the lines on which the handler of another panics.
func Guard(logger *slog.Logger) *slog.Logger { return slog.New(guarded{logger.Handler()}) }

type guarded struct{ inner slog.Handler }

func (h guarded) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return h.inner.Enabled(ctx, level)
}

func (h guarded) Handle(ctx context.Context, record slog.Record) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("the handler of logs panicked with a value of type %T", value)
		}
	}()
	return h.inner.Handle(ctx, record)
}

// WithAttrs leaves the attributes out if the handler panics on them.
func (h guarded) WithAttrs(attrs []slog.Attr) (with slog.Handler) {
	defer h.unlessPanicked(&with)
	return guarded{h.inner.WithAttrs(attrs)}
}

// WithGroup leaves the group out if the handler panics on it.
func (h guarded) WithGroup(name string) (with slog.Handler) {
	defer h.unlessPanicked(&with)
	return guarded{h.inner.WithGroup(name)}
}

func (h guarded) unlessPanicked(with *slog.Handler) {
	if recover() != nil {
		*with = h
	}
}
