package sqlite

import (
	lines "container/list"
	"maps"
	"slices"
	"sync"

	"github.com/caddis-go/caddis/backend"
)

// hub wakes those in this process who wait: for work, by a bell per queue, and for
// commands.
type hub struct {
	store *Backend
	// enlisted has room for the one signal that somebody waits for work.
	enlisted chan struct{}

	mu        sync.Mutex
	closed    bool
	bells     map[string]*bell
	listeners map[*listener]struct{}
}

// bell wakes those who wait on a queue, one per ring. A ring that nobody waits for is
// kept for the next who comes; several are kept as one.
type bell struct {
	rung bool
	// waiters are those that wait and were not woken, in the order in which they came.
	waiters lines.List
	// users counts the waiters that there are.
	users int
	// due is when the next scheduled job is due, as far as was last heard.
	due int64
}

// listener is one call of Listen. The hub's mutex guards commands.
type listener struct {
	commands []backend.Command
	wake     chan struct{}
}

func newHub(b *Backend) *hub {
	return &hub{store: b, enlisted: make(chan struct{}, 1), bells: make(map[string]*bell), listeners: make(map[*listener]struct{})}
}

// ring wakes one waiter. Of a queue that nobody waits on it is not kept: who comes
// looks first.
func (h *hub) ring(queue string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ringLocked(queue)
}

func (h *hub) ringLocked(queue string) {
	b := h.bells[queue]
	if b == nil || h.closed {
		return
	}
	first := b.waiters.Front()
	if first == nil {
		b.rung = true
		return
	}
	w := first.Value.(*waiter)
	w.leave()
	w.woken = queue
	w.wake <- struct{}{}
}

// waited lists the queues that somebody waits on, or will.
func (h *hub) waited() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Keys(h.bells))
}

// heard rings if there is work in a queue, or if a job is to be due before all that
// were known.
func (h *hub) heard(queue string, work bool, due int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.bells[queue]
	if b == nil {
		return
	}
	sooner := due != 0 && (b.due == 0 || due < b.due)
	b.due = due
	if work || sooner {
		h.ringLocked(queue)
	}
}

// waits reports whether somebody waits for work.
func (h *hub) waits() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range h.bells {
		if b.waiters.Len() > 0 {
			return true
		}
	}
	return false
}

// listens reports whether somebody listens for commands.
func (h *hub) listens() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners) > 0
}

func (h *hub) listen() *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{wake: make(chan struct{}, 1), commands: []backend.Command{{Verb: backend.CommandControl}}}
	l.wake <- struct{}{}
	h.listeners[l] = struct{}{}
	return l
}

func (h *hub) unlisten(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

func (h *hub) commandsOf(l *listener) []backend.Command {
	h.mu.Lock()
	defer h.mu.Unlock()
	commands := l.commands
	l.commands = nil
	return commands
}

// command sends a command to all listeners.
func (h *hub) command(command backend.Command) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		if len(l.commands) == maxCommands {
			continue
		}
		l.commands = append(l.commands, command)
		signal(l.wake)
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}
