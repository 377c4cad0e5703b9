package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// line is the worker's way to the store. Its calls run in goroutines, as no actor
// waits for the store; they are bounded in time, and a panic in one is its error. The
// line knows whether the store is away or only refuses one call: that is what tells
// whether to repeat a call as it is or to change it.
type line struct {
	store    backend.Backend
	retry    jobs.Exponential
	outside  *outside
	dispatch *dispatcher
	log      *slog.Logger
	// ctx ends when the tree is down.
	ctx    context.Context
	hangUp context.CancelFunc
	// answers counts the calls that were answered.
	answers atomic.Uint64
	outage  outage
}

func newLine(config *Config, o *outside, d *dispatcher) *line {
	l := &line{store: config.Backend, retry: config.retry, outside: o, dispatch: d, log: config.Logger}
	l.ctx, l.hangUp = context.WithCancel(context.Background())
	return l
}

// callTimeout bounds a call to the store that is to be repeated if it fails.
const callTimeout = 5 * time.Second

var errGoexit = errors.New("the job store called runtime.Goexit")

// call has ask done by schedule and then gives its error to answer, which is called
// exactly once. abort ends ask's context before its time.
func (l *line) call(schedule func(func()), op string, timeout time.Duration,
	ask func(context.Context) error, answer func(error)) (abort context.CancelFunc) {
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	v := l.outside.enter(&visit{whose: "the job store, " + op, due: time.Now().Add(2 * timeout), store: true})
	schedule(func() {
		err := errGoexit
		defer func() {
			if value := recover(); value != nil {
				err = l.panicked(op, value)
			}
			cancel()
			err = sound(err)
			l.heard(op, err)
			answer(err)
			l.outside.leave(v)
		}()
		err = ask(ctx)
	})
	return cancel
}

// now is call for those who may wait.
func (l *line) now(ctx context.Context, op string, ask func(context.Context) error) error {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	v := l.outside.enter(&visit{whose: "the job store, " + op, due: deadline, store: true})
	go func() {
		err := errGoexit
		defer func() {
			if value := recover(); value != nil {
				err = l.panicked(op, value)
			}
			done <- sound(err)
			l.outside.leave(v)
		}()
		err = ask(ctx)
	}()
	select {
	case err := <-done:
		l.heard(op, err)
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(lastMoment):
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
}

// listen hears commands until ctx ends. It begins again when the store fails.
func (l *line) listen(ctx context.Context, deliver func(backend.Command)) {
	v := l.outside.enter(&visit{whose: "the job store, listen", due: time.Now().Add(forever), store: true})
	l.dispatch.Schedule(func() {
		defer l.outside.leave(v)
		for failures := 0; ; failures++ {
			began := time.Now()
			err := sound(l.hear(ctx, deliver))
			if ctx.Err() != nil || errors.Is(err, backend.ErrClosed) {
				return
			}
			if time.Since(began) > maxListenPause {
				failures = 0
			}
			if missed, ok := l.outage.deaf.may(time.Now()); ok {
				l.log.Warn("commands are not heard for now; a cancel takes effect at the next renewal", "error", err, "left_out", missed)
			}
			select {
			case <-time.After(min(time.Second<<min(failures, 10), maxListenPause)):
			case <-ctx.Done():
				return
			}
		}
	})
}

const (
	maxListenPause = time.Minute
	forever        = 100 * 365 * 24 * time.Hour
)

func (l *line) hear(ctx context.Context, deliver func(backend.Command)) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = l.panicked("listen", value)
		}
	}()
	return l.store.Listen(ctx, deliver)
}

func (l *line) panicked(op string, value any) error {
	fault := &jobs.Panic{Value: value, Stack: debug.Stack()}
	if missed, ok := l.outage.faults.may(time.Now()); ok {
		l.log.Error("the job store panicked; this is taken for an error of the call", "op", op,
			"panic", fault.Error(), "stack", string(fault.Stack), "left_out", missed)
	}
	return fmt.Errorf("%s: the job store panicked: %w", op, fault)
}

// sound returns err, or another error in place of one whose methods panic.
func sound(err error) (same error) {
	if err == nil {
		return nil
	}
	defer func() {
		if recover() != nil {
			same = fmt.Errorf("an error of type %T whose methods panic", err)
		}
	}()
	_ = err.Error()
	_ = errors.Is(err, errGoexit)
	return err
}

// heard notes how a call ended.
func (l *line) heard(op string, err error) {
	switch {
	case err == nil:
		l.answers.Add(1)
		l.outage.over(l.log, op)
	case errors.Is(err, context.Canceled): // we ended the call
	default:
		l.outage.note(l.log, op, err)
	}
}

// tries says how it goes with a call that is made until it is answered.
type tries struct {
	failures int
	// answers is how many the line had when the call was first made.
	answers uint64
}

func (l *line) first() tries { return tries{answers: l.answers.Load()} }

// patience is for how long to wait for the next try: what is large may take its time
// on a slow line.
func (t *tries) patience() time.Duration { return callTimeout << min(t.failures, 2) }

// fault says whose fault it is that a call has failed.
type fault uint8

const (
	// faultAway is the store's: it answers nobody, lets nobody in, or is full. The call is repeated
	// as it is.
	faultAway fault = iota
	// faultOwn is the call's: the store refuses it, or answers others meanwhile. It
	// is of no use to repeat it as it is.
	faultOwn
)

// tolerance is how often a call may fail while others are answered. One that took too
// long has less.
const tolerance = 3

// failed counts a failure and says whose fault it was.
func (l *line) failed(t *tries, err error) fault {
	t.failures++
	switch {
	case errors.Is(err, backend.ErrRejected):
		return faultOwn
	case errors.Is(err, backend.ErrFull), errors.Is(err, backend.ErrDenied), errors.Is(err, backend.ErrClosed), l.answers.Load() == t.answers:
		return faultAway
	case tookTooLong(err), t.failures >= tolerance:
		return faultOwn
	}
	return faultAway
}

func tookTooLong(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &network) && network.Timeout()
}

// pause is for how long to wait after a failure. A store that was closed does not come
// back.
func (l *line) pause(failures int, err error) time.Duration {
	if errors.Is(err, backend.ErrClosed) {
		return idleWait
	}
	return l.retry.Delay(failures)
}
