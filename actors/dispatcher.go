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
	idle []chan func()
	// spare is the least number of idle ones since the last trim.
	spare    int
	trimming bool
	closed   bool
}

func newDispatcher() *dispatcher { return &dispatcher{} }

// Throughput is how many messages an actor handles before others get their turn.
func (d *dispatcher) Throughput() int { return 300 }

// Schedule runs f in an idle goroutine or in a new one. It never blocks.
func (d *dispatcher) Schedule(f func()) {
	d.mu.Lock()
	last := len(d.idle) - 1
	if last < 0 {
		d.mu.Unlock()
		go d.loop(f)
		return
	}
	work := d.idle[last]
	d.idle = d.idle[:last]
	d.spare = min(d.spare, last)
	d.mu.Unlock()
	work <- f
}

func (d *dispatcher) loop(f func()) {
	work := make(chan func(), 1)
	for f != nil {
		f()
		if !d.rest(work) {
			return
		}
		f = <-work
	}
}

// rest notes an idle goroutine. It returns false once the dispatcher is closed.
func (d *dispatcher) rest(work chan func()) bool {
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
