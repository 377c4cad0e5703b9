package actors

import "sync"

// relay is the dispatcher of one slot's executor. It lets the executor, the handler
// that the executor begins, and the executor again that collects the result, take
// turns in one goroutine: two changes of goroutine less per job. While a handler
// runs, messages to the executor are handled in other goroutines, as ever.
type relay struct {
	*dispatcher

	mu sync.Mutex
	// handler is to run when the executor has handled its messages.
	handler func()
	// armed is set while the goroutine of a handler is about to end and would take
	// on the executor's mailbox, which is then in mailbox.
	armed   bool
	mailbox func()
}

// Schedule runs the executor's mailbox.
func (r *relay) Schedule(mailbox func()) {
	r.mu.Lock()
	if r.armed {
		r.armed, r.mailbox = false, mailbox
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.dispatcher.Schedule(func() { r.turns(mailbox) })
}

// begin has a handler run after the executor's turn. The executor calls it.
func (r *relay) begin(handler func()) {
	r.mu.Lock()
	r.handler = handler
	r.mu.Unlock()
}

// arm offers the executor the goroutine of a handler, which calls it last of all.
func (r *relay) arm() {
	r.mu.Lock()
	r.armed = true
	r.mu.Unlock()
}

func (r *relay) turns(mailbox func()) {
	running := false
	defer func() { // a handler may end its goroutine
		if running {
			if mailbox := r.disarm(); mailbox != nil {
				r.Schedule(mailbox)
			}
		}
	}()
	for mailbox != nil {
		mailbox()
		handler := r.takeHandler()
		if handler == nil {
			return
		}
		running = true
		handler()
		running = false
		mailbox = r.disarm()
	}
}

func (r *relay) takeHandler() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	handler := r.handler
	r.handler = nil
	return handler
}

func (r *relay) disarm() (mailbox func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mailbox = r.mailbox
	r.armed, r.mailbox = false, nil
	return mailbox
}
