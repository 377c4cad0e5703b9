package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// MaxProgress and MaxResult are the largest sizes of an encoded progress and of an
// encoded result, in bytes.
const (
	MaxProgress = 64 << 10
	MaxResult   = 1 << 20
)

var (
	errEnded       = errors.New("the attempt has ended; results and progress are taken only while the handler runs")
	errForeignInfo = errors.New("a middleware did not hand on the Info that it got")
)

// Run is one attempt of a leased job, made by [Registry.Begin]. It is what a
// worker needs and of no use to handlers.
type Run struct {
	registry *Registry
	kind     *kind
	lease    *backend.Lease
	codec    Codec // nil if it is not known

	job  any   // *Job[A]
	args any   // what the payload is decoded into
	info *Info // in job

	startedAt    time.Time
	timeout      time.Duration
	timeoutCause error
	maxAttempts  int
	keep         time.Duration
	onProgress   func()
	store        backend.Backend // nil where no worker runs the job
	log          *slog.Logger    // nil is slog.Default()

	payloadErr error
	decoded    bool

	ended, untaken   bool       // guarded by mu
	mu               sync.Mutex // guards these and what follows
	result, progress []byte     // what a handler has left, encoded; nil is nothing
	aside            *aside     // nil in most runs
}

// aside is what few handlers use: a Run with its job has 512 bytes without it, and is made for
// each job.
type aside struct {
	logs logs
	// saving is held while a checkpoint is stored, so that the last one is the newest.
	saving     sync.Mutex
	checkpoint []byte // guarded by the run's mu
}

// beside returns what is aside, and makes it if it is missing.
func (r *Run) beside() *aside {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.aside == nil {
		r.aside = &aside{}
	}
	return r.aside
}

// left is what a handler has left, encoded; nil is nothing.
type left struct {
	result, progress, checkpoint []byte
	logs                         []backend.LogRecord
}

// leftover takes what is left; the caller holds mu.
func (r *Run) leftover() left {
	l := left{result: r.result, progress: r.progress}
	if r.aside != nil {
		l.checkpoint, l.logs = r.aside.checkpoint, r.aside.logs.taken()
	}
	return l
}

// newRun makes run and job in one piece.
func newRun[A Args](element reflect.Type) *Run {
	task := new(struct {
		run Run
		job Job[A]
	})
	run := &task.run
	run.job, run.info = &task.job, &task.job.Info
	run.info.run = run
	if element == nil {
		run.args = &task.job.Args
		return run
	}
	// Args that are a pointer are made here, so that a payload of null gives an
	// empty value and not a nil one.
	task.job.Args = reflect.New(element).Interface().(A)
	run.args = task.job.Args
	return run
}

// Info describes the job.
func (r *Run) Info() *Info { return r.info }

// Timeout bounds this attempt by the job's timeout and deadline; 0 means not at
// all.
func (r *Run) Timeout() time.Duration { return r.timeout }

// TimeoutCause is the cause with which the context is to end after Timeout:
// ErrTimeout or ErrDeadline; nil if nothing bounds the attempt.
func (r *Run) TimeoutCause() error { return r.timeoutCause }

// OnProgress sets a function that is called after each Progress, by the
// goroutine that reports it. It must be cheap and safe for concurrent use, and
// is to be set before Do.
func (r *Run) OnProgress(f func()) { r.onProgress = f }

// TakeProgress returns the newest progress that was not taken yet, or nil. It
// may be called while Do runs.
func (r *Run) TakeProgress() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.untaken {
		return nil
	}
	r.untaken = false
	return r.progress
}

// Result is how a run ended.
type Result struct {
	// Settlement is complete and goes to the backend as it is.
	Settlement backend.Settlement
	// Err is what the handler returned, or its panic; nil if the job is
	// completed. An attempt that ran into its timeout or deadline says so:
	// errors.Is finds ErrTimeout or ErrDeadline.
	Err error
	// Panic is set if the handler panicked or called runtime.Goexit.
	Panic *Panic
	// Took is how long the handler ran.
	Took time.Duration
}

// Do runs middleware and handler in the calling goroutine and calls done exactly
// once, also when the handler panics or calls runtime.Goexit. It is to be called
// once. now tells the store's time.
//
// What becomes of the job is told by the handler's error and by the cause of
// ctx, see [ErrTimeout] and its neighbours.
func (r *Run) Do(ctx context.Context, now func() time.Time, done func(Result)) {
	returned := false
	defer func() {
		if !returned { // runtime.Goexit: only deferred calls still run
			done(r.end(ctx, nil, &Panic{Value: errGoexit, Stack: debug.Stack()}, now()))
		}
	}()
	panicked, err := r.guard(ctx)
	returned = true
	done(r.end(ctx, err, panicked, now()))
}

