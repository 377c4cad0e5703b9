package jobs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Logger returns the logger of this attempt. What is logged goes to the logger of the
// worker, together with the job's id, kind, queue and attempt; and what is of level Info or
// above is kept with the job when the attempt is settled, the last [backend.MaxLogs]
// records within [backend.MaxLogBytes]. Those of the attempt before are replaced. A job
// that is handed back keeps those of the attempt before, and of one that is completed and
// not kept ([Retention]) nothing is.
//
// Safe for concurrent use, as is the logger; what is logged after the attempt has ended
// goes to the worker's logger only.
func (i *Info) Logger() *slog.Logger {
	run := i.attempt()
	kept := slog.NewTextHandler(&run.beside().logs, nil)
	return slog.New(logHandler{kept: kept, next: run.logger().With("job", *i).Handler()})
}

// logs are the records of an attempt.
type logs struct {
	mu      sync.Mutex
	records []backend.LogRecord
	size    int
}

// logHandler hands records on to what keeps them and to the worker's handler.
type logHandler struct{ kept, next slog.Handler }

func (h logHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.kept.Enabled(ctx, level) || h.next.Enabled(ctx, level)
}

func (h logHandler) Handle(ctx context.Context, record slog.Record) error {
	if h.kept.Enabled(ctx, record.Level) {
		_ = h.kept.Handle(ctx, record) // it cannot fail
	}
	if !h.next.Enabled(ctx, record.Level) {
		return nil
	}
	return h.next.Handle(ctx, record)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.kept.WithAttrs(attrs), h.next.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler {
	return logHandler{h.kept.WithGroup(name), h.next.WithGroup(name)}
}

// maxLogText is how long a record may be, so that one does not drive out all others.
const maxLogText = backend.MaxLogBytes / 4

// Write takes one record as slog.TextHandler writes it, which it does in one call, and not
// while it asks values for their text: these may log, too.
func (l *logs) Write(line []byte) (int, error) {
	text, record := strings.TrimSuffix(string(line), "\n"), backend.LogRecord{At: time.Now().Round(0)}
	if rest, found := strings.CutPrefix(text, slog.TimeKey+"="); found {
		var at string
		at, text, _ = strings.Cut(rest, " ")
		if parsed, err := time.Parse(time.RFC3339Nano, at); err == nil {
			record.At = parsed
		}
	}
	if rest, found := strings.CutPrefix(text, slog.LevelKey+"="); found {
		record.Level, text, _ = strings.Cut(rest, " ")
	}
	record.At, record.Text = record.At.UTC(), boundText(text, maxLogText)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, record)
	l.size += len(record.Text)
	for len(l.records) > backend.MaxLogs || l.size > backend.MaxLogBytes {
		l.size -= len(l.records[0].Text)
		l.records = l.records[1:]
	}
	return len(line), nil
}

// taken are the records so far.
func (l *logs) taken() []backend.LogRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) == 0 {
		return nil
	}
	return append([]backend.LogRecord{}, l.records...)
}
