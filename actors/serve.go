package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
)

// start wakes an executor in the fetcher's own goroutine, after its turn: the job
// that an idle worker picks up is not to wait for another one.
func (f *fetcher) start(c actor.Context, s *slot, executor *actor.PID) {
	s.relay.arm()
	c.Send(executor, lookMessage)
	if mailbox := s.relay.disarm(); mailbox != nil {
		f.relay.begin(func() { s.relay.turns(mailbox, nil) })
	}
}

// assign gives leases to free slots; what is over stays in stock.
func (f *fetcher) assign(c actor.Context, leases []backend.Lease) {
	if len(leases) == 0 {
		return
	}
	runs := f.ledger.open(leases)
	if f.quiet || f.draining {
		f.handBack(runs, endingSettled)
		return
	}
	if f.outdated {
		var closed []*run
		runs, closed = f.divide(runs)
		f.handBack(closed, endingSettled)
	}
	f.stock.put(runs)
	f.serve(c, len(leases) == 1)
	if len(f.stock.runs) > 0 && !f.stock.watched {
		f.stock.watched = true
		f.post.after(stockTime, c.Self(), &lookAtStock{})
	}
}

// handBack returns runs that nobody has begun.
func (f *fetcher) handBack(runs []*run, how ending) {
	for _, r := range runs {
		if r.claim() {
			r.settlement, r.ending = r.released(), how
			f.post.send(f.settler, r)
		}
	}
}

// serve gives what is in stock to free slots. One that comes alone is begun without
// delay.
func (f *fetcher) serve(c actor.Context, alone bool) {
	now := time.Now()
	for len(f.credits) > 0 && len(f.stock.runs) > 0 {
		last := len(f.credits) - 1
		free := f.credits[last]
		f.credits[last] = nil
		f.credits = f.credits[:last]
		executor, ok := free.assign(f.stock.runs[0])
		if !ok {
			continue
		}
		free.assigned = now
		f.stock.take()
		switch {
		case executor == nil:
		case alone:
			f.start(c, free, executor)
		default:
			c.Send(executor, lookMessage)
		}
	}
}

// lookAtStock hands back what nobody takes.
func (f *fetcher) lookAtStock(c actor.Context) {
	f.stock.watched = false
	if len(f.stock.runs) == 0 {
		return
	}
	if f.stock.idle() {
		f.handBack(f.stock.clear(), endingReturned)
		return
	}
	f.stock.watched = true
	f.post.after(stockTime, c.Self(), &lookAtStock{})
}
