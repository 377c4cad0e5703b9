package main

import (
	"context"
	"fmt"
	"io"

	"github.com/asynkron/protoactor-go/actor"
)

// mailer is the app's own actor. It owns the connection to the mail server (here,
// a writer) and sends one letter at a time.
type mailer struct {
	stdout io.Writer
	// missing counts the letters that are still to come; everything is closed
	// when there are none.
	missing    int
	everything chan struct{}
}

// letter is the message that the mailer takes. The answer comes in a channel, for
// which a handler can wait together with its context.
type letter struct {
	template, address string
	sent              chan error
}

// Receive makes mailer an actor.
func (m *mailer) Receive(c actor.Context) {
	if l, ok := c.Message().(*letter); ok {
		_, err := fmt.Fprintf(m.stdout, "%s to %s\n", l.template, l.address)
		if m.missing--; m.missing == 0 {
			close(m.everything)
		}
		l.sent <- err
	}
}

// mailbox is the mailer as the handlers see it.
type mailbox struct {
	system *actor.ActorSystem
	pid    *actor.PID
}

// send returns when the letter has been sent, or when ctx ends.
func (m *mailbox) send(ctx context.Context, template, address string) error {
	l := &letter{template: template, address: address, sent: make(chan error, 1)}
	m.system.Root.Send(m.pid, l)
	select {
	case err := <-l.sent:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
