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
// It is the same value after a restart, and what it has in hand is still there.
type fetcher struct {
	config  *Config
	worker  string
	queues  *served
	chooser *chooser
	news    *news
	line    *line
	ledger  *ledger
	roster  *roster
	clock   *storeClock
	life    *life
	post    *post
	settler *actor.PID

	relay relay

	credits []*slot
	stock   stock
	// nudged is set while a nudge is under way.
	nudged bool
	// token is that of the call in flight or to be repeated; empty if there is
	// none.
	token   string
	calls   uint64
	asked   int
	ahead   int // of those asked for
	calling bool
	tries   tries
	abort   context.CancelFunc

	// open are the queues that are asked and waited at, asking those of the call in
	// flight; outdated is set if open has changed since that began.
	open, asking []string
	outdated     bool

	lookout *lookout
	// waiting is set while the call in flight waits. waitFailures counts how often
	// in a row such a call failed, although others may have been answered, and
	// hollow how often it came back at once with nothing.
	waiting              bool
	waitFailures, hollow int
	hollowLines          rarely
	// resting is set while no new call is to be made.
	resting bool
	// empty is true if the last Lease found all there was.
	empty bool
	// due is when there may be more without a wake-up; fruitless counts the
	// leases in a row that found nothing although something was to be due.
	due       time.Time
	fruitless int

	// unblock are the keys of blocked jobs that the next call is to ask for, and
	// unblocking those that the call in flight does.
	unblock, unblocking []string

	quiet    bool
	draining bool
	// lastFailures counts the calls that failed while it drains; last is set when
	// nothing but the fetcher is waited for any more.
	lastFailures int
	last         bool
}

func newFetcher(t *tree) *fetcher {
	open := t.queues.open()
	return &fetcher{
		config: &t.config, worker: t.worker, queues: t.queues, open: open,
		chooser: newChooser(&t.config, t.outside, t.log), news: t.news, line: t.line, ledger: t.ledger, roster: t.roster, clock: t.clock,
		life: t.life, post: t.post, settler: t.settler,
		relay: relay{dispatcher: t.dispatch}, lookout: newLookout(t.line, open),
	}
}

const (
	// idleWait bounds a wait, and so for how long a lost wake-up is felt.
	idleWait = 5 * time.Second
	// lastLease is how long a fetcher that drains waits for its Lease call when
	// nothing else is waited for, and lastTries how often it tries at least: of a
	// process that gets little CPU a second may be one try.
	lastLease = time.Second
	lastTries = 5
	// A call is hollow if it comes back within hollowTime with nothing although there
	// was to be something; after hollowCalls of them in a row there are pauses.
	hollowTime  = 5 * time.Millisecond
	hollowCalls = 16
)

