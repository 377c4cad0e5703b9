package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/jobs"
)

// supervisor owns the life of a worker. Its tasks are
//
//   - to start the parts in order: settler, fetcher, recorder, keeper, clock, pool;
//   - to restart a part that fails, and to give up when that happens too often;
//   - to take Quiet, Resume, Resize and Inspect;
//   - to stop the parts in order when Stop or a pill comes, each step within its
//     part of the grace;
//   - to answer everyone who asked for the stop with the report.
//
// The stop is a cascade of pills. Clock, fetcher and pool get theirs first: no
// new jobs, executors end after the job that they run. When both have ended the
// settler gets its pill and ends when the store has confirmed everything; then
// the recorder brings the last figures, and the keeper, which has renewed the leases
// until here, signs the worker off.
type supervisor struct {
	tree     *tree
	fetcher  *fetcher
	settler  *settler
	recorder *recorder
	// pool makes the pool.
	pool func() actor.Actor

	plan  *plan // of the stop; nil until it begins
	timer *time.Timer
	// alive are the parts that have not ended, by the name of their PID.
	alive map[string]bool
	// cut is set when the supervisor was stopped before its time, unsettled when
	// that or the end of a part has left something to be settled.
	cut, unsettled bool
	// gaveUp is set when the grace was used up, over when all parts have ended.
	gaveUp, over bool
	// endAt is when a supervisor that gave up waits for its parts no longer.
	endAt  time.Time
	reason string
	crash  error
}

// newSupervisor makes the supervisor of a tree. handlers is the parent of all handlers'
// contexts.
func newSupervisor(t *tree, handlers context.Context) *supervisor {
	shop := &workshop{
		worker: t.worker, registry: t.config.Registry, store: t.config.Backend,
		clock: t.clock, now: t.clock.now, life: t.life, news: t.news, bell: t.bell, context: handlers, log: t.log,
	}
	counsel := &series{dispatch: t.dispatch}
	return &supervisor{
		tree: t, alive: map[string]bool{}, fetcher: newFetcher(t), settler: newSettler(t), recorder: newRecorder(t),
		pool: func() actor.Actor {
			return &pool{
				roster: t.roster, ledger: t.ledger, outside: t.outside, post: t.post, retry: t.config.retry, log: t.log,
				strategy: t.config.Strategy, counsel: counsel,
				executor: executor{life: t.life, workshop: shop, ledger: t.ledger, post: t.post, fetcher: t.fetcher, settler: t.settler},
				fetcher:  t.fetcher, settler: t.settler, supervisor: t.supervisor,
			}
		},
	}
}

// lastMoment is what the parts are given to end in even if the grace is over.
const lastMoment = 50 * time.Millisecond

type stepDue struct{}

func (*stepDue) IgnoreDeadLetterLogging() {}

func (s *supervisor) Receive(c actor.Context) {
	defer s.noteFault()
	switch m := c.Message().(type) {
	case *actor.Started:
		s.start(c)
	case *actor.Terminated:
		s.ended(c, m.Who)
	case *actor.Stopping:
		s.stopHard()
	case *actor.Stopped:
		s.finish()
	case *Stop:
		s.stop(c, m, "stop was asked for")
	case *drain:
		s.stop(c, &Stop{}, "a pill was given")
	case *stepDue:
		s.step(c)
	case *escalated:
		s.crashed(c, m.reason)
	case *Quiet:
		s.quiet(c, &hush{}, StateRunning, StateQuiet)
	case *Resume:
		s.quiet(c, m, StateQuiet, StateRunning)
	case *Resize:
		err := s.resize(c, m.Concurrency)
		if c.Sender() != nil {
			c.Respond(&Resized{Err: err})
		}
	case *resizeOrder:
		m.answer <- s.resize(c, m.concurrency)
	case *Inspect:
		if c.Sender() != nil {
			status := s.tree.status()
			c.Respond(&status)
		}
	}
}

// noteFault keeps the reason for which the library is about to stop the
// supervisor.
func (s *supervisor) noteFault() {
	if fault := recover(); fault != nil {
		s.setCrash(fault)
		panic(fault)
	}
}

func (s *supervisor) start(c actor.Context) {
	t := s.tree
	begin := func(pid *actor.PID, dispatch actor.Dispatcher, producer func() actor.Actor) {
		if _, err := c.SpawnNamed(props(dispatch, producer), executorName(pid)); err != nil {
			panic(fmt.Errorf("spawn %s: %w", executorName(pid), err))
		}
		s.alive[pid.Id] = true
		t.parts.began(executorName(pid))
	}
	begin(t.settler, &s.settler.relay, func() actor.Actor { return s.settler })
	begin(t.fetcher, &s.fetcher.relay, func() actor.Actor { return s.fetcher })
	if t.records != nil {
		begin(t.recorder, t.dispatch, func() actor.Actor { return s.recorder })
	}
	begin(t.keeper, t.dispatch, func() actor.Actor { return newKeeper(t) })
	begin(t.ticker, t.dispatch, func() actor.Actor { return newClock(t) })
	t.gates.start(t.line.ctx)
	t.life.accepting.Store(true)
	begin(t.pool, t.dispatch, s.pool)
	t.life.setState(StateRunning)
}

// quiet sends an order to fetcher and clock and changes the state, where that is
// possible.
func (s *supervisor) quiet(c actor.Context, order any, from, to State) {
	if s.tree.life.state() != from {
		return
	}
	s.tree.life.accepting.Store(to == StateRunning)
	c.Send(s.tree.fetcher, order)
	c.Send(s.tree.ticker, order)
	s.tree.life.setState(to)
}

