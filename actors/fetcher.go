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
// credit, and has at most one Lease call in flight, which asks for as many jobs as
// there are credits, and for what is to be in stock: while it is in flight credits
// pile up, so batches grow under load. When there is nothing to lease the call
// waits: it is answered when a job is enqueued or becomes due, or when idleWait has
// passed.
//
// It assigns runs to slots and tells their executors. It takes hush and Resume,
// fewer from a pool that shrinks, blockedKeys from the keeper, and drain: then it
// interrupts a call that waits, lets any other end, hands back what still arrives,
// and ends; with lastOrder at once.
//
// A Lease call whose answer was lost is repeated with its token until it is
// answered, so the store never counts a job as ours that we do not know of.
type fetcher struct {
	tree *tree
	desk *desk
}

// desk is what a fetcher has in hand. It outlives a restart of the fetcher.
type desk struct {
	relay   relay
	credits []*slot
	stock   stock
	// nudged is set while a nudge is under way.
	nudged bool
	// token is that of the call in flight or to be repeated; empty if there is
	// none.
	token    string
	calls    uint64
	asked    int
	ahead    int // of those asked for
	calling  bool
	failures int
	abort    context.CancelFunc

	waiter backend.Waiter
	// waiting is set while the call in flight waits. waitFailures counts how often
	// in a row such a call failed, although others may have been answered.
	waiting      bool
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
		token  string
		waited bool
		reply  backend.LeaseReply
		err    error
	}
	leaseAgain  struct{ token string }
	blockedKeys struct{ keys []string }
	hush        struct{}
	fewer       struct{}
	lastOrder   struct{}
)

func (*leased) IgnoreDeadLetterLogging()      {}
func (*leaseAgain) IgnoreDeadLetterLogging()  {}
func (*blockedKeys) IgnoreDeadLetterLogging() {}
func (*hush) IgnoreDeadLetterLogging()        {}
func (*fewer) IgnoreDeadLetterLogging()       {}
func (*lastOrder) IgnoreDeadLetterLogging()   {}

func (f *fetcher) Receive(c actor.Context) {
	d := f.desk
	switch m := c.Message().(type) {
	case *slot:
		if !m.assigned.IsZero() {
			d.stock.freed(time.Since(m.assigned))
		}
		d.credits = append(d.credits, m)
		f.serve(c, false)
		if !d.nudged && (len(d.credits) > 0 || d.stock.missing() > 0) {
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
			f.lease(c, 0)
			return
		}
	case *blockedKeys:
		f.tree.fetcherPulse.Store(time.Now().UnixNano())
		if keys := f.known(m.keys); len(keys) > 0 {
			d.unblock, d.empty = keys, false
			f.nudge()
		}
	case *fewer:
		d.credits = slices.DeleteFunc(d.credits, (*slot).withdraw)
		if d.waiting && d.asked > len(d.credits) {
			f.nudge()
		}
	case *lookAtStock:
		f.lookAtStock(c)
	case *hush:
		d.quiet = true
		f.tree.handBack(d.stock.clear(), endingSettled)
		f.stopWaiting(c)
	case *Resume:
		d.quiet, d.empty = false, false
	case *drain:
		d.draining = true
		f.tree.handBack(d.stock.clear(), endingSettled)
		f.stopWaiting(c)
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
	case d.quiet:
	case d.empty:
		if len(d.credits) > 0 {
			f.wait(c)
		}
	case len(d.credits) > 0 || d.stock.missing() > 0:
		f.lease(c, 0)
	}
}

// wait leases as soon as there may be something to lease.
func (f *fetcher) wait(c actor.Context) {
	d := f.desk
	limit := idleWait
	if !d.due.IsZero() {
		limit = min(limit, time.Until(d.due))
	}
	f.lease(c, limit)
}

// lease asks for as many jobs as there are credits, or repeats a call that was
// not answered. With a limit the call waits for jobs, as long as that at most.
func (f *fetcher) lease(c actor.Context, limit time.Duration) {
	t, d, self := f.tree, f.desk, c.Self()
	if d.token == "" {
		d.calls++
		d.token = t.worker + "." + strconv.FormatUint(d.calls, 36)
		d.asked, d.ahead = min(len(d.credits), d.stock.atOnce()), 0
		if !d.empty {
			d.ahead = min(d.stock.missing(), d.stock.atOnce()-d.asked)
			d.asked += d.ahead
		}
		d.failures = 0
		d.stock.called()
	}
	request := backend.LeaseRequest{
		Worker: t.worker, Token: d.token, Queues: t.config.Queues,
		Unblock: d.unblock, Max: d.asked, Ahead: d.ahead, Duration: t.config.Lease,
	}
	if d.quiet || d.draining {
		request.Max, request.Ahead = 0, 0 // only to learn what an unanswered call has taken
	}
	d.calling, d.unblocking, d.waiting = true, len(d.unblock) > 0, limit > 0
	answer := &leased{token: request.Token, waited: d.waiting}
	if d.waiting {
		var waiter backend.Waiter
		waiter, answer.err = f.waiter()
		d.abort = t.callBy(d.relay.begin, 2*idleWait, func(ctx context.Context) {
			if answer.err == nil {
				answer.reply, answer.err = waiter.Lease(ctx, request, limit)
			}
			d.relay.arm()
			t.system.Root.Send(self, answer)
		})
		return
	}
	timeout := patience(d.failures)
	if d.draining {
		timeout = lastLease
	}
	d.abort = t.callBy(d.relay.begin, timeout, func(ctx context.Context) {
		answer.reply, answer.err = t.config.Backend.Lease(ctx, request)
		t.heard("lease", answer.err)
		d.relay.arm()
		t.system.Root.Send(self, answer)
	})
}

