package actors

import "sync"

// relay is the dispatcher of one actor. It lets the actor and the work that it
// begins take turns in one goroutine: the executor of a slot with its handlers, the
// fetcher and the settler with their calls to the store. That saves two changes of
// goroutine per piece of work. While work is under way, messages to the actor are
// handled in other goroutines, as ever.
type relay struct {
	*dispatcher

	mu sync.Mutex
	// work is to be done when the actor has handled its messages.
	work func()
	// armed is set while the goroutine of a piece of work is about to end and would
	// take on the actor's mailbox, which is then in mailbox.
	armed   bool
	mailbox func()
}

// Schedule runs the actor's mailbox.
func (r *relay) Schedule(mailbox func()) {
	r.mu.Lock()
	if r.armed {
		r.armed, r.mailbox = false, mailbox
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	r.dispatcher.schedule(turn{relay: r, f: mailbox})
}

// begin has work done after the actor's turn, or elsewhere if this turn has begun
// some already. The actor calls it.
func (r *relay) begin(work func()) {
	r.mu.Lock()
	first := r.work == nil
	if first {
		r.work = work
	}
	r.mu.Unlock()
	if !first {
		r.dispatcher.schedule(turn{relay: r, work: work})
	}
}

// arm offers the actor the goroutine of a piece of work, which calls it last of
// all, before it sends the message that is to be handled.
func (r *relay) arm() {
	r.mu.Lock()
	r.armed = true
	r.mu.Unlock()
}

// turns takes turns: the mailbox if there is one, else the work.
func (r *relay) turns(mailbox, work func()) {
	working := false
	defer func() { // a handler may end its goroutine
		if working {
			if mailbox := r.disarm(); mailbox != nil {
				r.Schedule(mailbox)
			}
		}
	}()
	for {
		if mailbox != nil {
			mailbox()
			work = r.takeWork()
		}
		if work == nil {
			return
		}
		working = true
		work()
		working = false
		mailbox, work = r.disarm(), nil
	}
}

func (r *relay) takeWork() func() {
	r.mu.Lock()
	defer r.mu.Unlock()
	work := r.work
	r.work = nil
	return work
}

// disarm returns the mailbox that came since arm, to be run by the caller.
func (r *relay) disarm() (mailbox func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mailbox = r.mailbox
	r.armed, r.mailbox = false, nil
	return mailbox
}
