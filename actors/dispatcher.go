package actors

import (
	"sync"
	"time"
)

// idleGoroutine is how long a goroutine waits for its next piece of work.
const idleGoroutine = time.Second

// dispatcher runs the mailboxes of a tree, and its handlers, on goroutines that
// it uses again. A fresh goroutine per wake-up spends about half of the CPU
// growing its stack.
type dispatcher struct {
	work   chan func() // unbuffered: taken only by a goroutine that is idle
	closed chan struct{}
	once   sync.Once
}

func newDispatcher() *dispatcher {
	return &dispatcher{work: make(chan func()), closed: make(chan struct{})}
}

// Throughput is how many messages an actor handles before others get their turn.
func (d *dispatcher) Throughput() int { return 300 }

// Schedule runs f in an idle goroutine or in a new one. It never blocks.
func (d *dispatcher) Schedule(f func()) {
	select {
	case d.work <- f:
	default:
		go d.loop(f)
	}
}

func (d *dispatcher) loop(f func()) {
	idle := time.NewTimer(idleGoroutine)
	defer idle.Stop()
	for {
		f()
		f = nil
		idle.Reset(idleGoroutine)
		select {
		case f = <-d.work:
		case <-idle.C:
			return
		case <-d.closed:
			return
		}
	}
}

// close ends the idle goroutines. What is scheduled later still runs.
func (d *dispatcher) close() { d.once.Do(func() { close(d.closed) }) }