func (s *supervisor) resize(c actor.Context, concurrency int) error {
	switch {
	case concurrency < 1 || concurrency > maxConcurrency:
		return fmt.Errorf("concurrency %d: it goes from 1 to %d", concurrency, maxConcurrency)
	case s.plan != nil:
		return fmt.Errorf("the worker is %s", s.tree.life.state())
	}
	c.Send(s.tree.pool, &resize{concurrency})
	return nil
}

// stop begins a stop, or makes the one that is under way more urgent.
func (s *supervisor) stop(c actor.Context, m *Stop, reason string) {
	t := s.tree
	config := t.config
	grace := m.Grace
	if grace <= 0 {
		grace = config.Grace
	}
	now := time.Now()
	p := makePlan(now, grace, config.CancelTime, config.HandBackTime, m.Urgency)
	if s.plan == nil {
		s.plan, s.reason = &p, reason
		t.life.reason.CompareAndSwap(nil, &reason)
		t.life.stopBegan.Store(now.UnixNano())
		t.life.accepting.Store(false)
		t.life.plan.Store(&p)
		t.life.setState(StateDraining)
		c.Poison(t.ticker)
		c.Poison(t.fetcher)
		c.Poison(t.pool)
	} else {
		p = s.plan.shorten(p)
		s.plan = &p
	}
	t.life.stopBy.Store(p.end.UnixNano())
	t.life.plan.Store(&p)
	t.endBy(p.end)
	s.step(c)
	s.cascade(c)
}

// step brings the stop to where its plan says it is to be.
func (s *supervisor) step(c actor.Context) {
	if s.plan == nil {
		return
	}
	t := s.tree
	state, over, next := s.plan.due(time.Now())
	if state != StateDraining && !t.life.cancelling.Swap(true) {
		t.life.setState(StateCancelling)
		t.ledger.cancelAll(jobs.ErrStopping)
	}
	if state == StateHandingBack && t.life.state() != StateHandingBack {
		t.life.setState(StateHandingBack)
		c.Send(t.pool, &abandon{})
	}
	if over && s.gaveUp {
		if !time.Now().Before(s.endAt) {
			c.Stop(c.Self()) // a part does not end
		}
		return
	}
	if over {
		s.gaveUp = true
		c.Stop(t.fetcher)
		c.Stop(t.pool)
		c.Send(t.settler, &giveUp{})
		next = time.Now().Add(max(time.Until(s.plan.endAt()), lastMoment))
		s.endAt = next
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = t.post.after(time.Until(next), c.Self(), &stepDue{})
}

// ended notes that a part has ended and goes on with the cascade.
func (s *supervisor) ended(c actor.Context, who *actor.PID) {
	if !s.alive[who.Id] {
		return
	}
	delete(s.alive, who.Id)
	s.tree.parts.ended(executorName(who))
	if s.cut {
		return
	}
	t := s.tree
	if !s.gaveUp && (who.Id == t.fetcher.Id && s.fetcher.token != "" || who.Id == t.settler.Id && s.settler.size() > 0) {
		s.unsettled = true
	}
	if s.gaveUp || s.plan != nil && who.Id != t.settler.Id || s.ready() {
		s.cascade(c)
		return
	}
	s.crashed(c, fmt.Errorf("the %s ended", executorName(who)))
	if who.Id == t.settler.Id {
		c.Stop(c.Self()) // no job can be acknowledged any more
	}
}

// ready reports whether the settler's turn to end has come.
func (s *supervisor) ready() bool {
	return s.plan != nil && !s.alive[s.tree.fetcher.Id] && !s.alive[s.tree.pool.Id]
}

// cascade gives the next pill.
func (s *supervisor) cascade(c actor.Context) {
	t := s.tree
	switch {
	case s.alive[t.pool.Id]:
	case s.alive[t.fetcher.Id]:
		t.post.after(lastLease, t.fetcher, &lastOrder{})
	case s.alive[t.settler.Id]:
		for _, slot := range t.roster.all() {
			t.ledger.rescue(slot, t.post, t.settler) // what lies in slots whose executors were stopped
		}
		c.Poison(t.settler)
	case s.alive[t.recorder.Id]:
		t.records.tell(jobs.EventWorkerStopped, 0, s.crash)
		c.Poison(t.recorder)
	case s.alive[t.keeper.Id]:
		c.Poison(t.keeper)
	default:
		s.over = true
		c.Stop(c.Self())
	}
}

// crashed begins a stop that ends as crashed.
func (s *supervisor) crashed(c actor.Context, reason any) {
	if s.crash == nil {
		s.setCrash(reason)
		s.stop(c, &Stop{}, s.reason)
	}
}

func (s *supervisor) setCrash(reason any) {
	err, ok := reason.(error)
	if !ok {
		err = fmt.Errorf("%v", reason)
	}
	s.crash = err
	s.reason = "crashed: " + err.Error()
	s.tree.life.crashed.Store(true)
	s.tree.life.reason.CompareAndSwap(nil, &s.reason)
	s.tree.log.Error("the worker cannot go on and stops", "error", err)
}

// HandleFailure restarts a part of the tree that failed, three times a minute at
// most. What the parts have in hand lives outside of them.
func (s *supervisor) HandleFailure(_ *actor.ActorSystem, library actor.Supervisor, child *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	t := s.tree
	t.log.Error("a part of the worker failed; this is an error in caddis", "part", executorName(child),
		"message", fmt.Sprintf("%T", message), "reason", fmt.Sprint(reason))
	t.parts.failed(executorName(child))
	if s.plan == nil && failed(statistics, time.Minute) <= 3 {
		library.RestartChildren(child)
		return
	}
	library.StopChildren(child)
	t.post.send(t.supervisor, &escalated{fmt.Errorf("the %s failed: %v", executorName(child), reason)})
}
