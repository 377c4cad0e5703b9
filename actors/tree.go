package actors

import (
	"context"
	"errors"
	"log/slog"
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
	tally    tally
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

	// calls counts the goroutines that talk to the backend; callContext ends
	// when the tree is down.
	calls       sync.WaitGroup
	callContext context.Context
	endCalls    context.CancelFunc
	// stuck counts the calls that go on long after their context has ended.
	stuck atomic.Int64

	// keeperPulse is when the keeper last began a round, fetcherPulse when the
	// fetcher last heard of one, in Unix nanoseconds.
	keeperPulse, fetcherPulse atomic.Int64
	// backendError is what the store's last failure said; nil while it answers.
	backendError atomic.Pointer[string]
	// progressPending is set while the keeper knows of unsaved progress.
	progressPending atomic.Bool

	// now in which state, since when, and when a stop began and will be over,
	// in Unix nanoseconds.
	current           atomic.Pointer[stateSince]
	stopBegan, stopBy atomic.Int64

	// done is closed when all is over; outcome is set before.
	done    chan struct{}
	outcome *Stopped
}

// call runs f in a goroutine of its own: no actor waits for the backend. abort
// ends f's context before its time.
func (t *tree) call(timeout time.Duration, f func(ctx context.Context)) (abort context.CancelFunc) {
	return t.callBy(t.dispatch.Schedule, timeout, f)
}

// callBy is call for actors that have a relay, which has the work done.
func (t *tree) callBy(schedule func(func()), timeout time.Duration, f func(ctx context.Context)) (abort context.CancelFunc) {
	ctx, cancel := context.WithTimeout(t.callContext, timeout)
	t.calls.Add(1)
	late := time.AfterFunc(2*timeout, func() { t.stuck.Add(1) })
	schedule(func() {
		defer t.calls.Done()
		defer func() {
			if !late.Stop() {
				t.stuck.Add(-1)
			}
		}()
		defer cancel()
		f(ctx)
	})
	return cancel
}

// heard notes how a call to the backend ended.
func (t *tree) heard(op string, err error) {
	if err == nil {
		if t.backendError.Load() != nil && t.backendError.Swap(nil) != nil {
			t.log.Info("the job store answers again", "op", op)
		}
		return
	}
	if errors.Is(err, context.Canceled) {
		return // we ended the call
	}
	text := err.Error()
	if t.backendError.Swap(&text) == nil {
		t.log.Warn("the job store does not answer; running jobs go on and settlements are kept", "op", op, "error", text)
	}
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
		if t.callContext.Err() == nil {
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
	t.log.Debug("worker changes its state", "worker", t.worker, "from", string(from), "to", string(to))
	defer func() {
		if fault := recover(); fault != nil {
			t.log.Error("a subscriber to the worker's state panicked", "panic", fault)
		}
	}()
	t.system.EventStream.Publish(&StateChanged{PID: t.door.pid, Worker: t.worker, From: from, To: to})
}

// status describes the tree as it is.
func (t *tree) status() Status {
	now := t.current.Load()
	runs, settled := t.ledger.size()
	slots, _ := t.roster.size()
	s := Status{
		Worker: t.worker, State: now.state, Since: now.since,
		Concurrency: slots, Running: runs - settled, Unconfirmed: settled,
		StuckCalls:   int(t.stuck.Load()),
		LastProgress: time.Unix(0, min(t.keeperPulse.Load(), t.fetcherPulse.Load())), Counts: t.tally.snapshot(),
	}
	if by := t.stopBy.Load(); by != 0 {
		s.StopBy = time.Unix(0, by)
	}
	if text := t.backendError.Load(); text != nil {
		s.BackendError = *text
	}
	return s
}

func (t *tree) settleRequest(call uint64, runs []*run) backend.SettleRequest {
	request := backend.SettleRequest{
		Worker: t.worker, Call: call, Settlements: make([]backend.Settlement, len(runs)),
	}
	for i, r := range runs {
		request.Settlements[i] = r.settlement
	}
	return request
}
