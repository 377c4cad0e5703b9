package actors

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// life is in which state the worker is and what follows from that. The supervisor
// changes it; all may look.
type life struct {
	worker string
	door   *door
	log    *slog.Logger
	news   *news

	// current is in which state, since when.
	current atomic.Pointer[stateSince]
	// accepting is false from the moment no job is to be begun any more.
	accepting atomic.Bool
	// cancelling is true from the moment the handlers' contexts are cancelled.
	cancelling atomic.Bool
	// stopBegan and stopBy are when a stop began and will be over, in Unix nanoseconds.
	stopBegan, stopBy atomic.Int64
	// plan is that of a stop that has begun.
	plan atomic.Pointer[plan]
	// reason says why the worker ends, crashed that it could not go on.
	reason  atomic.Pointer[string]
	crashed atomic.Bool
	// changed is called when the state has changed, but for the first time.
	changed func()
	// keeperPulse is when the keeper last began a round, fetcherPulse when the
	// fetcher last heard of one, in Unix nanoseconds.
	keeperPulse, fetcherPulse atomic.Int64
}

type stateSince struct {
	state State
	since time.Time
}

func (l *life) begin(now time.Time) {
	l.current.Store(&stateSince{StateStarting, now})
	l.keeperPulse.Store(now.UnixNano())
	l.fetcherPulse.Store(now.UnixNano())
}

func (l *life) state() State { return l.current.Load().state }

// setState changes the state and tells the subscribers.
func (l *life) setState(to State) {
	from := l.current.Swap(&stateSince{to, time.Now()}).state
	if from == to {
		return
	}
	if from != StateStarting && !to.Final() {
		l.changed()
	}
	l.news.changed(from, to, func() {
		l.log.Debug("worker changes its state", "worker", l.worker, "from", string(from), "to", string(to))
		l.door.system.EventStream.Publish(&StateChanged{PID: l.door.pid, Worker: l.worker, From: from, To: to})
	})
}

// untilEnd is how much time a stop has left.
func (l *life) untilEnd() time.Duration {
	by := l.stopBy.Load()
	if by == 0 {
		return signOffTimeout
	}
	return max(0, time.Until(time.Unix(0, by)))
}

// fill enters the state into a status.
func (l *life) fill(s *Status) {
	now := l.current.Load()
	s.Worker, s.State, s.Since = l.worker, now.state, now.since
	s.LastProgress = time.Unix(0, min(l.keeperPulse.Load(), l.fetcherPulse.Load()))
	if by := l.stopBy.Load(); by != 0 {
		s.StopBy = time.Unix(0, by)
	}
}

// post delivers messages to actors, from other goroutines and at other times.
type post struct {
	root *actor.RootContext
	line *line
}

// send survives a subscriber to dead letters that panics.
func (p *post) send(to *actor.PID, message any) {
	defer func() { _ = recover() }()
	p.root.Send(to, message)
}

// after sends a message when a time has passed, if the tree is there by then.
func (p *post) after(d time.Duration, to *actor.PID, message any) *time.Timer {
	return time.AfterFunc(d, func() {
		if p.line.ctx.Err() == nil {
			p.send(to, message)
		}
	})
}
