package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
)

// settler brings the settlements to the store. It takes runs that have been settled,
// and gathers them while one commit is in flight. A commit that fails is repeated,
// unchanged and under the same number, until the store answers, as long as the store
// is what is at fault; see batches. A settlement that the store refuses alone becomes
// a failed attempt with that reason.
//
// It tells the slots of runs that the store has confirmed. Told to drain, it ends
// when nothing is left to confirm; giveUp makes it end at once. It is the same value
// after a restart, and what it has in hand is still there.
type settler struct {
	worker string
	line   *line
	ledger *ledger
	news   *news
	clock  *storeClock
	post   *post
	ticker *actor.PID
	log    *slog.Logger

	relay relay
	batches[*run]

	// nudged is set while a nudge is under way, calling while a commit is.
	nudged, calling bool
	// call is the number of the last commit.
	call     uint64
	draining bool
}

const (
	// commitCount and commitBytes bound a commit.
	commitCount = 2000
	commitBytes = 512 << 10
	// setAsideAfter is how often a settlement may fail alone before the others go
	// first. Where its size is the likely reason, from heavyWeight on, it is given up
	// after giveUpAfter: a part of the store may be away for as long as that takes.
	setAsideAfter = 6
	giveUpAfter   = 100
	heavyWeight   = 64 << 10
)

func newSettler(t *tree) *settler {
	return &settler{
		worker: t.worker, line: t.line, ledger: t.ledger, news: t.news, clock: t.clock, post: t.post, ticker: t.ticker, log: t.log,
		relay:   relay{dispatcher: t.dispatch},
		batches: batches[*run]{count: commitCount, bytes: commitBytes, weigh: (*run).settlementWeight},
	}
}

type committed struct {
	call    uint64
	results []backend.SettleResult
	err     error
}

type commitAgain struct{ call uint64 }

type giveUp struct{}

func (*committed) IgnoreDeadLetterLogging()   {}
func (*commitAgain) IgnoreDeadLetterLogging() {}
func (*giveUp) IgnoreDeadLetterLogging()      {}

func (s *settler) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *run:
		s.add(m)
		if !s.nudged {
			s.nudged = true
			c.Send(c.Self(), nudgeMessage)
		}
	case *nudge:
		s.nudged = false
		s.advance(c)
	case *committed:
		if m.call == s.call && s.calling {
			s.calling = false
			s.committed(c, m)
		}
	case *commitAgain:
		if m.call == s.call && !s.calling {
			s.commit(c)
		}
	case *drain:
		s.draining = true
		s.advance(c)
	case *giveUp:
		c.Stop(c.Self())
	}
}

// advance makes the next commit, if there is one to make.
func (s *settler) advance(c actor.Context) {
	switch {
	case len(s.sent) > 0: // one at a time
	case len(s.waiting) > 0:
		s.commit(c)
	case s.draining:
		c.Stop(c.Self())
	}
}

func (s *settler) commit(c actor.Context) {
	self := c.Self()
	request := s.request()
	s.calling = true
	answer := &committed{call: request.Call}
	s.line.call(s.relay.begin, "settle", s.tries.patience(), func(ctx context.Context) (err error) {
		answer.results, err = s.settle(ctx, request)
		return err
	}, func(err error) {
		answer.err = err
		s.relay.arm()
		s.post.send(self, answer)
	})
}

// request is the commit to make: the one that was not answered, or the next.
func (s *settler) request() backend.SettleRequest {
	batch, fresh := s.next(s.line)
	if fresh {
		s.call++
	}
	request := backend.SettleRequest{
		Worker: s.worker, Call: s.call, Settlements: make([]backend.Settlement, len(batch)),
	}
	for i, r := range batch {
		request.Settlements[i] = r.settlement
	}
	return request
}

// settle is the call of a commit.
func (s *settler) settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	results, err := s.line.store.Settle(ctx, request)
	if err == nil {
		err = checkAnswers(len(results), len(request.Settlements))
	}
	return results, err
}

func (s *settler) committed(c actor.Context, m *committed) {
	var runs []*run
	next := true
	if m.err == nil {
		runs = s.confirmed(m.results)
	} else {
		runs, next = s.failed(m.err)
	}
	for _, r := range runs {
		if r.slot == nil {
			continue
		}
		if executor := r.slot.confirmed(); executor != nil {
			c.Send(executor, lookMessage)
		}
	}
	if next {
		s.advance(c)
		return
	}
	s.post.after(s.line.pause(s.tries.failures, m.err), c.Self(), &commitAgain{s.call})
}

// confirmed closes the runs that the store has answered for and returns them. A
// settlement that it refused is made another one, once.
func (s *settler) confirmed(results []backend.SettleResult) []*run {
	runs, n := s.answered(), 0
	for i, r := range runs {
		result := results[i]
		if result.Err != nil && s.refused(r, result.Err) {
			continue
		}
		if result.Stale && r.sentBefore && s.clock.now().Before(r.heldUntil()) {
			result.Stale = false // nobody else could take the job: it was the earlier commit
		}
		runs[n], results[n] = r, result
		n++
	}
	s.ledger.settled(runs[:n], results[:n])
	s.news.ended(runs[:n], results[:n])
	s.tellEnded(runs[:n], results[:n])
	return runs[:n]
}

// failed takes note of a commit that has failed. It returns what is settled by that,
// and whether another one is to be made at once.
func (s *settler) failed(err error) (runs []*run, next bool) {
	batch := s.sent
	why, divided := s.batches.failed(s.line, err)
	if why == faultAway {
		return nil, false
	}
	for _, r := range batch {
		r.sentBefore = true
	}
	if divided {
		return nil, true
	}
	r := batch[0]
	r.failures++
	switch {
	case errors.Is(err, backend.ErrRejected), r.failures >= giveUpAfter && r.settlementWeight() > heavyWeight:
		return s.confirmed([]backend.SettleResult{{Err: err}}), true
	case s.tries.failures >= setAsideAfter && len(s.waiting) > 0:
		s.putBack()
		return nil, true
	}
	return nil, false
}

// refused makes a failed attempt of one whose settlement the store does not take. It
// returns false if there was none, or if that is not taken either.
func (s *settler) refused(r *run, err error) bool {
	work := r.work.Load()
	if work == nil || r.refused || r.settlement.Outcome == backend.OutcomeReleased {
		return false
	}
	s.log.Error("the job store does not take what became of a job; the attempt has failed", "job", work.Info(),
		"outcome", r.settlement.Outcome.String(), "error", err)
	r.refused = true
	took := r.result.Took
	r.result = work.Refused(fmt.Errorf("the job store refused that the job ended as %v: %w", r.settlement.Outcome, err), s.clock.now())
	r.result.Took = took
	r.settlement = r.result.Settlement
	s.add(r)
	return true
}

// settlementWeight is about how many bytes the settlement has.
func (r *run) settlementWeight() int {
	const envelope = 100 // about what ids and numbers take
	h := r.settlement.History
	if h == nil {
		return envelope
	}
	weight := envelope + len(h.Result) + len(h.Progress) + len(h.Checkpoint)
	for i := range h.Logs {
		weight += envelope + len(h.Logs[i].Text)
	}
	for i := range h.Failures {
		weight += envelope + len(h.Failures[i].Error) + len(h.Failures[i].Stack)
	}
	return weight
}

// checkAnswers keeps a store that breaks its contract from breaking the worker.
func checkAnswers(answers, questions int) error {
	if answers != questions {
		return fmt.Errorf("the job store gave %d answers to %d questions", answers, questions)
	}
	return nil
}
