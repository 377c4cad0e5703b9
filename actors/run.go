package actors

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// run is one leased job on its way through the tree. It lives outside of the
// actors: messages point to it, and what is in a mailbox may vanish with its
// actor, but the ledger lists every run until the store has answered for it.
type run struct {
	lease *backend.Lease
	// result is what the handler came to; set before the slot's stage becomes
	// returned.
	result jobs.Result
	// started is whether a handler was called, began when; set before.
	started atomic.Bool
	began   time.Time
	// noted is set once the start was recorded; it belongs to records.
	noted bool
	// stop cancels the handler's context, cancelledAt is when that was done, in Unix
	// nanoseconds.
	stop        atomic.Pointer[context.CancelCauseFunc]
	cancelledAt atomic.Int64
	// work is there while the handler runs.
	work atomic.Pointer[jobs.Run]

	// settled makes the settlement happen once; whoever sets it owns the
	// fields below until the settler has them.
	settled    atomic.Bool
	settlement backend.Settlement
	ending     ending
	slot       *slot // whose unconfirmed count it is in; nil if in none

	// progress is what is to be stored; the keeper's.
	progress []byte
	// renewedUntil is when the lease expires since its last renewal, in Unix
	// nanoseconds of the store's clock.
	renewedUntil atomic.Int64
	// sentBefore, refused and failures are the settler's: whether the settlement may
	// have been applied by a commit that was not answered, whether it was refused once,
	// and how often it failed alone.
	sentBefore, refused bool
	failures            int
	// lost is set when the store said that the lease is somebody else's.
	lost atomic.Bool
}

// ending tells the hand-backs apart, which are one outcome to the store.
type ending uint8

const (
	endingSettled ending = iota
	endingInterrupted
	endingAbandoned
	endingReturned
)

func (r *run) ref() Ref {
	return Ref{Queue: r.lease.Job.Queue, ID: r.lease.Job.ID, Kind: r.lease.Job.Kind}
}

// cancel ends the context of the handler; a run that has not started is not
// affected.
func (r *run) cancel(cause error) {
	if stop := r.stop.Load(); stop != nil {
		r.cancelledAt.CompareAndSwap(0, time.Now().UnixNano())
		(*stop)(cause)
	}
}

func (*run) IgnoreDeadLetterLogging() {}

// heldUntil is when the lease expires at the earliest, by the store's clock.
func (r *run) heldUntil() time.Time {
	if renewed := time.Unix(0, r.renewedUntil.Load()); renewed.After(r.lease.ExpiresAt) {
		return renewed
	}
	return r.lease.ExpiresAt
}

// claim returns true to the one caller that is to settle the run.
func (r *run) claim() bool { return r.settled.CompareAndSwap(false, true) }

// interrupted reports whether the result is a hand-back that a stop caused.
func (r *run) interrupted() bool {
	return r.started.Load() && r.result.Settlement.Outcome == backend.OutcomeReleased
}

// released is the settlement that hands the run's job back.
func (r *run) released() backend.Settlement {
	return backend.Settlement{
		Queue:   r.lease.Job.Queue,
		ID:      r.lease.Job.ID,
		Token:   r.lease.Token,
		Outcome: backend.OutcomeReleased,
	}
}

// workshop is what executors need to run jobs.
type workshop struct {
	worker   string
	registry *jobs.Registry
	store    backend.Backend
	clock    *storeClock
	now      func() time.Time // the clock's
	life     *life
	news     *news
	bell     *progressBell
	log      *slog.Logger
	// context is the parent of all handlers' contexts. It carries values and is never
	// cancelled.
	context context.Context
}

// execute runs the job in the calling goroutine and calls returned exactly once,
// with the result set.
func (r *run) execute(w *workshop, returned func()) {
	if r.lost.Load() {
		returned()
		return
	}
	now := w.clock.now()
	if !now.Before(r.lease.ExpiresAt) {
		// The process slept. Whose the job is, the store says when it is given back.
		r.result.Settlement = r.released()
		returned()
		return
	}
	work, refusal := w.registry.Begin(r.lease, now, w.worker)
	if work == nil {
		r.result.Settlement = *refusal
		returned()
		return
	}
	ctx, cancel := context.WithCancelCause(w.context)
	r.stop.Store(&cancel)
	r.work.Store(work)
	work.Store(w.store)
	work.Log(w.log)
	work.OnProgress(w.bell.ring)
	if r.lost.Load() {
		cancel(jobs.ErrLeaseLost)
	}
	if w.life.cancelling.Load() {
		r.cancel(jobs.ErrStopping)
	}
	var limit *time.Timer
	if d := work.Timeout(); d > 0 {
		limit = time.AfterFunc(d, func() { cancel(work.TimeoutCause()) })
	}
	r.began = now
	r.started.Store(true)
	w.news.started(r)
	work.Do(ctx, w.now, func(result jobs.Result) {
		if limit != nil {
			limit.Stop()
		}
		r.result = result
		cancel(nil)
		returned()
	})
}

// storeClock tells the store's time from its last answer and the time that has
// passed since, which it takes from the monotonic clock.
type storeClock struct{ last atomic.Pointer[reading] }

type reading struct{ store, local time.Time }

func (c *storeClock) set(store time.Time) {
	c.last.Store(&reading{store: store, local: time.Now()})
}

func (c *storeClock) now() time.Time {
	last := c.last.Load()
	if last == nil {
		return time.Now()
	}
	return last.store.Add(time.Since(last.local))
}

// at is an instant of this machine by the store's clock; the zero instant of the zero one.
func (c *storeClock) at(local time.Time) time.Time {
	if local.IsZero() {
		return local
	}
	return c.now().Add(time.Until(local)).Round(time.Millisecond)
}
