package jobs

import (
	"errors"
	"fmt"
	"strings"
)

// The causes with which the context of a running job ends; context.Cause tells
// which.
var (
	// ErrTimeout means that the attempt took longer than its timeout. It counts
	// as a failed attempt.
	ErrTimeout = errors.New("the attempt took longer than its timeout")
	// ErrDeadline means that the job's deadline has passed. The job is dead.
	ErrDeadline = errors.New("the job's deadline has passed")
	// ErrCancelled means that somebody cancelled the job.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrStopping means that the worker stops. A job that returns an error
	// because of it goes back to the front of its queue and loses no attempt.
	ErrStopping = errors.New("the worker is stopping")
	// ErrLeaseLost means that the job is no longer this worker's: nothing that
	// the handler does or returns will be recorded.
	ErrLeaseLost = errors.New("the lease on the job was lost")
)

// Why jobs end or are refused without their handler having had its say.
var (
	// ErrExpired means that the job waited longer than its ExpireAfter.
	ErrExpired = errors.New("the job waited longer than it may")
	// ErrCrashed means that the job's worker vanished too often while it ran.
	ErrCrashed = errors.New("the job's worker vanished while it ran")
	// ErrFinished means that an enqueue stored nothing, as its id is held by a job
	// that is dead or cancelled: nothing will run. See [ID].
	ErrFinished = errors.New("its id is held by a job that has ended without being completed")
	// ErrUndeclared means that the client's registry knows some kinds but not this one,
	// and so not its queue.
	ErrUndeclared = errors.New("the registry does not know the kind")
	// ErrPayload means that a payload, result, progress or memo could not be encoded
	// or decoded. errors.As finds a *PayloadError.
	ErrPayload = errors.New("the payload cannot be used")
)

// Error is what the methods of [Client] return where the fault can be named by
// its operation and kind. errors.Is and errors.As find what it wraps:
// [backend.ErrRejected] if the input was wrong, [backend.ErrUnavailable] if the
// store did not answer.
type Error struct {
	// Op is the operation, such as "enqueue".
	Op string
	// Kind is the kind of the job; empty where it is not known.
	Kind string
	// Err is what went wrong.
	Err error
}

func (e *Error) Error() string {
	// A store names the operation as well.
	reason := strings.TrimPrefix(errorText(e.Err), e.Op+": ")
	if e.Kind == "" {
		return fmt.Sprintf("jobs: %s: %s", e.Op, reason)
	}
	return fmt.Sprintf("jobs: %s of kind %q: %s", e.Op, e.Kind, reason)
}

func (e *Error) Unwrap() error { return e.Err }

// PayloadError says why a payload, result, progress or memo could not be encoded or
// decoded. Its text never shows the data; errors.As and Unwrap give the codec's
// own error, whose text may.
type PayloadError struct {
	// Op is "encode" or "decode".
	Op string
	// Part is "payload", "result", "progress", "checkpoint" or "memo".
	Part string
	// Kind is the kind of the job, or the name of the memo.
	Kind string
	// Codec is the name of the codec.
	Codec string
	// Detail says what was wrong, without showing the data.
	Detail string
	// Err is the codec's error.
	Err error
}

func (e *PayloadError) Error() string {
	if e.Part == memoPart {
		return fmt.Sprintf("cannot %s a value of the memo %q with codec %q: %s", e.Op, e.Kind, e.Codec, e.Detail)
	}
	return fmt.Sprintf("cannot %s the %s of a job of kind %q with codec %q: %s", e.Op, e.Part, e.Kind, e.Codec, e.Detail)
}

// Is makes errors.Is find ErrPayload.
func (e *PayloadError) Is(target error) bool { return target == ErrPayload }

func (e *PayloadError) Unwrap() error { return e.Err }

// Panic is the error that stands for a handler that panicked or called
// runtime.Goexit. Unwrap gives Value if that is an error.
type Panic struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the stack of the handler when it panicked.
	Stack []byte
}

var errGoexit = errors.New("the handler called runtime.Goexit")

// Error shows values that are errors, strings, numbers or have a String method.
// Of all others, which might be payloads, it shows the type only.
func (p *Panic) Error() string {
	switch v := p.Value.(type) {
	case error:
		if v == errGoexit {
			return v.Error()
		}
		return "panic: " + errorText(v)
	case string, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64, fmt.Stringer:
		return fmt.Sprintf("panic: %v", v)
	}
	return fmt.Sprintf("panic with a value of type %T", p.Value)
}

func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// errorText survives errors whose Error method panics, such as typed nils.
func errorText(err error) string { return fmt.Sprint(err) }
