package actors

import (
	"context"
	"errors"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// stopHard runs when the supervisor ends, by its plan or because somebody stopped
// it before that. In the latter case there is no draining any more: the handlers'
// contexts are cancelled, and the last steps hand everything back.
func (s *supervisor) stopHard() {
	defer s.shield()
	if s.timer != nil {
		s.timer.Stop()
	}
	t := s.tree
	if s.over {
		return
	}
	s.cut, s.unsettled = true, !s.gaveUp
	if s.plan == nil {
		now := time.Now()
		p := makePlan(now, 0, 0, 0, HandBack)
		s.plan = &p
		t.stopBegan.Store(now.UnixNano())
		if s.crash == nil {
			s.reason = "stopped without draining"
		}
	}
	t.accepting.Store(false)
	t.cancelling.Store(true)
	t.setState(StateHandingBack)
	t.ledger.cancelAll(jobs.ErrStopping)
}

// finish runs when all parts have ended. What is left needs no actor.
func (s *supervisor) finish() {
	defer s.shield()
	go s.lastSteps()
}

// lastSteps settles what the parts left, if one of them or the supervisor was cut
// short, closes what the tree has open, and gives the report to all who wait.
func (s *supervisor) lastSteps() {
	t := s.tree
	t.endCalls()
	calls := make(chan struct{})
	go func() {
		t.calls.Wait()
		close(calls)
	}()
	select {
	case <-calls:
	case <-time.After(lastCalls):
		t.log.Error("a call to the job store does not end although its context has")
	}
	if s.unsettled {
		s.settleAll()
	}
	t.dispatch.close()
	report := s.report()
	t.outcome = report
	t.setState(report.State)
	t.log.Info("worker stopped", "worker", t.worker, "report", &report.Report)
	t.door.close(report, t.status())
	close(t.done)
}

// lastCalls is how long calls may take to end once their context has.
const lastCalls = time.Second

// settleAll does what fetcher, settler and keeper would have done.
func (s *supervisor) settleAll() {
	t := s.tree
	ctx, cancel := context.WithTimeout(context.Background(), t.config.HandBackTime)
	defer cancel()
	s.persist(ctx, s.resolveLease)
	s.persist(ctx, s.settleRest)
	if err := t.config.Backend.SignOff(ctx, t.worker, t.config.Queues); err != nil {
		t.log.Debug("the worker's record stays until it expires", "error", err)
	}
}

// persist repeats what the store does not answer until ctx ends.
func (s *supervisor) persist(ctx context.Context, do func(context.Context) error) {
	for failures := 1; ; failures++ {
		err := do(ctx)
		if err == nil || errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrRejected) {
			return
		}
		select {
		case <-time.After(s.tree.config.retry.Delay(failures)):
		case <-ctx.Done():
			return
		}
	}
}

// resolveLease learns what an unanswered Lease call has taken.
func (s *supervisor) resolveLease(ctx context.Context) error {
	t, d := s.tree, s.desk
	if d.token == "" {
		return nil
	}
	reply, err := t.config.Backend.Lease(ctx, backend.LeaseRequest{
		Worker: t.worker, Token: d.token, Queues: t.config.Queues, Duration: t.config.Lease,
	})
	if err == nil {
		d.token = ""
		t.tally.leased(len(reply.Leases))
		t.ledger.open(reply.Leases)
	}
	return err
}

// settleRest commits what the settler did not get to: the call that it did not
// hear the end of, and then all that the ledger lists. Messages that were on their
// way have vanished with their actors.
func (s *supervisor) settleRest(ctx context.Context) error {
	t, b := s.tree, s.box
	for _, slot := range s.roster.all() {
		t.takeFrom(slot)
	}
	for {
		if len(b.inFlight) == 0 {
			b.inFlight = t.ledger.list()
			b.inFlight = b.inFlight[:min(len(b.inFlight), maxCommit)]
			b.call++
		}
		if len(b.inFlight) == 0 {
			return nil
		}
		for _, r := range b.inFlight {
			if r.claim() {
				r.settlement = r.released()
			}
		}
		results, err := t.config.Backend.Settle(ctx, t.settleRequest(b.call, b.inFlight))
		if err == nil {
			err = checkAnswers(len(results), len(b.inFlight))
		}
		if err != nil {
			return err
		}
		t.tally.ended(b.inFlight, results)
		t.ledger.close(b.inFlight...)
		b.inFlight = nil
	}
}

// report sums up. Runs that are still in the ledger have no answer of the store.
func (s *supervisor) report() *Stopped {
	t := s.tree
	state, now := StateStopped, time.Now()
	if s.crash != nil {
		state = StateCrashed
	}
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
		StartedAt:       t.started, StoppedAt: now, StopTook: now.Sub(time.Unix(0, t.stopBegan.Load())),
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
