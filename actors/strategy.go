package actors

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/jobs"
)

// A supervision strategy decides what becomes of an executor whose handler
// panicked. The job itself is settled by then: a panic counts as a failed attempt
// and follows the retry policy, whatever the strategy does.
//
// Any actor.SupervisorStrategy will do. Those of this package compose: each may be
// part of another one. The directives mean:
//
//   - restart: a fresh executor takes the slot over;
//   - resume: the same executor goes on;
//   - stop: the executor ends and the pool replaces it after a pause;
//   - escalate: the worker cannot go on: it stops, in good order, and ends as
//     crashed.
//
// Each strategy value keeps its own counts, so give each worker its own.

// Always answers every failure with the same directive.
func Always(directive actor.Directive) actor.SupervisorStrategy { return always(directive) }

type always actor.Directive

func (a always) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	_ *actor.RestartStatistics, reason, message any) {
	switch actor.Directive(a) {
	case actor.ResumeDirective:
		supervisor.ResumeChildren(child)
	case actor.RestartDirective:
		supervisor.RestartChildren(child)
	case actor.StopDirective:
		supervisor.StopChildren(child)
	case actor.EscalateDirective:
		supervisor.EscalateFailure(reason, message)
	}
}

// OneForOne restarts the executor that failed. More than limit failures of one
// executor within a time escalate; a limit of 0 never does.
func OneForOne(limit int, within time.Duration) actor.SupervisorStrategy {
	return &oneForOne{limit: limit, within: within}
}

type oneForOne struct {
	limit  int
	within time.Duration
}

func (o *oneForOne) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	if exceeded(statistics, o.limit, o.within) {
		supervisor.EscalateFailure(reason, message)
		return
	}
	supervisor.RestartChildren(child)
}

// OneForAll restarts all executors of the pool when one fails; jobs that run go
// on under the new executors. More than limit failures of one executor within a
// time escalate; a limit of 0 never does.
func OneForAll(limit int, within time.Duration) actor.SupervisorStrategy {
	return &oneForAll{oneForOne{limit: limit, within: within}}
}

type oneForAll struct{ oneForOne }

func (o *oneForAll) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, _ *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	if exceeded(statistics, o.limit, o.within) {
		supervisor.EscalateFailure(reason, message)
		return
	}
	supervisor.RestartChildren(supervisor.Children()...)
}

func exceeded(statistics *actor.RestartStatistics, limit int, within time.Duration) bool {
	return limit > 0 && failed(statistics, within) > limit
}

// failed counts a failure of an executor and returns how many there were within
// a time. The library keeps all failure times, so old ones are dropped here.
func failed(statistics *actor.RestartStatistics, within time.Duration) int {
	statistics.Fail()
	n := statistics.NumberOfFailures(within)
	if n <= 1 {
		statistics.Reset()
		statistics.Fail()
	}
	return n
}

// Backoff restarts an executor after a pause that grows with each of its failures
// and is forgotten once it has not failed for Forget.
type Backoff struct {
	// Delay is the pause before the nth restart; its zero fields have the
	// defaults of jobs.Exponential.
	Delay jobs.Exponential
	// Limit is the number of failures of one executor within Forget that
	// escalate when it is passed; 0 never does.
	Limit int
	// Forget is one minute by default.
	Forget time.Duration
}

// HandleFailure implements actor.SupervisorStrategy.
func (b *Backoff) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	forget := b.Forget
	if forget <= 0 {
		forget = time.Minute
	}
	n := failed(statistics, forget)
	if b.Limit > 0 && n > b.Limit {
		supervisor.EscalateFailure(reason, message)
		return
	}
	time.AfterFunc(b.Delay.Delay(n), func() { supervisor.RestartChildren(child) })
}

// Intensity counts the failures of the whole pool: more than limit of them within
// a time escalate. Up to there, inner decides.
func Intensity(limit int, within time.Duration, inner actor.SupervisorStrategy) actor.SupervisorStrategy {
	return &intensity{limit: max(0, limit), within: within, inner: inner}
}

type intensity struct {
	limit  int
	within time.Duration
	inner  actor.SupervisorStrategy

	mu       sync.Mutex
	failures []time.Time // the last limit+1 of them, oldest first
}

func (i *intensity) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	if i.tripped(time.Now()) {
		supervisor.EscalateFailure(reason, message)
		return
	}
	i.inner.HandleFailure(system, supervisor, child, statistics, reason, message)
}

func (i *intensity) tripped(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failures = append(i.failures, now)
	if len(i.failures) > i.limit+1 {
		i.failures = i.failures[1:]
	}
	return len(i.failures) > i.limit && now.Sub(i.failures[0]) <= i.within
}

// OnPanic gives the panics that match to a strategy:
//
//	actors.OnPanic(isBug, actors.Always(actor.EscalateDirective)).
//		OnPanic(isFlaky, actors.Always(actor.ResumeDirective)).
//		Otherwise(&actors.Backoff{})
//
// The first match decides. Without Otherwise what matches nothing is restarted.
func OnPanic(match func(*JobPanic) bool, strategy actor.SupervisorStrategy) *Choice {
	return (&Choice{}).OnPanic(match, strategy)
}

// Choice is a strategy that chooses among strategies.
type Choice struct {
	cases     []choiceCase
	otherwise actor.SupervisorStrategy
}

type choiceCase struct {
	match    func(*JobPanic) bool
	strategy actor.SupervisorStrategy
}

// OnPanic returns the choice with one case more.
func (c *Choice) OnPanic(match func(*JobPanic) bool, strategy actor.SupervisorStrategy) *Choice {
	cases := append(append([]choiceCase(nil), c.cases...), choiceCase{match, strategy})
	return &Choice{cases: cases, otherwise: c.otherwise}
}

// Otherwise returns the choice with a strategy for what matches no case.
func (c *Choice) Otherwise(strategy actor.SupervisorStrategy) *Choice {
	return &Choice{cases: c.cases, otherwise: strategy}
}

// HandleFailure implements actor.SupervisorStrategy.
func (c *Choice) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	strategy := c.otherwise
	if strategy == nil {
		strategy = Always(actor.RestartDirective)
	}
	if p, ok := reason.(*JobPanic); ok {
		for _, each := range c.cases {
			if each.match(p) {
				strategy = each.strategy
				break
			}
		}
	}
	strategy.HandleFailure(system, supervisor, child, statistics, reason, message)
}