func (f *fetcher) leased(c actor.Context, m *leased) {
	t, d := f.tree, f.desk
	if m.token != d.token || !d.calling || m.waited != d.waiting {
		return
	}
	d.calling, d.waiting, d.abort = false, false, nil
	if !m.waited {
		d.stock.answered(t.roster.count())
	}
	switch {
	case m.err != nil && m.waited:
		f.waitFailed(c, m.err)
		return
	case m.err != nil:
		f.leaseFailed(c, m.err)
		return
	case m.waited:
		t.heard("wait", nil)
		d.waitFailures = 0
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

// leaseFailed has a call repeated until it is answered.
func (f *fetcher) leaseFailed(c actor.Context, err error) {
	t, d := f.tree, f.desk
	d.failures++
	if d.draining {
		d.lastFailures++
		d.failures = min(d.failures, 2) // little time is left
	}
	if d.last && d.lastFailures >= lastTries || errors.Is(err, backend.ErrClosed) {
		f.forsake()
		d.empty = true
		return
	}
	t.after(t.config.retry.Delay(d.failures), c.Self(), &leaseAgain{d.token})
}

// waitFailed has a call that waited repeated without waiting: at once if it was
// interrupted, as nobody wants more then than what it has taken.
func (f *fetcher) waitFailed(c actor.Context, err error) {
	t, d := f.tree, f.desk
	if d.quiet || d.draining {
		f.lease(c, 0)
		return
	}
	t.heard("wait", err)
	d.waitFailures++
	t.after(t.config.retry.Delay(d.waitFailures), c.Self(), &leaseAgain{d.token})
}

// start wakes an executor in the fetcher's own goroutine, after its turn: the job
// that an idle worker picks up is not to wait for another one.
func (f *fetcher) start(c actor.Context, s *slot, executor *actor.PID) {
	s.relay.arm()
	c.Send(executor, lookMessage)
	if mailbox := s.relay.disarm(); mailbox != nil {
		f.desk.relay.begin(func() { s.relay.turns(mailbox, nil) })
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

// assign gives leases to free slots; what is over stays in stock.
func (f *fetcher) assign(c actor.Context, leases []backend.Lease) {
	if len(leases) == 0 {
		return
	}
	t, d := f.tree, f.desk
	t.tally.leased(len(leases))
	runs := t.ledger.open(leases)
	if d.quiet || d.draining {
		t.handBack(runs, endingSettled)
		return
	}
	d.stock.put(runs)
	f.serve(c, len(leases) == 1)
	if len(d.stock.runs) > 0 && !d.stock.watched {
		d.stock.watched = true
		t.after(stockTime, c.Self(), &lookAtStock{})
	}
}

// serve gives what is in stock to free slots. One that comes alone is begun without
// delay.
func (f *fetcher) serve(c actor.Context, alone bool) {
	d, now := f.desk, time.Now()
	for len(d.credits) > 0 && len(d.stock.runs) > 0 {
		last := len(d.credits) - 1
		free := d.credits[last]
		d.credits[last] = nil
		d.credits = d.credits[:last]
		executor, ok := free.assign(d.stock.runs[0])
		if !ok {
			continue
		}
		free.assigned = now
		d.stock.take()
		switch {
		case executor == nil:
		case alone:
			f.start(c, free, executor)
		default:
			c.Send(executor, lookMessage)
		}
	}
}

// lookAtStock hands back what nobody takes.
func (f *fetcher) lookAtStock(c actor.Context) {
	d := f.desk
	d.stock.watched = false
	if len(d.stock.runs) == 0 {
		return
	}
	if d.stock.idle() {
		f.tree.handBack(d.stock.clear(), endingReturned)
		return
	}
	d.stock.watched = true
	f.tree.after(stockTime, c.Self(), &lookAtStock{})
}

// waiter returns the waiter and makes it where there is none.
func (f *fetcher) waiter() (backend.Waiter, error) {
	d := f.desk
	if d.waiter == nil {
		waiter, err := f.tree.config.Backend.Waiter(f.tree.config.Queues)
		if err != nil {
			return nil, err
		}
		d.waiter = waiter
	}
	return d.waiter, nil
}

// nudge ends a wait.
func (f *fetcher) nudge() {
	if d := f.desk; d.waiting && d.waiter != nil {
		d.waiter.Nudge()
	}
}

// stopWaiting interrupts a wait, and sees to it that a call that is to be repeated
// is so at once.
func (f *fetcher) stopWaiting(c actor.Context) {
	t, d := f.tree, f.desk
	if waiter := d.waiter; waiter != nil {
		d.waiter = nil
		t.call(callTimeout, func(context.Context) { _ = waiter.Close() })
	}
	if d.token != "" && !d.calling {
		f.lease(c, 0)
	}
}

// known picks the keys of kinds that this worker can run.
func (f *fetcher) known(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		kind, ok := jobs.KindOfBlockKey(key)
		return !ok || !f.tree.config.Registry.Handles(kind)
	})
}
