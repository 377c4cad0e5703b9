package actors

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// fetcher turns demand into leases. It takes free slots, each of which is a
// credit, and has at most one Lease call in flight, which asks for as many jobs
// as there are credits: while it is in flight credits pile up, so batches grow
// under load. When there is nothing to lease it waits, in one bounded call that
// an enqueue interrupts.
//
// It assigns runs to slots and tells their executors. It takes hush and Resume,
// fewer from a pool that shrinks, blockedKeys from the keeper, and drain: then it
// interrupts the wait, lets the Lease call end, hands back what still arrives, and
// ends; with lastOrder at once.
//
// A Lease call whose answer was lost is repeated with its token until it is
// answered, so the store never counts a job as ours that we do not know of.
type fetcher struct {
	tree *tree
	desk *desk
}

// desk is what a fetcher has in hand. It outlives a restart of the fetcher.
type desk struct {
	credits []*slot
	// nudged is set while a nudge is under way.
	nudged bool
	// token is that of the call in flight or to be repeated; empty if there is
	// none.
	token    string
	calls    uint64
	asked    int
	calling  bool
	failures int
	abort    context.CancelFunc

	waiter  backend.Waiter
	waiting bool
	// pausing is set while a wait that failed is not to be repeated yet;
	// waitFailures counts how often it did.
	pausing      bool
	waitFailures int
	// empty is true if the last Lease found all there was.
	empty bool
	// due is when there may be more without a wake-up; fruitless counts the
	// leases in a row that found nothing although something was to be due.
	due       time.Time
	fruitless int

	// unblock are the keys of blocked jobs to ask for; unblocking is whether the
	// last call did.
	unblock    []string
	unblocking bool

	quiet    bool
	draining bool
	// lastFailures counts the calls that failed while it drains; last is set when
	// nothing but the fetcher is waited for any more.
	lastFailures int
	last         bool
}

const (
	// idleWait bounds a wait, and so for how long a lost wake-up is felt.
	idleWait = 5 * time.Second
	// lastLease is how long a fetcher that drains waits for its Lease call when
	// nothing else is waited for, and lastTries how often it tries at least: of a
	// process that gets little CPU a second may be one try.
	lastLease = time.Second
	lastTries = 5
)

type (
	leased struct {
		token string
		reply backend.LeaseReply
		err   error
	}
	waited struct {
		waiter backend.Waiter
		err    error
	}
	leaseAgain  struct{ token string }
	waitAgain   struct{}
	blockedKeys struct{ keys []string }
	hush        struct{}
	fewer       struct{}
	lastOrder   struct{}
)

func (*leased) IgnoreDeadLetterLogging()      {}
func (*waited) IgnoreDeadLetterLogging()      {}
func (*leaseAgain) IgnoreDeadLetterLogging()  {}
func (*waitAgain) IgnoreDeadLetterLogging()   {}
func (*blockedKeys) IgnoreDeadLetterLogging() {}
func (*hush) IgnoreDeadLetterLogging()        {}
func (*fewer) IgnoreDeadLetterLogging()       {}
func (*lastOrder) IgnoreDeadLetterLogging()   {}

func (f *fetcher) Receive(c actor.Context) {
	d := f.desk
	switch m := c.Message().(type) {
	case *slot:
		d.credits = append(d.credits, m)
		if !d.nudged {
			d.nudged = true
			c.Send(c.Self(), nudgeMessage)
		}
		return
	case *nudge:
		d.nudged = false
	case *leased:
		f.leased(c, m)
	case *leaseAgain:
		if m.token == d.token && !d.calling {
			f.lease(c)
			return
		}
	case *waited:
		f.waited(c, m)
	case *waitAgain:
		d.pausing, d.empty = false, false
	case *blockedKeys:
		f.tree.fetcherPulse.Store(time.Now().UnixNano())
		if keys := f.known(m.keys); len(keys) > 0 {
			d.unblock, d.empty = keys, false
		}
	case *fewer:
		d.credits = slices.DeleteFunc(d.credits, (*slot).withdraw)
	case *hush:
		d.quiet = true
		f.stopWaiting()
	case *Resume:
		d.quiet, d.empty = false, false
	case *drain:
		d.draining = true
		f.stopWaiting()
	case *lastOrder:
		d.last = true
		switch {
		case d.calling:
			d.abort()
		case d.lastFailures >= lastTries:
			f.forsake()
		}
	default:
		return
	}
	f.advance(c)
}

// advance makes the next call, if there is one to make.
func (f *fetcher) advance(c actor.Context) {
	d := f.desk
	switch {
	case d.calling || d.token != "":
		// one call at a time
	case d.draining:
		c.Stop(c.Self())
	case d.quiet || len(d.credits) == 0:
	case d.empty:
		f.wait(c)
	case !d.waiting || len(d.unblock) > 0:
		f.lease(c)
	}
}

