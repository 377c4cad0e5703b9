package actors

import (
	"sync"
	"time"
)

// idleGoroutine is for how long, once to twice, a goroutine waits for its next
// piece of work.
const idleGoroutine = time.Second

// dispatcher runs the mailboxes of a tree on goroutines that it uses again. A
// fresh goroutine per wake-up spends about half of the CPU growing its stack.
type dispatcher struct {
	mu sync.Mutex
	// idle are the goroutines without work; the last to become idle is the first
	// to be used, so that the others can go.
	idle []chan turn
	// spare is the least number of idle ones since the last trim.
	spare    int
	trimming bool
	closed   bool
}

func newDispatcher() *dispatcher { return &dispatcher{} }

// Throughput is how many messages an actor handles before others get their turn.
func (d *dispatcher) Throughput() int { return 300 }

// turn is what a goroutine does: f, or with a relay the turns of an actor.
type turn struct {
	f     func()
	relay *relay
	work  func()
}

func (t *turn) take() {
	if t.relay != nil {
		t.relay.turns(t.f, t.work)
		return
	}
	t.f()
}

// Schedule runs f in an idle goroutine or in a new one. It never blocks.
func (d *dispatcher) Schedule(f func()) { d.schedule(turn{f: f}) }

func (d *dispatcher) schedule(t turn) {
	d.mu.Lock()
	last := len(d.idle) - 1
	if last < 0 {
		d.mu.Unlock()
		go d.loop(t)
		return
	}
	work := d.idle[last]
	d.idle = d.idle[:last]
	d.spare = min(d.spare, last)
	d.mu.Unlock()
	work <- t
}

func (d *dispatcher) loop(t turn) {
	work := make(chan turn, 1)
	for more := true; more; {
		t.take()
		if !d.rest(work) {
			return
		}
		t, more = <-work
	}
}

// rest notes an idle goroutine. It returns false once the dispatcher is closed.
func (d *dispatcher) rest(work chan turn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.idle = append(d.idle, work)
	if !d.trimming {
		d.trimming, d.spare = true, 0
		time.AfterFunc(idleGoroutine, d.trim)
	}
	return true
}

// trim ends the goroutines that were idle since the last trim.
func (d *dispatcher) trim() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	for _, work := range d.idle[:d.spare] {
		close(work)
	}
	d.idle = append(d.idle[:0:0], d.idle[d.spare:]...)
	d.spare = len(d.idle)
	if d.trimming = d.spare > 0; d.trimming {
		time.AfterFunc(idleGoroutine, d.trim)
	}
}

// close ends the idle goroutines. What is scheduled later still runs.
func (d *dispatcher) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, work := range d.idle {
		close(work)
	}
	d.idle = nil
}
