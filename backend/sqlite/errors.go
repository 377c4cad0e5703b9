package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// signs are parts of SQLite's own messages, which are the same with every driver and
// have been for decades, and what they mean.
var signs = []struct {
	text  string
	kind  error
	about string
}{
	{"database or disk is full", backend.ErrFull, "make room on the disk of the file"},
	{"is locked", backend.ErrUnavailable, "another program holds the lock of the file"},
	{"readonly database", backend.ErrDenied, "make the file and its folder writable for this program"},
	{"disk image is malformed", backend.ErrUnavailable, "the file is damaged: stop the programs and restore it from a backup, or recover it by sqlite3's .recover"},
	{"file is not a database", backend.ErrRejected, "the file is none of SQLite, or is encrypted"},
	{"unable to open database file", backend.ErrUnavailable, "the folder of the file must exist and be writable"},
	{"disk I/O error", backend.ErrUnavailable, "the disk of the file does not work, or the file was taken away"},
	{"no such table: caddis_", backend.ErrRejected, "the transaction is one of another database than the store's"},
	{"too big", backend.ErrRejected, "it is larger than SQLite allows"},
}

// classify maps an error of the driver to ours.
func classify(err error) error {
	for _, known := range []error{
		backend.ErrUnavailable, backend.ErrRejected, backend.ErrFull, backend.ErrClosed, backend.ErrNotFound, backend.ErrState, backend.ErrConflict,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	text := err.Error()
	for _, s := range signs {
		if strings.Contains(text, s.text) {
			return fmt.Errorf("%w: %s: %w", s.kind, s.about, err)
		}
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}

// busy reports whether another connection holds a lock that this one needs.
func busy(err error) bool { return err != nil && strings.Contains(err.Error(), "is locked") }

// fail is what a verb returns for an error.
func (b *Backend) fail(op, queue, id string, err error) error {
	if err == nil {
		return nil
	}
	if b.closed.Load() && !errors.Is(err, context.Canceled) || errors.Is(err, sql.ErrConnDone) {
		err = backend.ErrClosed
	}
	var known *backend.Error
	if errors.As(err, &known) {
		return err
	}
	return &backend.Error{Op: op, Queue: queue, ID: id, Err: classify(err)}
}

// unknown is the error of a call that was left while it was under way.
func unknown(ctx context.Context) error {
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, context.Cause(ctx))
}

func reject(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{backend.ErrRejected}, args...)...)
}
