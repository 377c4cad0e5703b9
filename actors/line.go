package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"
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
			done <- err
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
			err := l.hear(ctx, deliver)
			if ctx.Err() != nil || errors.Is(err, backend.ErrClosed) {
				return
			}
			if time.Since(began) > maxListenPause {
				failures = 0
			}
			if missed, ok := l.outage.deaf.may(time.Now()); ok {
				l.log.Warn("commands are not heard for now; a cancel takes effect at the next renewal", "error", err, "missed", missed)
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
			"panic", fault.Error(), "stack", string(fault.Stack), "missed", missed)
	}
	return fmt.Errorf("%s: the job store panicked: %w", op, fault)
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
	// faultAway is the store's: it answers nobody, or is full. The call is repeated
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
	case errors.Is(err, backend.ErrFull), errors.Is(err, backend.ErrClosed), l.answers.Load() == t.answers:
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

// outage is what is known of the calls that fail. One that goes on, or that comes and
// goes, is one line in the log.
type outage struct {
	down atomic.Bool // spares the lock while all is well

	mu      sync.Mutex
	failing map[string]error // the last error of each verb that fails
	last    error
	said    bool
	lines   rarely
	// faults are panics, deaf is said of commands that are not heard.
	faults, deaf rarely
}

func (o *outage) note(log *slog.Logger, op string, err error) {
	o.mu.Lock()
	if o.failing == nil {
		o.failing = map[string]error{}
	}
	o.failing[op], o.last = err, err
	began := !o.down.Swap(true)
	missed, say := 0, false
	if began {
		missed, say = o.lines.may(time.Now())
	}
	o.said = o.said || say
	o.mu.Unlock()
	if !say {
		return
	}
	text := "the job store does not answer; running jobs go on and settlements are kept"
	if errors.Is(err, backend.ErrRejected) {
		text = "the job store refuses a call; it is repeated"
	}
	if missed > 0 {
		text = "the job store fails now and then"
	}
	log.Warn(text, "op", op, "error", err.Error(), "missed", missed)
}

func (o *outage) over(log *slog.Logger, op string) {
	if !o.down.Load() {
		return
	}
	o.mu.Lock()
	delete(o.failing, op)
	well := len(o.failing) == 0
	say := well && o.said
	if well {
		o.down.Store(false)
		o.last, o.said = nil, false
	}
	o.mu.Unlock()
	if say {
		log.Info("the job store answers again", "op", op)
	}
}

// text is what the last failure said; empty while the store answers.
func (o *outage) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		return ""
	}
	return o.last.Error()
}

// rarely keeps the same line of a log from being written more than once a second, and
// the rarer the longer it goes on, once a minute at last.
type rarely struct {
	mu     sync.Mutex
	next   time.Time
	gap    time.Duration
	missed int
}

// may reports whether to write the line, and how many were not written since the last.
func (r *rarely) may(now time.Time) (missed int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.next) {
		r.missed++
		return 0, false
	}
	if r.gap == 0 || now.Sub(r.next) > 10*time.Second {
		r.gap = time.Second
	} else {
		r.gap = min(2*r.gap, time.Minute)
	}
	missed, r.missed = r.missed, 0
	r.next = now.Add(r.gap)
	return missed, true
}
