package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
)

// settler brings the settlements to the backend. It takes runs that have been
// settled, and gathers them while one commit is in flight, so that batches grow
// under load. A commit that fails is repeated, unchanged and under the same call
// number, until the store answers.
//
// It tells the slots of runs that the store has confirmed. Told to drain, it ends
// when nothing is left to confirm; giveUp makes it end at once.
type settler struct {
	tree *tree
	box  *outbox
}

// outbox is what a settler has to do. It outlives a restart of the settler.
type outbox struct {
	relay   relay
	pending []*run
	// nudged is set while a nudge is under way.
	nudged   bool
	inFlight []*run
	// calling is true while a goroutine commits inFlight.
	calling  bool
	call     uint64
	failures int
	draining bool
}

func (b *outbox) size() int { return len(b.pending) + len(b.inFlight) }

// maxCommit bounds a commit; what is over waits for the next.
const maxCommit = 2000

// callTimeout bounds a call to the backend that is to be repeated if it fails.
const callTimeout = 5 * time.Second

// patience bounds one that has failed so many times already: what is large may take
// its time on a slow line.
func patience(failures int) time.Duration { return callTimeout << min(failures, 2) }

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
		s.box.pending = append(s.box.pending, m)
		if !s.box.nudged {
			s.box.nudged = true
			c.Send(c.Self(), nudgeMessage)
		}
	case *nudge:
		s.box.nudged = false
		s.advance(c)
	case *committed:
		s.committed(c, m)
	case *commitAgain:
		if m.call == s.box.call && !s.box.calling {
			s.commit(c)
		}
	case *drain:
		s.box.draining = true
		s.advance(c)
	case *giveUp:
		c.Stop(c.Self())
	}
}

func (s *settler) advance(c actor.Context) {
	b := s.box
	if len(b.inFlight) > 0 {
		return
	}
	if len(b.pending) == 0 {
		if b.draining {
			c.Stop(c.Self())
		}
		return
	}
	n := min(len(b.pending), maxCommit)
	b.inFlight = b.pending[:n:n]
	b.pending = b.pending[n:]
	b.call++
	b.failures = 0
	s.commit(c)
}

func (s *settler) commit(c actor.Context) {
	t, self := s.tree, c.Self()
	s.box.calling = true
	request := t.settleRequest(s.box.call, s.box.inFlight)
	t.callBy(s.box.relay.begin, patience(s.box.failures), func(ctx context.Context) {
		results, err := t.config.Backend.Settle(ctx, request)
		if err == nil {
			err = checkAnswers(len(results), len(request.Settlements))
		}
		t.heard("settle", err)
		s.box.relay.arm()
		t.system.Root.Send(self, &committed{call: request.Call, results: results, err: err})
	})
}

func (s *settler) committed(c actor.Context, m *committed) {
	b, t := s.box, s.tree
	if m.call != b.call || !b.calling {
		return
	}
	b.calling = false
	if m.err != nil {
		b.failures++
		t.after(t.config.retry.Delay(b.failures), c.Self(), &commitAgain{b.call})
		return
	}
	runs := b.inFlight
	b.inFlight = nil
	for i := range m.results {
		if err := m.results[i].Err; err != nil {
			r := runs[i]
			t.log.Error("the job store rejects a settlement", "queue", r.lease.Job.Queue, "id", r.lease.Job.ID,
				"outcome", r.settlement.Outcome.String(), "error", err)
		}
	}
	t.tally.ended(runs, m.results)
	t.ledger.close(runs...)
	for _, r := range runs {
		if r.slot == nil {
			continue
		}
		if executor := r.slot.confirmed(); executor != nil {
			c.Send(executor, lookMessage)
		}
	}
	s.advance(c)
}

// checkAnswers keeps a store that breaks its contract from breaking the worker.
func checkAnswers(answers, questions int) error {
	if answers != questions {
		return fmt.Errorf("the job store gave %d answers to %d questions", answers, questions)
	}
	return nil
}
