package actors

import "github.com/asynkron/protoactor-go/actor"

// guard carries out the directives of a strategy, from whichever goroutine they
// come, as far as they are sound: nothing is restarted once the pool closes (a
// restart after a stop revives an actor that nobody can reach), no executor is
// torn from a job that it runs, and an escalation reaches the supervisor as a
// message instead of suspending the pool.
type guard struct {
	pool   *pool
	inner  actor.Supervisor
	failed *actor.PID
}

// open reports whether executors may be restarted.
func (g *guard) open() bool { return !g.pool.ending.Load() && !g.pool.roster.isClosing() }

// Children are those of now: others may have come since the failure.
func (g *guard) Children() []*actor.PID {
	var children []*actor.PID
	for _, s := range g.pool.roster.all() {
		if executor := s.servant(); executor != nil {
			children = append(children, executor)
		}
	}
	return children
}

func (g *guard) RestartChildren(pids ...*actor.PID) {
	r := g.pool.roster
	for _, pid := range pids {
		if !r.directive(pid, g.failed) {
			continue
		}
		if !g.open() {
			g.inner.StopChildren(pid)
		} else {
			g.inner.RestartChildren(pid)
		}
	}
}

func (g *guard) ResumeChildren(pids ...*actor.PID) {
	r := g.pool.roster
	for _, pid := range pids {
		if r.directive(pid, g.failed) {
			g.inner.ResumeChildren(pid)
		}
	}
}

func (g *guard) StopChildren(pids ...*actor.PID) {
	r, root := g.pool.roster, g.pool.post.root
	for _, pid := range pids {
		if pid.Equal(g.failed) {
			r.setSuspended(pid, false)
			g.inner.StopChildren(pid)
		} else {
			root.Poison(pid) // it ends after its job
		}
	}
}

func (g *guard) EscalateFailure(reason, _ any) {
	g.pool.post.send(g.pool.supervisor, &escalated{reason})
	g.StopChildren(g.failed)
}
