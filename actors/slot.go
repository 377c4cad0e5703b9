package actors

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// slot is a place for one handler. It outlives the executors that serve it: an
// executor that is restarted by its supervision strategy finds in the slot what
// its predecessor was doing, so no job is lost with an actor, and a slot never
// has two handlers, as it is free only when the goroutine has returned.
//
//	idle ─► offered ─► assigned ─► running ─► returned ─► idle
type slot struct {
	number int
	relay  relay
	// assigned is when the fetcher last gave it a run; the fetcher's.
	assigned time.Time

	mu    sync.Mutex
	stage stage
	run   *run
	// executor serves the slot; nil between two executors.
	executor *actor.PID
	// unconfirmed counts settlements of this slot that the store has not
	// confirmed.
	unconfirmed int
	// panicked is to be raised once everything is confirmed.
	panicked *JobPanic
	// leaving is set when the executor is to end: the tree stops, or the slot
	// is one too many.
	leaving bool
}

type stage uint8

const (
	// stageIdle has nothing to do and nobody knows it.
	stageIdle stage = iota
	// stageOffered has nothing to do, and the fetcher may assign a run.
	stageOffered
	// stageAssigned has a run that has not begun.
	stageAssigned
	// stageRunning has a goroutine that runs a handler.
	stageRunning
	// stageReturned has a run whose goroutine has returned.
	stageReturned
)

// look is the message that makes an executor look at its slot.
type look struct{}

func (*look) IgnoreDeadLetterLogging() {}

var lookMessage = &look{}

// maxUnconfirmed is how far a slot may run ahead of the store's confirmations.
const maxUnconfirmed = 64

func (*slot) IgnoreDeadLetterLogging() {}

// attach makes pid the executor of the slot.
func (s *slot) attach(pid *actor.PID) {
	s.mu.Lock()
	s.executor = pid
	s.mu.Unlock()
}

// detach forgets the executor, unless another one has taken over.
func (s *slot) detach(pid *actor.PID) {
	s.mu.Lock()
	if s.executor != nil && s.executor.Equal(pid) {
		s.executor = nil
	}
	s.mu.Unlock()
}

// assign gives an offered slot a run and returns whom to tell. It returns false
// if the slot is to take none any more.
func (s *slot) assign(r *run) (executor *actor.PID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage != stageOffered {
		return nil, false
	}
	if s.leaving {
		s.stage = stageIdle
		return nil, false
	}
	s.stage, s.run = stageAssigned, r
	return s.executor, true
}

// withdraw takes an offer back if the slot is to take no run any more.
func (s *slot) withdraw() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage != stageOffered || !s.leaving {
		return false
	}
	s.stage = stageIdle
	return true
}

// returned records that the goroutine has returned, and returns whom to tell.
func (s *slot) returned() (executor *actor.PID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage = stageReturned
	return s.executor
}

// expect counts a settlement that the store has to confirm.
func (s *slot) expect(r *run) {
	s.mu.Lock()
	s.unconfirmed++
	s.mu.Unlock()
	r.slot = s
}

// confirmed records that the store has answered for a settlement, and returns
// the executor if it may have waited for that.
func (s *slot) confirmed() (executor *actor.PID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unconfirmed--
	if s.stage == stageIdle || s.unconfirmed == 0 && s.leaving {
		return s.executor
	}
	return nil
}

// rescue takes what is in the slot without its executor: a handler that ignores
// its context is left behind, and a job that has not begun or has returned is
// taken out. It returns the run if it is still to be settled, by the caller.
func (s *slot) rescue() (r *run, left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = true
	switch s.stage {
	case stageRunning:
		if !s.run.claim() {
			return nil, false
		}
		s.run.ending = endingAbandoned
		return s.run, true
	case stageAssigned, stageReturned:
		return s.free(), false
	}
	return nil, false
}

// leave asks the executor to end.
func (s *slot) leave() {
	s.mu.Lock()
	s.leaving = true
	s.mu.Unlock()
}

// stay undoes leave: the slot gets another executor.
func (s *slot) stay() {
	s.mu.Lock()
	s.leaving = false
	s.mu.Unlock()
}

// servant returns the executor; nil between two executors.
func (s *slot) servant() *actor.PID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.executor
}

// busy reports whether the slot has a run that has not been collected, or a
// goroutine.
func (s *slot) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run != nil
}

// step is what an executor is to do next.
type step uint8

const (
	stepRest     step = iota // wait for a message
	stepOffer                // tell the fetcher that the slot is free
	stepBegin                // run the assigned job
	stepHandBack             // give the assigned job back
	stepCollect              // settle the job that has returned
	stepRaise                // let the supervision strategy know of a panic
	stepLeave                // end
)

// next decides what the executor does, and makes the transition. accepting is
// false once the worker starts no job any more.
func (s *slot) next(accepting bool) (step, *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.stage {
	case stageAssigned:
		if s.leaving || !accepting {
			return stepHandBack, s.free()
		}
		s.stage = stageRunning
		return stepBegin, s.run
	case stageRunning:
		if s.leaving && s.run.ending == endingAbandoned && s.unconfirmed == 0 {
			return stepLeave, nil
		}
		return stepRest, nil
	case stageReturned:
		return stepCollect, s.free()
	}
	switch {
	case s.unconfirmed > 0 && (s.leaving || s.panicked != nil):
		return stepRest, nil
	case s.unconfirmed >= maxUnconfirmed:
		return stepRest, nil
	case s.leaving:
		return stepLeave, nil
	case s.panicked != nil:
		return stepRaise, nil
	case s.stage == stageIdle:
		s.stage = stageOffered
		return stepOffer, nil
	}
	return stepRest, nil
}

func (s *slot) free() *run {
	r := s.run
	s.stage, s.run = stageIdle, nil
	return r
}

// present is the run that the slot has, and how far it is with it.
func (s *slot) present() (stage, *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stage, s.run
}

// raise notes a panic for the supervision strategy.
func (s *slot) raise(p *JobPanic) {
	s.mu.Lock()
	s.panicked = p
	s.mu.Unlock()
}

// takePanic returns the panic to raise and forgets it.
func (s *slot) takePanic() *JobPanic {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.panicked
	s.panicked = nil
	return p
}
