package actors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// control is what the worker was told by way of the store. It outlives the keeper, so that
// no order is heeded twice.
type control struct {
	// due is set if the orders are to be read: they have changed, or nobody has looked
	// for ordersAge, as a command may be missed.
	due bool
	// read is set once they were read, at seen for the last time.
	read bool
	seen time.Time
	// heeded has the numbers of the orders that were carried out.
	heeded map[jobs.OrderVerb]uint64
	// fault is the last reason why they could not be understood.
	fault string
}

type ordersRead struct {
	by     *keeper
	orders jobs.Orders
	// fault says why what is stored is not understood, err why it is not known.
	fault, err error
}

func (*ordersRead) IgnoreDeadLetterLogging() {}

// ordersAge is after what time orders are read again of which nothing was heard.
const ordersAge = time.Minute

// resizeDelay is after what time the new size of a worker is published.
const resizeDelay = 50 * time.Millisecond

// heed takes the orders that are new. Of those that were there when it read for the first time
// it takes what is to last, and what names the worker. It leaves out a stop of all others: that
// was before it was there.
func (o *control) heed(orders *jobs.Orders, worker string) (todo map[jobs.OrderVerb]jobs.Order) {
	todo = map[jobs.OrderVerb]jobs.Order{}
	for _, verb := range []jobs.OrderVerb{jobs.OrderQuiet, jobs.OrderResize, jobs.OrderStop, jobs.OrderStacks, jobs.OrderWatch} {
		order := orders.For(worker, verb)
		if order.Number == o.heeded[verb] {
			continue
		}
		o.heeded[verb] = order.Number
		if order.Number == 0 || !o.read && !orders.Names(worker, verb) && (!verb.Lasts() || order.Value == 0) {
			continue
		}
		todo[verb] = order
	}
	o.read = true
	return todo
}

// remind has the orders read if they have not been for long.
func (o *control) remind() {
	o.due = o.due || time.Since(o.seen) >= ordersAge
}

// readOrders asks the store what the worker is to do.
func (k *keeper) readOrders(c actor.Context) {
	self := c.Self()
	k.control.due = false
	k.calling = "read orders"
	answer := &ordersRead{by: k}
	k.abort = k.line.call(k.line.dispatch.Schedule, k.calling, min(callTimeout, k.config.Lease/3), func(ctx context.Context) (err error) {
		answer.orders, err = jobs.ReadOrders(ctx, k.line.store)
		if errors.Is(err, jobs.ErrPayload) {
			answer.fault, err = err, nil
		}
		return err
	}, func(err error) {
		answer.err = err
		k.post.send(self, answer)
	})
}

// ordersRead carries out what is new. After a failure the next beat asks again.
func (k *keeper) ordersRead(c actor.Context, m *ordersRead) {
	if m.err != nil {
		k.control.seen = time.Time{}
		return
	}
	k.control.seen = time.Now()
	if m.fault != nil {
		if text := m.fault.Error(); text != k.control.fault {
			k.control.fault = text
			k.config.Logger.Warn("what workers are told in the store cannot be understood; it does not count", "error", text)
		}
		return
	}
	todo := k.control.heed(&m.orders, k.worker)
	if len(todo) == 0 {
		return
	}
	for verb, order := range todo {
		if verb == jobs.OrderWatch {
			k.showing.watch()
			continue
		}
		k.config.Logger.Info("the worker was told by an operator", "verb", string(verb), "value", order.Value)
		switch verb {
		case jobs.OrderQuiet:
			if order.Value != 0 {
				k.post.send(k.supervisor, &Quiet{})
			} else {
				k.post.send(k.supervisor, &Resume{})
			}
		case jobs.OrderResize:
			k.post.after(resizeDelay, c.Self(), &chore{})
			k.resize(int(order.Value))
		case jobs.OrderStop:
			k.post.send(k.door, &Stop{})
		case jobs.OrderStacks:
			k.tellStacks(order.Number)
		}
	}
}

func (k *keeper) resize(concurrency int) {
	if concurrency == 0 {
		concurrency = k.config.Concurrency
	}
	if concurrency > maxConcurrency {
		k.config.Logger.Warn("the worker is not resized", "error", fmt.Sprintf("concurrency %d: it goes from 1 to %d", concurrency, maxConcurrency))
		return
	}
	k.post.send(k.supervisor, &Resize{concurrency})
}

// tellStacks answers with the stacks of the handlers, beside the keeper's own calls.
func (k *keeper) tellStacks(number uint64) {
	runs, at := k.ledger.renewable(), k.clock.now()
	k.line.call(k.line.dispatch.Schedule, "tell stacks", callTimeout, func(ctx context.Context) error {
		stacks := jobs.WorkerStacks{Worker: k.worker, At: at, Jobs: stacksOf(runs)}
		return jobs.TellStacks(ctx, k.line.store, number, stacks)
	}, func(err error) {
		if err != nil {
			k.config.Logger.Warn("the stacks that an operator has asked for cannot be told", "error", err)
		}
	})
}

// maxStacks bounds what is read of the stacks of the process, in bytes.
const maxStacks = 16 << 20

// stacksOf finds the stacks of handlers that run. A goroutine is told by the address of its
// run, which stands in its stack.
func stacksOf(runs []*run) (all []jobs.JobStack) {
	text := make([]byte, 1<<20)
	for {
		n := runtime.Stack(text, true)
		if n < len(text) || len(text) >= maxStacks {
			text = text[:n]
			break
		}
		text = make([]byte, 4*len(text))
	}
	stacks := map[string]string{}
	for stack := range bytes.SplitSeq(text, []byte("\n\n")) {
		if _, rest, found := bytes.Cut(stack, []byte("/jobs.(*Run).Do(0x")); found {
			address := bytes.IndexAny(rest, ",)?")
			stacks["0x"+string(rest[:max(0, address)])] = string(stack)
		}
	}
	for _, r := range runs {
		if work := r.work.Load(); work != nil && r.started.Load() && !r.settled.Load() {
			all = append(all, jobs.JobStack{
				Queue: r.lease.Job.Queue, ID: r.lease.Job.ID, Kind: r.lease.Job.Kind, Stack: stacks[fmt.Sprintf("%p", work)],
			})
		}
	}
	return all
}

// hears reports whether a command is about orders, which are then to be read.
func (o *control) hears(command backend.Command) bool {
	if command.Verb != backend.CommandControl {
		return false
	}
	o.due = true
	return true
}
