package jobs

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// MaxEvents is how many events wait for a hook that is slow. Those beyond are dropped
// and counted.
const MaxEvents = 10_000

// Events hands events to a hook: one at a time, in the order in which they were told, in
// a goroutine that nobody waits for and that ends when there is nothing to hand over. So
// nothing that the hook does, a panic included, changes what becomes of a job. A nil
// *Events takes events and does nothing.
type Events struct {
	hook   func(Event) // nil if there is none
	stored atomic.Pointer[func([]backend.NewJob, []Receipt)]

	mu      sync.Mutex
	around  func(call func())
	waiting []Event
	running bool
	dropped uint64
	// idle is closed when nothing waits; nil unless somebody waits for that.
	idle chan struct{}
}

// NewEvents makes an Events of a hook, which may be nil. A panic of the hook is logged by
// slog.Default, unless Around says otherwise.
func NewEvents(hook func(Event)) *Events {
	return &Events{hook: hook, around: func(call func()) {
		defer func() {
			if value := recover(); value != nil {
				fault := &Panic{Value: value}
				slog.Error("the hook OnEvent panicked", "panic", fault.Error(), "stack", string(debug.Stack()))
			}
		}()
		call()
	}}
}

// Hooked reports whether there is a hook, so that it is of use to tell anything.
func (e *Events) Hooked() bool { return e != nil && e.hook != nil }

// OnStored has f called, in the place of any other, with the jobs of each enqueue of the
// clients that tell these events and with the receipts; nil ends that. It is for workers,
// which record them: f must be quick and safe for concurrent use.
func (e *Events) OnStored(f func(batch []backend.NewJob, receipts []Receipt)) {
	if f == nil {
		e.stored.Store(nil)
		return
	}
	e.stored.Store(&f)
}

// Around has each call of the hook made by f, which has to survive its panics.
func (e *Events) Around(f func(call func())) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.around = f
}

// Tell hands events to the hook some time, and returns how many were dropped.
func (e *Events) Tell(events ...Event) (dropped int) {
	if !e.Hooked() || len(events) == 0 {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	room := min(len(events), max(0, MaxEvents-len(e.waiting)))
	dropped = len(events) - room
	e.dropped += uint64(dropped)
	e.waiting = append(e.waiting, events[:room]...)
	if !e.running {
		e.running = true
		go e.run()
	}
	return dropped
}

// Dropped is how many events the hook was not told of, as it is too slow.
func (e *Events) Dropped() uint64 {
	if e == nil {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dropped
}

// Flush waits until the hook was told of all, for limit at most.
func (e *Events) Flush(limit time.Duration) {
	if e == nil {
		return
	}
	e.mu.Lock()
	if !e.running {
		e.mu.Unlock()
		return
	}
	if e.idle == nil {
		e.idle = make(chan struct{})
	}
	idle := e.idle
	e.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

func (e *Events) run() {
	defer func() { // the hook may end its goroutine
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.running {
			go e.run()
		}
	}()
	for {
		event, around, ok := e.next()
		if !ok {
			return
		}
		around(func() { e.hook(event) })
	}
}

func (e *Events) next() (event Event, around func(func()), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) == 0 {
		e.waiting, e.running = nil, false
		if e.idle != nil {
			close(e.idle)
			e.idle = nil
		}
		return Event{}, nil, false
	}
	event = e.waiting[0]
	e.waiting[0] = Event{}
	e.waiting = e.waiting[1:]
	return event, e.around, true
}
