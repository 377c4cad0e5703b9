package actors

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// drain is what a PoisonPill becomes: the order to finish in good order and then
// to end oneself. The library would turn the pill into a Stop, which the
// children get as a Stop too, whatever they are doing.
type drain struct{}

func (*drain) IgnoreDeadLetterLogging() {}

var drainMessage = &drain{}

// nudge is what an actor that batches sends itself: it comes after all that is in
// the mailbox already, so that one call takes care of it.
type nudge struct{}

func (*nudge) IgnoreDeadLetterLogging() {}

var nudgeMessage = &nudge{}

// drainInbox delivers a PoisonPill as a drain message. It wraps the library's
// unbounded mailbox; a receiver middleware would do the same for an allocation
// per message.
type drainInbox struct{ actor.Mailbox }

func newDrainInbox() actor.Mailbox { return &drainInbox{actor.Unbounded()()} }

func (m *drainInbox) PostUserMessage(message any) {
	if isPoison(message) {
		message = drainMessage
	}
	m.Mailbox.PostUserMessage(message)
}

func isPoison(message any) bool {
	if envelope, ok := message.(*actor.MessageEnvelope); ok {
		message = envelope.Message
	}
	_, poison := message.(*actor.PoisonPill)
	return poison
}

// stopInbox is the supervisor's: in addition it notes who asked for a stop at the
// moment the question is posted. A question that the supervisor no longer reads,
// because it ends, would otherwise vanish with its mailbox, unanswered.
type stopInbox struct {
	drainInbox
	callers *stopCallers
}

func (m *stopInbox) PostUserMessage(message any) {
	if envelope, ok := message.(*actor.MessageEnvelope); ok && envelope.Sender != nil {
		if _, stop := envelope.Message.(*Stop); stop && !m.callers.add(envelope.Sender) {
			return // over, and answered
		}
	}
	m.drainInbox.PostUserMessage(message)
}

// stopCallers holds those who wait for the report, and answers each exactly once.
type stopCallers struct {
	system *actor.ActorSystem

	mu      sync.Mutex
	waiting []*actor.PID
	report  *Stopped
}

// add notes a caller, or answers it at once and returns false if the report is
// there already.
func (s *stopCallers) add(caller *actor.PID) bool {
	s.mu.Lock()
	report := s.report
	if report == nil {
		s.waiting = append(s.waiting, caller)
	}
	s.mu.Unlock()
	if report == nil {
		return true
	}
	s.system.Root.Send(caller, report)
	return false
}

// answer sends the report to all who wait and to all who ask later.
func (s *stopCallers) answer(report *Stopped) {
	s.mu.Lock()
	if s.report != nil {
		s.mu.Unlock()
		return
	}
	s.report = report
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for _, caller := range waiting {
		s.system.Root.Send(caller, report)
	}
}
