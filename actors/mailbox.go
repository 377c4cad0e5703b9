package actors

import "github.com/asynkron/protoactor-go/actor"

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
