package actors

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
)

// tree is what the actors of one worker share.
type tree struct {
	config   Config
	worker   string
	system   *actor.ActorSystem
	log      *slog.Logger
	dispatch *dispatcher
	ledger   *ledger
	outside  *outside
	line     *line
	news     *news
	clock    storeClock
	roster   *roster
	door     *door
	started  time.Time

	supervisor, fetcher, pool, settler, keeper *actor.PID

	// accepting is false from the moment no job is to be begun any more.
	accepting atomic.Bool
	// cancelling is true from the moment the handlers' contexts are cancelled.
	cancelling atomic.Bool
	// handlerContext is the parent of all handlers' contexts. It carries values
	// and is never cancelled.
	handlerContext context.Context

	// blockKeys are those of the kinds that the worker knows.
	blockKeys []string

	// keeperPulse is when the keeper last began a round, fetcherPulse when the
	// fetcher last heard of one, in Unix nanoseconds.
	keeperPulse, fetcherPulse atomic.Int64
	// progressPending is set while the keeper knows of unsaved progress.
	progressPending atomic.Bool

	// now in which state, since when, and when a stop began and will be over,
	// in Unix nanoseconds.
	current           atomic.Pointer[stateSince]
	stopBegan, stopBy atomic.Int64

	// watchdog ends a stop that does not end by itself, watchdogAt and lastCalls.
	stopMu     sync.Mutex
	watchdog   *time.Timer
	watchdogAt time.Time
	// finishing is set when all parts have ended, or are not waited for any more.
	finishing atomic.Bool
	concluded sync.Once

	// done is closed when all is over; outcome is set before.
	done    chan struct{}
	outcome *Stopped
}

// progressed tells the keeper, once, that there is progress to store.
func (t *tree) progressed() {
	if !t.progressPending.Swap(true) {
		t.system.Root.Send(t.keeper, &progressMade{})
	}
}

// handBack returns runs that nobody has begun.
func (t *tree) handBack(runs []*run, how ending) {
	for _, r := range runs {
		if r.claim() {
			r.settlement, r.ending = r.released(), how
			t.system.Root.Send(t.settler, r)
		}
	}
}

// props are the options that all actors of the tree have.
func (t *tree) props(producer func() actor.Actor, options ...actor.PropsOption) *actor.Props {
	options = append([]actor.PropsOption{
		actor.WithDispatcher(t.dispatch),
		actor.WithMailbox(newDrainInbox),
	}, options...)
	return actor.PropsFromProducer(producer, options...)
}

// after sends a message to an actor when a time has passed, if the tree is there
// by then.
func (t *tree) after(d time.Duration, to *actor.PID, message any) *time.Timer {
	return time.AfterFunc(d, func() {
		if t.line.ctx.Err() == nil {
			t.system.Root.Send(to, message)
		}
	})
}

type stateSince struct {
	state State
	since time.Time
}

func (t *tree) state() State { return t.current.Load().state }

// setState changes the state and tells the subscribers.
func (t *tree) setState(to State) {
	from := t.current.Swap(&stateSince{to, time.Now()}).state
	if from == to {
		return
	}
	t.news.tell("a subscriber to the worker's state", func() {
		t.log.Debug("worker changes its state", "worker", t.worker, "from", string(from), "to", string(to))
		t.system.EventStream.Publish(&StateChanged{PID: t.door.pid, Worker: t.worker, From: from, To: to})
	}, math.MaxInt)
}

// settled closes runs that the store has answered for.
func (t *tree) settled(runs []*run, results []backend.SettleResult) {
	t.ledger.settled(runs, results)
	t.news.ended(runs, results)
}

// untilEnd is how much time a stop has left.
func (t *tree) untilEnd() time.Duration {
	by := t.stopBy.Load()
	if by == 0 {
		return signOffTimeout
	}
	return max(0, time.Until(time.Unix(0, by)))
}

// status describes the tree as it is.
func (t *tree) status() Status {
	now := t.current.Load()
	runs, settled := t.ledger.size()
	slots, _ := t.roster.size()
	s := Status{
		Worker: t.worker, State: now.state, Since: now.since,
		Concurrency: slots, Running: runs - settled, Unconfirmed: settled,
		BackendError: t.line.outage.text(),
		LastProgress: time.Unix(0, min(t.keeperPulse.Load(), t.fetcherPulse.Load())), Counts: t.ledger.snapshot(),
	}
	s.Stuck, s.StuckCalls = t.outside.overdue(time.Now())
	if by := t.stopBy.Load(); by != 0 {
		s.StopBy = time.Unix(0, by)
	}
	return s
}
