package actors

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// guarded keeps a handler of the log that panics from ending the process. outside may
// be nil; if it is not, a handler that blocks is named.
func guarded(logger *slog.Logger, o *outside) *slog.Logger {
	handler := logger.Handler()
	if g, ok := handler.(*guardedHandler); ok {
		handler = g.inner
	}
	return slog.New(&guardedHandler{inner: handler, outside: o, once: &sync.Once{}})
}

// guardedHandler drops what the user's handler panics on. The first panic is told on
// the standard error, as there is no other place.
type guardedHandler struct {
	inner   slog.Handler
	outside *outside
	once    *sync.Once
}

func (h *guardedHandler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer h.recover()
	return h.inner.Enabled(ctx, level)
}

func (h *guardedHandler) Handle(ctx context.Context, record slog.Record) error {
	defer h.recover()
	if h.outside != nil {
		v := h.outside.enter(&visit{whose: "the handler of the log", due: time.Now().Add(newsTime)})
		defer h.outside.leave(v)
	}
	return h.inner.Handle(ctx, record)
}

func (h *guardedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func() slog.Handler { return h.inner.WithAttrs(attrs) })
}

func (h *guardedHandler) WithGroup(name string) slog.Handler {
	return h.with(func() slog.Handler { return h.inner.WithGroup(name) })
}

func (h *guardedHandler) with(change func() slog.Handler) slog.Handler {
	changed := *h
	func() {
		defer h.recover()
		changed.inner = change()
	}()
	return &changed
}

func (h *guardedHandler) recover() {
	if value := recover(); value != nil {
		h.once.Do(func() {
			fmt.Fprintf(os.Stderr, "caddis: the handler of the log panicked with a value of type %T; what it panics on is not logged\n", value)
		})
	}
}
