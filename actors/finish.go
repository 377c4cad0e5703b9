package actors

import (
	"context"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// stopHard runs when the supervisor ends, whether by its plan or because somebody
// stopped it without a plan. In the latter case there is no draining: the
// handlers' contexts are cancelled, and finish hands everything back.
func (s *supervisor) stopHard() {
	defer s.shield()
	if s.timer != nil {
		s.timer.Stop()
	}
	t := s.tree
	if s.plan != nil {
		return
	}
	now := time.Now()
	p := makePlan(now, 0, 0, 0, HandBack)
	s.plan, s.reason, s.cut = &p, "stopped without draining", true
	t.stopBegan.Store(now.UnixNano())
	t.accepting.Store(false)
	t.cancelling.Store(true)
	t.setState(StateHandingBack)
	t.ledger.cancelAll(jobs.ErrStopping)
}

// finish runs when all parts have ended. It settles what they left, if the
// supervisor or the settler was cut short, closes what the tree has open,
// and gives the report to all who wait for it.
func (s *supervisor) finish() {
	defer s.shield()
	t := s.tree
	if s.cut {
		s.settleRest()
	}
	t.endCalls()
	state := StateStopped
	if s.crash != nil {
		state = StateCrashed
	}
	report := s.report(state)
	go func() {
		calls := make(chan struct{})
		go func() {
			t.calls.Wait()
			close(calls)
		}()
		select {
		case <-calls:
		case <-time.After(callTimeout):
			t.log.Error("a call to the job store does not end although its context has")
		}
		t.dispatch.close()
		report.StoppedAt = time.Now()
		report.StopTook = report.StoppedAt.Sub(time.Unix(0, t.stopBegan.Load()))
		t.outcome = report
		t.setState(state)
		t.log.Info("worker stopped", "worker", t.worker, "report", &report.Report)
		t.callers.answer(report)
		close(t.done)
	}()
}

// settleRest commits, in the calling goroutine and within a bounded time, what the
// settler did not get to.
func (s *supervisor) settleRest() {
	t, b := s.tree, s.box
	for _, slot := range s.roster.list() {
		if r := t.takeFrom(slot); r != nil {
			b.pending = append(b.pending, r)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.config.HandBackTime)
	defer cancel()
	for len(b.inFlight) > 0 || len(b.pending) > 0 {
		if len(b.inFlight) == 0 {
			n := min(len(b.pending), maxCommit)
			b.inFlight, b.pending = b.pending[:n:n], b.pending[n:]
			b.call++
		}
		results, err := t.config.Backend.Settle(ctx, t.settleRequest(b.call, b.inFlight))
		if err != nil || len(results) != len(b.inFlight) {
			return
		}
		t.tally.ended(b.inFlight, results)
		t.ledger.close(b.inFlight...)
		b.inFlight = nil
	}
}

// report sums up. Runs that are still in the ledger have no answer of the store.
func (s *supervisor) report(state State) *Stopped {
	t := s.tree
	t.tally.mu.Lock()
	defer t.tally.mu.Unlock()
	for _, r := range t.ledger.list() {
		t.tally.counts.Unconfirmed++
		t.tally.unconfirmed = append(t.tally.unconfirmed, r.ref())
	}
	return &Stopped{Report{
		Worker: t.worker, State: state, Reason: s.reason, Err: s.crash,
		Counts:          t.tally.counts,
		AbandonedJobs:   t.tally.abandoned,
		UnconfirmedJobs: t.tally.unconfirmed,
		StartedAt:       t.started,
	}}
}

// shield keeps a fault in the last moments from hanging the stop: the library
// would restart the actor and forget that it was to end.
func (s *supervisor) shield() {
	if fault := recover(); fault != nil {
		s.tree.log.Error("the last step of a stop failed; this is an error in caddis", "panic", fault)
	}
}

// rescue settles what lies in a slot without its executor.
func (t *tree) rescue(s *slot) {
	if r := t.takeFrom(s); r != nil {
		t.system.Root.Send(t.settler, r)
	}
}

// takeFrom takes what lies in a slot, and returns the run if it is now to be
// brought to the store.
func (t *tree) takeFrom(s *slot) *run {
	r, left := s.rescue()
	switch {
	case r == nil:
		return nil
	case left: // claimed by rescue
		r.cancel(jobs.ErrStopping)
		r.settlement = r.released()
	case r.lost.Load():
		if r.claim() {
			t.tally.lost()
			t.ledger.close(r)
		}
		return nil
	case !r.claim():
		return nil
	case r.result.Settlement.Outcome == 0: // had not begun
		r.settlement = r.released()
	default:
		r.settlement = r.result.Settlement
		if r.interrupted() {
			r.ending = endingInterrupted
		}
	}
	s.expect(r)
	return r
}
