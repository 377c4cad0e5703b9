package actors

import (
	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
)

// executor runs one job at a time for a slot. The handler runs in a goroutine,
// so that the executor answers while a job runs, and no handler can wedge it.
//
// It takes look (something about the slot has changed) and drain. It sends its
// slot to the fetcher when it is free, and runs to the settler when they have
// returned. It holds no state: all is in the slot, where the next executor finds
// it when a supervision strategy restarts this one.
//
// It ends itself when it was told to drain, the handler has returned, and the
// store has acknowledged the job. A panic of a handler reaches the supervision
// strategy in the same way, after the acknowledgement.
type executor struct {
	slot *slot
	// run is the slot's; work runs it in another goroutine, and back comes from there.
	// They are made once, and not for each job.
	run        *run
	work, back func()

	life     *life
	workshop *workshop
	ledger   *ledger
	post     *post
	fetcher  *actor.PID
	settler  *actor.PID
}

// forSlot makes an executor like e for a slot.
func (e executor) forSlot(s *slot) actor.Actor {
	e.slot = s
	e.work = func() { e.run.execute(e.workshop, e.back) }
	e.back = e.returned
	return &e
}

func (e *executor) Receive(c actor.Context) {
	switch c.Message().(type) {
	case *actor.Started:
		if !registered(c) {
			return // revived by a restart that came after its stop
		}
		e.slot.attach(c.Self())
		e.advance(c)
	case *actor.Stopped:
		e.slot.detach(c.Self())
	case *look:
		e.advance(c)
	case *drain:
		e.slot.leave()
		e.advance(c)
	}
}

// advance does what the slot asks for until there is nothing left to do.
func (e *executor) advance(c actor.Context) {
	for {
		next, r := e.slot.next(e.life.accepting.Load())
		switch next {
		case stepBegin:
			e.begin(r)
		case stepHandBack:
			e.settle(c, r, r.released(), endingSettled)
		case stepCollect:
			e.collect(c, r)
		case stepOffer:
			c.Send(e.fetcher, e.slot)
		case stepRaise:
			c.Send(c.Self(), lookMessage) // for the strategy that resumes
			panic(e.slot.takePanic())
		case stepLeave:
			c.Stop(c.Self())
			return
		case stepRest:
			return
		}
	}
}

func (e *executor) begin(r *run) {
	e.run = r
	e.slot.relay.begin(e.work)
}

// returned is the last that the goroutine of a job does.
func (e *executor) returned() {
	if executor := e.slot.returned(); executor != nil {
		e.slot.relay.arm()
		e.post.send(executor, lookMessage)
	}
}

// collect settles a run whose goroutine has returned.
func (e *executor) collect(c actor.Context, r *run) {
	if p := r.result.Panic; p != nil {
		e.slot.raise(&JobPanic{Job: *r.work.Load().Info(), Value: p.Value, Stack: p.Stack})
	}
	switch {
	case r.lost.Load() && r.claim():
		e.ledger.lost(r)
	case r.interrupted():
		e.settle(c, r, r.result.Settlement, endingInterrupted)
	default:
		e.settle(c, r, r.result.Settlement, endingSettled)
	}
}

// settle hands the run to the settler, unless the run was settled before.
func (e *executor) settle(c actor.Context, r *run, s backend.Settlement, how ending) {
	if !r.claim() {
		return
	}
	r.settlement, r.ending = s, how
	e.slot.expect(r)
	c.Send(e.settler, r)
}

// registered reports whether the actor is known by its name. A restart that is
// handled after a stop revives an actor that nobody can reach.
func registered(c actor.Context) bool {
	_, ok := c.ActorSystem().ProcessRegistry.GetLocal(c.Self().Id)
	return ok
}
