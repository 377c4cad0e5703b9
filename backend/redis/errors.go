package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

// passing are the prefixes of errors that a server answers while it cannot do
// its work for now.
var passing = []string{
	"LOADING", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS",
	"BUSY", "UNBLOCKED", "MOVED", "ASK", "MISCONF", "NOSCRIPT", "max number of clients",
}

// denied are what errors have in them of a server that does not let us in, or whose
// user may not run a command, by itself or in a script; the last two are of Redis 6.
var denied = []string{
	"NOAUTH", "WRONGPASS", "NOPERM", "DENIED", "ERR invalid password", "ERR AUTH ", "unauthenticated", "without any password configured",
	"no password is set", "ACL failure in script", "can't run this command or subcommand",
	"can't access at least one of the keys",
}

// classify maps an error of the client library or of the server to ours.
func classify(err error) error {
	var known *backend.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, backend.ErrUnavailable), errors.Is(err, backend.ErrRejected), errors.Is(err, backend.ErrNotFound),
		errors.Is(err, backend.ErrClosed), errors.Is(err, backend.ErrFull):
		return err
	}
	var reply goredis.Error
	if !errors.As(err, &reply) || errors.Is(err, goredis.ErrClosed) {
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	text := reply.Error()
	for _, sign := range denied {
		if strings.Contains(text, sign) {
			return fmt.Errorf("%w: %w", backend.ErrDenied, err)
		}
	}
	if strings.Contains(text, "OOM command not allowed") {
		return fmt.Errorf("%w: %w", backend.ErrFull, err)
	}
	for _, prefix := range passing {
		if strings.HasPrefix(text, prefix) || strings.HasPrefix(text, "ERR "+prefix) ||
			strings.HasPrefix(text, "-"+prefix) || strings.Contains(text, ": -"+prefix+" ") {
			return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("%w: %w", backend.ErrRejected, err)
}

// fail is what a verb returns for an error.
func (b *Backend) fail(op, queue string, err error) error {
	if err == nil {
		return nil
	}
	if b.closed.Load() {
		return &backend.Error{Op: op, Queue: queue, Err: backend.ErrClosed}
	}
	err = classify(err)
	var known *backend.Error
	if errors.As(err, &known) {
		return err
	}
	return &backend.Error{Op: op, Queue: queue, Err: err}
}

// ended is the error of a call whose context ended.
func ended(ctx context.Context) error {
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, context.Cause(ctx))
}

// spoilt reports whether a script met a key that holds something else than it
// must. That concerns one queue and must not stop the others.
func spoilt(err error) bool {
	if err == nil || !errors.Is(classify(err), backend.ErrRejected) {
		return false
	}
	text := err.Error()
	for _, sign := range []string{"WRONGTYPE", "attempt to ", "bad argument", "not an integer", "not a valid float"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// setAside says in the log, at most once a minute, that a queue is spoilt.
func (b *Backend) setAside(op string, t *tag, err error) {
	now := time.Now().UnixMilli()
	if last := t.spoiltAt.Load(); now-last > time.Minute.Milliseconds() && t.spoiltAt.CompareAndSwap(last, now) {
		b.log.Error("a queue holds a key that cannot be read; it is left out until that is cured",
			"op", op, "queue", t.queue, "keys", t.base+"*", "error", err)
	}
}