// guard turns a panic into a value.
func (r *Run) guard(ctx context.Context) (panicked *Panic, err error) {
	defer func() {
		if value := recover(); value != nil {
			panicked = &Panic{Value: value, Stack: panicStack(debug.Stack())}
		}
	}()
	return nil, r.registry.execute(ctx, r.info)
}

// panicStack cuts off the frames above the panic, which are ours and the
// runtime's.
func panicStack(stack []byte) []byte {
	head, rest, ok := bytes.Cut(stack, []byte("\n"))
	if i := bytes.Index(rest, []byte("\npanic(")); ok && i >= 0 {
		if cut := afterLines(rest[i+1:], 2); cut != nil {
			return append(append(head[:len(head):len(head)], '\n'), cut...)
		}
	}
	return stack
}

func afterLines(text []byte, n int) []byte {
	for range n {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return nil
		}
		text = text[i+1:]
	}
	return text
}

// handle is what the middleware goes around.
func (r *Run) handle(ctx context.Context) error {
	if !r.decoded {
		r.decoded = true
		r.payloadErr = r.decode()
	}
	if r.payloadErr != nil {
		return r.payloadErr
	}
	return r.kind.handle(ctx, r.job)
}

func (r *Run) decode() error {
	job := &r.lease.Job
	if r.codec == nil {
		return r.unknownCodec("decode", "payload", job.Kind)
	}
	return decode(r.codec, "payload", job.Kind, job.Payload, r.args)
}

func (r *Run) setResult(kind string, v any) error {
	data, err := r.encode("result", kind, v, MaxResult)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return errEnded
	}
	r.result = data
	return nil
}

func (r *Run) setProgress(kind string, v any) error {
	data, err := r.encode("progress", kind, v, MaxProgress)
	if err != nil {
		return err
	}
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return errEnded
	}
	r.progress, r.untaken = data, true
	r.mu.Unlock()
	if r.onProgress != nil {
		r.onProgress()
	}
	return nil
}

func (r *Run) encode(part, kind string, v any, limit int) ([]byte, error) {
	if r.codec == nil {
		return nil, r.unknownCodec("encode", part, kind)
	}
	data, err := encode(r.codec, part, kind, v)
	if err == nil && len(data) > limit {
		err = &PayloadError{Op: "encode", Part: part, Kind: kind, Codec: r.codec.Name(), Detail: fmt.Sprintf("it has %d bytes, %d are allowed", len(data), limit)}
	}
	if data == nil {
		data = []byte{} // nil means none
	}
	return data, err
}

// end closes the run for results and progress and says what becomes of the job.
func (r *Run) end(ctx context.Context, err error, panicked *Panic, now time.Time) Result {
	r.mu.Lock()
	r.ended = true
	left := r.leftover()
	r.mu.Unlock()

	var cause error
	if err != nil || panicked != nil {
		cause = context.Cause(ctx)
	}
	v := classify(ending{
		err:         err,
		panicked:    panicked,
		payloadErr:  r.payloadErr,
		cause:       cause,
		timeout:     r.timeout,
		attempt:     r.lease.Attempt(),
		maxAttempts: r.maxAttempts,
		policy:      r.kind.options.backoff,
	})
	settlement := settle(r.lease, v.outcome)
	settlement.Delay = v.delay
	if v.outcome == backend.OutcomeCompleted {
		settlement.Keep = r.keep
	}
	if r.worthKeeping(v, left) {
		settlement.History = r.history(v, left, now)
	}
	return Result{Settlement: settlement, Err: v.err, Panic: panicked, Took: now.Sub(r.startedAt)}
}

// Refused is how a run ends whose settlement the store does not take, because of what
// the handler left or for another reason: as a failed attempt that says so and leaves
// nothing. now is the store's time.
func (r *Run) Refused(reason error, now time.Time) Result {
	v := failed(ending{attempt: r.lease.Attempt(), maxAttempts: r.maxAttempts, policy: r.kind.options.backoff}, reason, nil)
	settlement := settle(r.lease, v.outcome)
	settlement.Delay = v.delay
	r.mu.Lock()
	all := r.leftover()
	r.mu.Unlock()
	saved := left{checkpoint: all.checkpoint, logs: all.logs}
	settlement.History = r.history(v, saved, now)
	return Result{Settlement: settlement, Err: v.err}
}