// lease asks for as many jobs as there are credits, or repeats a call that was
// not answered.
func (f *fetcher) lease(c actor.Context) {
	t, d, self := f.tree, f.desk, c.Self()
	if d.token == "" {
		d.calls++
		d.token = t.worker + "." + strconv.FormatUint(d.calls, 36)
		d.asked = min(len(d.credits), backend.MaxBatch)
		d.failures = 0
	}
	request := backend.LeaseRequest{
		Worker: t.worker, Token: d.token, Queues: t.config.Queues,
		Unblock: d.unblock, Max: d.asked, Duration: t.config.Lease,
	}
	if d.quiet || d.draining {
		request.Max = 0 // only to learn what an unanswered call has taken
	}
	d.calling, d.unblocking = true, len(d.unblock) > 0
	limit := callTimeout
	if d.draining {
		limit = lastLease
	}
	d.abort = t.call(limit, func(ctx context.Context) {
		reply, err := t.config.Backend.Lease(ctx, request)
		t.heard("lease", err)
		t.system.Root.Send(self, &leased{token: request.Token, reply: reply, err: err})
	})
}

func (f *fetcher) leased(c actor.Context, m *leased) {
	t, d := f.tree, f.desk
	if m.token != d.token || !d.calling {
		return
	}
	d.calling, d.abort = false, nil
	if m.err != nil {
		d.failures++
		if d.draining {
			d.lastFailures++
			d.failures = min(d.failures, 2) // little time is left
		}
		if d.last && d.lastFailures >= lastTries || errors.Is(m.err, backend.ErrClosed) {
			f.forsake()
			d.empty = true
			return
		}
		t.after(t.config.retry.Delay(d.failures), c.Self(), &leaseAgain{d.token})
		return
	}
	nothing := len(m.reply.Leases) == 0
	inVain := nothing && d.unblocking // those jobs cannot be had now
	d.token, d.unblock = "", nil
	t.clock.set(m.reply.Now)
	f.assign(c, m.reply.Leases)

	d.empty = !m.reply.More
	d.due = time.Time{}
	if !m.reply.NextDue.IsZero() {
		wait := m.reply.NextDue.Sub(m.reply.Now)
		if nothing && wait <= 0 {
			d.fruitless++
			wait = t.config.retry.Delay(d.fruitless)
		} else {
			d.fruitless = 0
		}
		d.due = time.Now().Add(wait)
	}
	if keys := f.known(m.reply.Blocked); len(keys) > 0 && !inVain {
		d.unblock, d.empty = keys, false
	}
}

// forsake gives up a call that was not answered: what it may have taken comes back
// when the lease expires.
func (f *fetcher) forsake() {
	t, d := f.tree, f.desk
	if d.token != "" {
		t.log.Warn("the job store did not answer a lease; jobs that it may have handed out come back when their leases expire",
			"worker", t.worker, "lease", t.config.Lease)
	}
	d.token = ""
}

// assign gives leases to free slots, and hands back those for which there is
// none any more.
func (f *fetcher) assign(c actor.Context, leases []backend.Lease) {
	if len(leases) == 0 {
		return
	}
	t, d := f.tree, f.desk
	t.tally.leased(len(leases))
	runs := t.ledger.open(leases)
	for len(runs) > 0 && len(d.credits) > 0 && !d.quiet && !d.draining {
		last := len(d.credits) - 1
		free := d.credits[last]
		d.credits[last] = nil
		d.credits = d.credits[:last]
		if executor, ok := free.assign(runs[0]); ok {
			runs = runs[1:]
			if executor != nil {
				c.Send(executor, lookMessage)
			}
		}
	}
	t.handBack(runs)
}

// wait waits until there may be something to lease.
func (f *fetcher) wait(c actor.Context) {
	t, d, self := f.tree, f.desk, c.Self()
	if d.waiting || d.pausing {
		return
	}
	if d.waiter == nil {
		waiter, err := t.config.Backend.Waiter(t.config.Queues)
		if err != nil {
			f.waitFailed(c, err)
			return
		}
		d.waiter = waiter
	}
	limit := idleWait
	if !d.due.IsZero() {
		limit = min(limit, time.Until(d.due))
	}
	if limit <= 0 {
		d.empty = false
		f.lease(c)
		return
	}
	d.waiting = true
	waiter := d.waiter
	t.call(2*idleWait, func(ctx context.Context) {
		err := waiter.Wait(ctx, limit)
		t.system.Root.Send(self, &waited{waiter: waiter, err: err})
	})
}

func (f *fetcher) waited(c actor.Context, m *waited) {
	t, d := f.tree, f.desk
	if m.waiter != d.waiter {
		return // closed in the meantime
	}
	d.waiting = false
	if m.err == nil {
		t.heard("wait", nil)
		d.empty, d.waitFailures = false, 0
		return
	}
	f.stopWaiting()
	f.waitFailed(c, m.err)
}

// waitFailed lets the fetcher ask for leases from time to time while it cannot
// wait.
func (f *fetcher) waitFailed(c actor.Context, err error) {
	t, d := f.tree, f.desk
	t.heard("wait", err)
	d.pausing = true
	d.waitFailures++
	t.after(t.config.retry.Delay(d.waitFailures), c.Self(), &waitAgain{})
}

// stopWaiting interrupts a wait; the waiter hands an unused wake-up on.
func (f *fetcher) stopWaiting() {
	t, d := f.tree, f.desk
	if d.waiter == nil {
		return
	}
	waiter := d.waiter
	d.waiter, d.waiting = nil, false
	t.call(callTimeout, func(context.Context) { _ = waiter.Close() })
}

// known picks the keys of kinds that this worker can run.
func (f *fetcher) known(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		kind, ok := jobs.KindOfBlockKey(key)
		return !ok || !f.tree.config.Registry.Handles(kind)
	})
}
