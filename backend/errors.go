package backend

import (
	"errors"
	"fmt"
)

var (
	// ErrUnavailable means that the store did not answer. Whether the call had
	// an effect is not known; it may be repeated.
	ErrUnavailable = errors.New("the job store is unavailable")
	// ErrDenied means that the store does not let the caller in, or not do this: a
	// password is wrong or was changed, or a right is missing. It is an
	// ErrUnavailable too, as the input is not what is wrong: when whoever keeps the
	// store has put that right, the call goes through.
	ErrDenied = fmt.Errorf("%w: access denied", ErrUnavailable)
	// ErrRejected means that the store or the backend refused the input. To
	// repeat the call is of no use.
	ErrRejected = errors.New("rejected")
	// ErrFull means that a bound of the store is reached: nothing was stored,
	// and the call may succeed later.
	ErrFull = errors.New("the job store is full")
	// ErrNotFound means that there is no such job or queue.
	ErrNotFound = errors.New("not found")
	// ErrState means that the job's state does not allow what was asked.
	ErrState = errors.New("not possible in this state")
	// ErrLimited means that a limit of the job has no room, and that the job is one which
	// then is not stored. The call may succeed later.
	ErrLimited = errors.New("a limit is reached")
	// ErrConflict means that what is stored has changed since it was read: read it
	// again.
	ErrConflict = errors.New("it has changed meanwhile")
	// ErrClosed means that the backend or the waiter was closed.
	ErrClosed = errors.New("closed")
)

// Error is what the verbs of a backend return. errors.Is finds the sentinel that
// it wraps, and the store's own error.
type Error struct {
	// Op is the verb, such as "enqueue".
	Op string
	// Queue and ID say what it was about, where that is one thing.
	Queue, ID string
	// Err wraps one of the sentinels of this package.
	Err error
}

func (e *Error) Error() string {
	switch {
	case e.ID != "":
		return fmt.Sprintf("%s: job %q in queue %q: %v", e.Op, e.ID, e.Queue, e.Err)
	case e.Queue != "":
		return fmt.Sprintf("%s: queue %q: %v", e.Op, e.Queue, e.Err)
	}
	return e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }
