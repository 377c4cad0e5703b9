package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
		t.life.stopBegan.Store(now.UnixNano())
		if s.crash == nil {
			s.reason = "stopped without draining"
		}
	}
	t.life.accepting.Store(false)
	t.life.cancelling.Store(true)
	t.life.setState(StateHandingBack)
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
	t.finishing.Store(true)
	t.line.hangUp()
	limit := min(lastCalls, max(lastMoment/2, t.life.untilEnd()))
	if s.unsettled {
		t.outside.await(limit)
		s.settleAll()
	}
	if !s.recorder.draining { // else it had its time
		s.recorder.last(s.crash, limit)
	}
	t.conclude(s.crash, s.reason, limit)
}

// lastCalls is how long the code of others may take to return at the end.
const lastCalls = time.Second

// conclude gives the report to all who wait, once. For those who are still in the code
// of others it waits for limit at most, and names them.
func (t *tree) conclude(crash error, reason string, limit time.Duration) {
	t.concluded.Do(func() {
		state := StateStopped
		if crash != nil {
			state = StateCrashed
		}
		deadline := time.Now().Add(limit)
		t.life.setState(state)
		t.news.tell(jobs.Event{Type: jobs.EventWorkerStopped, Err: crash})
		t.news.flush(limit)
		t.config.events.OnStored(nil)
		stuck, now := t.outside.await(time.Until(deadline)), time.Now()
		report := &Stopped{Report{
			Worker: t.worker, State: state, Reason: reason, Err: crash, Stuck: stuck, Gates: t.gates.statuses(),
			EventsDropped: t.config.events.Dropped(), Unrecorded: t.records.missing(),
			StartedAt: t.started, StoppedAt: now, StopTook: now.Sub(time.Unix(0, t.life.stopBegan.Load())),
		}}
		t.ledger.sum(&report.Report)
		t.outcome = report
		t.outside.briefly("the handler of the log", lastMoment, func() {
			t.log.Info("worker stopped", "worker", t.worker, "report", &report.Report)
		})
		t.outside.briefly("who asked for the stop", lastMoment, func() { t.door.close(report, t.status()) })
		t.dispatch.close()
		close(t.done)
		t.stopMu.Lock()
		defer t.stopMu.Unlock()
		if t.watchdog != nil {
			t.watchdog.Stop()
		}
	})
}

// endBy sees to it that the report is there soon after an instant, whatever the actors
// do: one that is in the code of others cannot be made to end.
func (t *tree) endBy(end time.Time) {
	t.stopMu.Lock()
	defer t.stopMu.Unlock()
	switch {
	case t.watchdog == nil:
		t.watchdog = time.AfterFunc(time.Until(end)+lastCalls, t.endAnyway)
	case end.Before(t.watchdogAt):
		t.watchdog.Reset(time.Until(end) + lastCalls)
	default:
		return
	}
	t.watchdogAt = end
}

// stopIn is endBy with a grace; 0 is the configured one.
func (t *tree) stopIn(grace time.Duration) {
	if grace <= 0 {
		grace = t.config.Grace
	}
	t.endBy(time.Now().Add(grace))
}

// endAnyway gives the report without the actors.
func (t *tree) endAnyway() {
	if t.finishing.Swap(true) {
		return // lastSteps takes a bounded time
	}
	who := t.outside.names()
	if len(who) == 0 {
		who = []string{"an actor"}
	}
	t.life.accepting.Store(false)
	t.life.cancelling.Store(true)
	t.ledger.cancelAll(jobs.ErrStopping)
	t.line.hangUp()
	t.life.stopBegan.CompareAndSwap(0, time.Now().UnixNano())
	crash := fmt.Errorf("the stop was held up by %s", strings.Join(who, ", "))
	t.conclude(crash, "crashed: "+crash.Error(), lastMoment)
}

// settleAll does what fetcher, settler and keeper would have done.
func (s *supervisor) settleAll() {
	t := s.tree
	ctx, cancel := context.WithTimeout(context.Background(), t.config.HandBackTime)
	defer cancel()
	s.persist(ctx, s.resolveLease)
	s.persist(ctx, s.settleRest)
	err := t.line.now(ctx, "sign off", func(ctx context.Context) error {
		return t.config.Backend.SignOff(ctx, t.worker, t.queues.all())
	})
	if err != nil {
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
		case <-time.After(s.tree.line.retry.Delay(failures)):
		case <-ctx.Done():
			return
		}
	}
}

// resolveLease learns what an unanswered Lease call has taken.
func (s *supervisor) resolveLease(ctx context.Context) error {
	t, f := s.tree, s.fetcher
	if f.token == "" {
		return nil
	}
	var reply backend.LeaseReply
	err := t.line.now(ctx, "lease", func(ctx context.Context) (err error) {
		reply, err = t.config.Backend.Lease(ctx, backend.LeaseRequest{
			Worker: t.worker, Token: f.token, Queues: f.asking, Duration: t.config.Lease,
		})
		return err
	})
	if err == nil {
		f.token = ""
		t.ledger.open(reply.Leases)
	}
	return err
}

// settleRest commits what the settler did not get to: the call that it did not
// hear the end of, and then all that the ledger lists. Messages that were on their
// way have vanished with their actors.
func (s *supervisor) settleRest(ctx context.Context) error {
	t, b := s.tree, s.settler
	for _, slot := range t.roster.all() {
		t.ledger.takeFrom(slot)
	}
	for ctx.Err() == nil {
		if b.size() == 0 {
			b.replace(t.ledger.list())
			for _, r := range b.waiting {
				if r.claim() {
					r.settlement = r.released()
				}
			}
		}
		if b.size() == 0 {
			return nil
		}
		request := b.request()
		var results []backend.SettleResult
		err := t.line.now(ctx, "settle", func(ctx context.Context) (err error) {
			results, err = b.settle(ctx, request)
			return err
		})
		if err == nil {
			b.confirmed(results)
		} else if _, next := b.failed(err); !next {
			return err
		}
	}
	return ctx.Err()
}

// shield keeps a fault in the last moments from hanging the stop: the library
// would restart the actor and forget that it was to end.
func (s *supervisor) shield() {
	if fault := recover(); fault != nil {
		s.tree.log.Error("the last step of a stop failed; this is an error in caddis", "panic", fault)
	}
}
