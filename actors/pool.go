package actors

import (
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/jobs"
)

// pool owns the executors, one for each slot, and applies the user's supervision
// strategy to them. An executor that the strategy stops is replaced: the pool
// never shrinks by itself.
//
// It takes resize, abandon, respawn, and drain: then it poisons its executors and
// ends after the last of them. It tells the supervisor when its strategy
// escalates.
type pool struct {
	roster   *roster
	ledger   *ledger
	outside  *outside
	post     *post
	retry    jobs.Exponential
	log      *slog.Logger
	strategy actor.SupervisorStrategy
	// executor is what all executors begin as.
	executor                     executor
	fetcher, settler, supervisor *actor.PID

	// ending is set when the pool itself is stopped or restarted. An executor that
	// is spawned then would never be told to stop, and one that is restarted would
	// forget that it was.
	ending atomic.Bool
	// counsel calls the strategy, for one failure after the other.
	counsel *series
}

type (
	resize  struct{ concurrency int }
	abandon struct{}
	respawn struct{ slot *slot }
	// escalated tells the supervisor that the pool's strategy gave up.
	escalated struct{ reason any }
)

func (*resize) IgnoreDeadLetterLogging()    {}
func (*abandon) IgnoreDeadLetterLogging()   {}
func (*respawn) IgnoreDeadLetterLogging()   {}
func (*escalated) IgnoreDeadLetterLogging() {}

func (p *pool) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		for _, s := range p.roster.all() {
			p.spawn(c, s)
		}
		if p.roster.isClosing() {
			p.close(c)
		}
	case *actor.Stopping, *actor.Restarting:
		p.ending.Store(true)
	case *actor.Terminated:
		p.terminated(c, m.Who)
	case *respawn:
		if !p.roster.isClosing() && !p.ending.Load() {
			p.spawn(c, m.slot)
		}
	case *resize:
		p.resize(c, m.concurrency)
	case *abandon:
		for _, s := range p.roster.all() {
			p.ledger.rescue(s, p.post, p.settler)
		}
		for _, child := range c.Children() {
			c.Send(child, lookMessage)
		}
	case *drain:
		p.roster.setClosing()
		p.close(c)
	}
}

func (p *pool) spawn(c actor.Context, s *slot) {
	if s.servant() != nil {
		return
	}
	if s.relay.dispatcher == nil {
		s.relay.dispatcher = p.counsel.dispatch
	}
	begin := func() actor.Actor { return p.executor.forSlot(s) }
	if _, err := c.SpawnNamed(props(&s.relay, begin), s.name()); err != nil {
		p.post.after(p.retry.Delay(1), c.Self(), &respawn{s})
	}
}

// close poisons the executors. One that failed and waits for its directive would
// not see the pill; its job is settled, so it is stopped.
func (p *pool) close(c actor.Context) {
	children := append([]*actor.PID(nil), c.Children()...)
	if len(children) == 0 {
		c.Stop(c.Self())
	}
	for _, child := range children {
		if s := p.roster.servedBy(child); s != nil {
			s.leave()
		}
		if p.roster.isSuspended(child) {
			c.Stop(child)
		} else {
			c.Poison(child)
		}
	}
}

func (p *pool) terminated(c actor.Context, who *actor.PID) {
	p.roster.setSuspended(who, false)
	if p.ending.Load() {
		return
	}
	if p.roster.isClosing() {
		if len(c.Children()) == 0 {
			c.Stop(c.Self())
		}
		return
	}
	if s := p.roster.servedBy(who); s != nil && !p.roster.dismiss(s) {
		p.roster.replaced++
		p.roster.retain(s)
		p.post.after(p.retry.Delay(p.roster.replaced), c.Self(), &respawn{s})
	}
}

func (p *pool) resize(c actor.Context, n int) {
	if p.roster.isClosing() || p.ending.Load() {
		return
	}
	have, _ := p.roster.size()
	added, back := p.roster.grow(max(0, n-have))
	for _, s := range added {
		p.spawn(c, s)
	}
	for _, s := range back {
		// An executor that is ending is replaced when its end is known: before
		// that its successor would be taken for it.
		if executor := s.servant(); executor != nil {
			c.Send(executor, lookMessage)
		}
	}
	for _, s := range p.roster.shrink(max(0, have-n)) {
		if executor := s.servant(); executor != nil {
			c.Send(executor, lookMessage)
		}
	}
	c.Send(p.fetcher, &fewer{})
}

// HandleFailure gives a failed executor to the user's strategy. It does not wait for
// what that decides: a strategy that blocks keeps its own executors, and not the pool.
func (p *pool) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	g := &guard{pool: p, inner: supervisor, failed: child}
	p.roster.setSuspended(child, true)
	if !g.open() {
		g.StopChildren(child)
		return
	}
	if _, panicked := reason.(*JobPanic); !panicked {
		p.log.Error("an executor failed; this is an error in caddis", "executor", child.Id, "reason", fmt.Sprint(reason))
	}
	p.counsel.add(func() {
		if !g.open() {
			g.StopChildren(child)
			return
		}
		fault := p.outside.run("the supervision strategy", newsTime, func() {
			p.strategy.HandleFailure(system, g, child, statistics, reason, withoutPayload(message))
		})
		if fault != nil {
			p.log.Error("the supervision strategy panicked; the executor is restarted", "panic", fault.Error())
			g.RestartChildren(child)
		}
	}, math.MaxInt)
}

// withoutPayload keeps runs out of the hands, and the logs, of strategies.
func withoutPayload(message any) any {
	return fmt.Sprintf("%T", message)
}
