package actors

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
)

// house is what is to be done beside the worker's own jobs: its record is published, its
// patterns are compared with the queues that there are, and its queues are swept, of many
// a few at a time. Those of a worker that has vanished
// come first, then each lease of it as it expires.
type house struct {
	due   bool
	tries tries
	// from is where in the worker's block keys the next sweep begins, which names
	// backend.MaxSweepKeys at most.
	from int
	// keys are those of the worker's kinds.
	keys []string
	// all is set if no queue is to wait for its turn: at first, and after a failure, as
	// nobody knows what was missed. visits are those of which something was heard.
	all    bool
	visits []string
	// fresh are the queues that have appeared since the store was last asked for all.
	fresh []string
	// known are the workers that have vanished and whose queues were looked at.
	known map[string]bool
	timer *time.Timer
}

type (
	// chore comes between two beats if something is to be looked at in time.
	chore     struct{}
	houseKept struct {
		by        *keeper
		first     []string
		listed    bool     // whether the store has answered which queues it has
		queues    []string // those
		vanished  map[string]bool
		blocked   []string
		schedules uint64
		next      time.Duration
		err       error
	}
)

func (*chore) IgnoreDeadLetterLogging()     {}
func (*houseKept) IgnoreDeadLetterLogging() {}

const (
	// announcing is the call that must not land after the farewell.
	announcing = "announce"
	// choreFloor is the least time between two chores; choreSlack is for how much later
	// than an instant one comes.
	choreFloor = 500 * time.Millisecond
	choreSlack = 5 * time.Millisecond
)

func (h *house) visit(queue string) {
	if !slices.Contains(h.visits, queue) {
		h.visits = append(h.visits, queue)
	}
}

func (h *house) leave() {
	if h.timer != nil {
		h.timer.Stop()
	}
}

// keepHouse publishes the worker's record and sweeps queues.
func (k *keeper) keepHouse(c actor.Context) {
	self := c.Self()
	keys, record, known := k.blockKeys(), k.record(), k.house.known
	answer := &houseKept{by: k, first: k.house.visits}
	all, dynamic, queues := k.house.all, k.queues.dynamic(), k.queues
	k.house.due, k.house.visits, k.house.fresh = false, nil, nil // what comes meanwhile is for the next time
	k.calling = announcing
	k.abort = k.line.call(k.line.dispatch.Schedule, k.calling, min(callTimeout, k.config.Lease/3), func(ctx context.Context) error {
		announced, announceErr := k.line.store.Announce(ctx, record, k.config.Lease)
		var namesErr error
		if dynamic {
			answer.queues, namesErr = k.line.store.QueueNames(ctx)
			answer.listed = namesErr == nil
		}
		serve := queues.all()
		if answer.listed {
			serve = queues.with(answer.queues)
		}
		if all {
			answer.first = serve
		}
		answer.vanished = map[string]bool{}
		for _, gone := range announced.Vanished {
			answer.vanished[gone.ID] = true
			if !known[gone.ID] {
				answer.first = union(answer.first, gone.Queues)
			}
		}
		answer.first = slices.DeleteFunc(slices.Clone(answer.first), func(queue string) bool { return !slices.Contains(serve, queue) })
		swept, sweepErr := k.line.store.Sweep(ctx, backend.SweepRequest{
			Queues: serve, First: answer.first, Duration: k.config.Lease, Keys: keys,
		})
		if swept.Reclaimed > 0 {
			k.config.Logger.Warn("jobs of a worker that vanished are back in their queues", "jobs", swept.Reclaimed)
			k.news.recovered(swept.Reclaimed)
		}
		answer.blocked, answer.schedules = swept.Blocked, swept.Schedules
		answer.next = soonest(announced.Next, swept.Next)
		return errors.Join(announceErr, namesErr, sweepErr)
	}, func(err error) {
		answer.err = err
		k.post.send(self, answer)
	})
}

func (k *keeper) houseKept(c actor.Context, m *houseKept) {
	if len(m.blocked) > 0 {
		c.Send(k.fetcher, &blockedKeys{m.blocked})
	}
	if m.schedules != 0 {
		c.Send(k.ticker, &schedulesSeen{m.schedules})
	}
	if m.listed && k.queues.update(union(m.queues, k.house.fresh)) {
		k.tellQueues()
	}
	if m.err != nil {
		k.house.due, k.house.all = true, true
		k.house.tries.failures++
		k.rest(c, k.house.tries.failures, m.err)
		return
	}
	k.house.tries = tries{}
	k.house.all, k.house.known = false, m.vanished
	k.house.leave()
	if wait := max(choreFloor, m.next+choreSlack); m.next > 0 && wait < k.config.Lease/3 {
		k.house.timer = k.post.after(wait, c.Self(), &chore{})
	}
}

// tellQueues tells which queues are served from now on.
func (k *keeper) tellQueues() {
	k.post.send(k.fetcher, &queuesChanged{})
	k.post.send(k.ticker, &queuesChanged{})
	k.config.Logger.Debug("the worker's queues have changed", "queues", k.queues.all())
}

// blockKeys are the keys of the worker's kinds to ask for in this turn.
func (k *keeper) blockKeys() []string {
	all := k.house.keys
	n := min(len(all), backend.MaxSweepKeys)
	keys := make([]string, 0, n)
	for i := range n {
		keys = append(keys, all[(k.house.from+i)%len(all)])
	}
	k.house.from = (k.house.from + n) % max(1, len(all))
	return keys
}

// union adds those to some that are not among them.
func union(some, others []string) []string {
	for _, other := range others {
		if !slices.Contains(some, other) {
			some = append(slices.Clip(some), other)
		}
	}
	return some
}

// soonest is the least of two times, of which 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