type (
	leased struct {
		token  string
		waited bool
		began  time.Time
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
	switch m := c.Message().(type) {
	case *slot:
		if !m.assigned.IsZero() {
			f.stock.freed(time.Since(m.assigned))
		}
		f.credits = append(f.credits, m)
		f.serve(c, false)
		if !f.nudged && (len(f.credits) > 0 || f.stock.missing() > 0) {
			f.nudged = true
			c.Send(c.Self(), nudgeMessage)
		}
		return
	case *nudge:
		f.nudged = false
	case *leased:
		f.leased(c, m)
	case *leaseAgain:
		f.resting = false
		if m.token != "" && m.token == f.token && !f.calling {
			f.lease(c, 0)
			return
		}
	case *blockedKeys:
		f.life.fetcherPulse.Store(time.Now().UnixNano())
		f.lookAtQueues()
		if keys := f.known(m.keys); len(keys) > 0 {
			f.unblock, f.empty = keys, false
			f.nudge()
		}
	case *queuesChanged:
		f.lookAtQueues()
	case *fewer:
		f.credits = slices.DeleteFunc(f.credits, (*slot).withdraw)
		if f.waiting && f.asked > len(f.credits) {
			f.nudge()
		}
	case *lookAtStock:
		f.lookAtStock(c)
	case *hush:
		f.quiet = true
		f.handBack(f.stock.clear(), endingSettled)
		f.stopWaiting(c)
	case *Resume:
		f.quiet, f.empty = false, false
	case *drain:
		f.draining = true
		f.handBack(f.stock.clear(), endingSettled)
		f.stopWaiting(c)
	case *lastOrder:
		f.last = true
		switch {
		case f.calling:
			f.abort()
		case f.lastFailures >= lastTries:
			f.forsake()
		}
	default:
		return
	}
	f.advance(c)
}

// advance makes the next call, if there is one to make.
func (f *fetcher) advance(c actor.Context) {
	switch {
	case f.calling || f.token != "":
		// one call at a time
	case f.draining:
		c.Stop(c.Self())
	case f.quiet, f.resting, len(f.open) == 0:
	case f.empty:
		if len(f.credits) > 0 {
			f.wait(c)
		}
	case len(f.credits) > 0 || f.stock.missing() > 0:
		f.lease(c, 0)
	}
}

// wait leases as soon as there may be something to lease.
func (f *fetcher) wait(c actor.Context) {
	limit := idleWait
	if !f.due.IsZero() {
		limit = min(limit, time.Until(f.due))
	}
	f.lease(c, limit)
}

// lease asks for as many jobs as there are credits, or repeats a call that was
// not answered. With a limit the call waits for jobs, as long as that at most.
func (f *fetcher) lease(c actor.Context, limit time.Duration) {
	self := c.Self()
	if f.token == "" {
		f.calls++
		f.token = f.worker + "." + strconv.FormatUint(f.calls, 36)
		f.asking, f.outdated = f.open, false
		f.asked, f.ahead = min(len(f.credits), f.stock.atOnce()), 0
		if !f.empty {
			f.ahead = min(f.stock.missing(), f.stock.atOnce()-f.asked)
			f.asked += f.ahead
		}
		f.tries = f.line.first()
		f.unblock, f.unblocking = nil, f.unblock
		f.stock.called()
	}
	request := backend.LeaseRequest{
		Worker: f.worker, Token: f.token, Queues: f.asking,
		Unblock: f.unblocking, Max: f.asked, Ahead: f.ahead, Duration: f.config.Lease,
	}
	if f.quiet || f.draining || f.outdated {
		request.Max, request.Ahead = 0, 0 // only to learn what an unanswered call has taken
	}
	f.calling, f.waiting = true, limit > 0
	answer := &leased{token: request.Token, waited: f.waiting, began: time.Now()}
	op, timeout := "lease", f.tries.patience()
	ask := func(ctx context.Context) (err error) {
		request.Queues = f.chooser.order(request.Queues)
		answer.reply, err = f.line.store.Lease(ctx, request)
		return err
	}
	switch lookout := f.lookout; {
	case f.waiting:
		op, timeout = "wait", 2*idleWait
		ask = func(ctx context.Context) (err error) {
			request.Queues = f.chooser.order(request.Queues)
			answer.reply, err = lookout.lease(ctx, request, limit)
			return err
		}
	case f.draining:
		timeout = lastLease
	}
	f.abort = f.line.call(f.relay.begin, op, timeout, ask, func(err error) {
		answer.err = err
		f.relay.arm()
		f.post.send(self, answer)
	})
}

func (f *fetcher) leased(c actor.Context, m *leased) {
	if m.token != f.token || !f.calling || m.waited != f.waiting {
		return
	}
	f.calling, f.waiting, f.abort = false, false, nil
	if !m.waited {
		f.stock.answered(f.roster.count())
	}
	switch {
	case m.err != nil && m.waited:
		f.waitFailed(c, m.err)
		return
	case m.err != nil:
		f.leaseFailed(c, m.err)
		return
	case m.waited:
		f.waitFailures = 0
	}
	nothing := len(m.reply.Leases) == 0
	inVain := nothing && len(f.unblocking) > 0 // those jobs cannot be had now
	f.token, f.unblocking = "", nil
	f.clock.set(m.reply.Now)
	f.chooser.leased(m.reply.Leases)
	if n := m.reply.Reclaimed; n > 0 {
		f.news.recovered(n)
	}
	f.assign(c, m.reply.Leases)

	f.empty = !m.reply.More && len(f.unblock) == 0 && !f.outdated
	f.due = time.Time{}
	if !m.reply.NextDue.IsZero() {
		wait := m.reply.NextDue.Sub(m.reply.Now)
		if nothing && wait <= 0 {
			f.fruitless++
			wait = f.line.retry.Delay(f.fruitless)
		} else {
			f.fruitless = 0
		}
		f.due = time.Now().Add(wait)
	}
	if keys := f.known(m.reply.Blocked); len(keys) > 0 && !inVain {
		f.unblock, f.empty = keys, false
	}
	if nothing && (m.waited || m.reply.More || len(f.unblock) > 0) && time.Since(m.began) < hollowTime {
		f.rest(c)
	} else {
		f.hollow = 0
	}
}

// rest lets time pass when the store goes on to say that there is something, or that
// it has waited, and then there is nothing.
func (f *fetcher) rest(c actor.Context) {
	if f.hollow++; f.hollow < hollowCalls {
		return
	}
	if missed, ok := f.hollowLines.may(time.Now()); ok {
		f.config.Logger.Warn("the job store says at once that there is nothing where it is to wait, or that there is more where there is nothing; asking it less often",
			"times", f.hollow, "left_out", missed)
	}
	f.resting = true
	f.post.after(f.line.retry.Delay(f.hollow-hollowCalls+1), c.Self(), &leaseAgain{})
}

// leaseFailed has a call repeated until it is answered.
func (f *fetcher) leaseFailed(c actor.Context, err error) {
	if f.line.failed(&f.tries, err) == faultOwn && tookTooLong(err) {
		f.stock.tooMuch()
	}
	if f.draining {
		f.lastFailures++
		f.tries.failures = min(f.tries.failures, 2) // little time is left
	}
	if f.last && f.lastFailures >= lastTries || f.draining && errors.Is(err, backend.ErrClosed) {
		f.forsake()
		return
	}
	f.post.after(f.line.pause(f.tries.failures, err), c.Self(), &leaseAgain{f.token})
}

// waitFailed has a call that waited repeated without waiting: at once if it was
// interrupted, as nobody wants more then than what it has taken.
func (f *fetcher) waitFailed(c actor.Context, err error) {
	if f.quiet || f.draining || f.outdated {
		f.lease(c, 0)
		return
	}
	f.waitFailures++
	f.post.after(f.line.pause(f.waitFailures, err), c.Self(), &leaseAgain{f.token})
}

// forsake gives up a call that was not answered: what it may have taken comes back
// when the lease expires.
func (f *fetcher) forsake() {
	if f.token != "" {
		f.config.Logger.Warn("the job store did not answer a lease; jobs that it may have handed out come back when their leases expire",
			"worker", f.worker, "lease", f.config.Lease)
		f.ledger.forsake()
	}
	f.token = ""
}

// nudge ends a wait.
func (f *fetcher) nudge() {
	if f.waiting {
		f.lookout.nudge()
	}
}

// stopWaiting interrupts a wait, and sees to it that a call that is to be repeated
// is so at once.
func (f *fetcher) stopWaiting(c actor.Context) {
	f.renewLookout()
	if f.token != "" && !f.calling {
		f.lease(c, 0)
	}
}

func (f *fetcher) renewLookout() {
	f.lookout.close()
	f.lookout = newLookout(f.line, f.open)
}

// lookAtQueues takes over which queues are open. What was leased of others and has not
// begun goes back.
func (f *fetcher) lookAtQueues() {
	open := f.queues.open()
	if slices.Equal(open, f.open) {
		return
	}
	f.open, f.outdated, f.empty = open, f.token != "", false
	f.renewLookout()
	kept, closed := f.divide(f.stock.runs)
	f.stock.runs = kept
	f.handBack(closed, endingSettled)
}

// divide tells the runs of open queues from the others.
func (f *fetcher) divide(runs []*run) (open, closed []*run) {
	for _, r := range runs {
		if slices.Contains(f.open, r.lease.Job.Queue) {
			open = append(open, r)
		} else {
			closed = append(closed, r)
		}
	}
	return open, closed
}

// known picks the keys of kinds that this worker can run.
func (f *fetcher) known(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		kind, ok := jobs.KindOfBlockKey(key)
		return !ok || !f.config.Registry.Handles(kind)
	})
}
