package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// An OrderVerb is what workers can be told from anywhere.
type OrderVerb string

const (
	// OrderQuiet has a worker take no jobs if its value is 1, and take some again if it
	// is 0.
	OrderQuiet OrderVerb = "quiet"
	// OrderResize changes the number of executors, to the configured one if it is 0.
	OrderResize OrderVerb = "resize"
	// OrderStop begins a stop.
	OrderStop OrderVerb = "stop"
	// OrderStacks asks for the stacks of the handlers that run.
	OrderStacks OrderVerb = "stacks"
	// OrderWatch has a worker tell its tree for WatchTime.
	OrderWatch OrderVerb = "watch"
)

// Lasts reports whether what all were told counts for workers that start later, too.
func (v OrderVerb) Lasts() bool { return v == OrderQuiet || v == OrderResize }

// Order is what was last said with one verb.
type Order struct {
	// Number is from 1 on, a higher one for each order; 0 if there is none.
	Number uint64 `json:"number"`
	Value  int64  `json:"value,omitempty"`
}

// Orders are all that is in force. They are what a worker reads, and of no use to
// handlers.
type Orders struct {
	// Last is the number of the last order.
	Last    uint64                         `json:"last"`
	Fleet   map[OrderVerb]Order            `json:"fleet,omitempty"`
	Workers map[string]map[OrderVerb]Order `json:"workers,omitempty"`
}

// For is what counts for a worker: what it or all were told, whichever was later.
func (o *Orders) For(worker string, verb OrderVerb) Order {
	own, all := o.Workers[worker][verb], o.Fleet[verb]
	if all.Number > own.Number {
		return all
	}
	return own
}

// Names reports whether a worker was told by its id, which nobody knew before it was there.
func (o *Orders) Names(worker string, verb OrderVerb) bool {
	own := o.Workers[worker][verb]
	return own.Number > 0 && own == o.For(worker, verb)
}

// maxNamed is how many of all workers are told by their ids: there is room for so many.
const maxNamed = 300

// give adds an order to all workers, or to some of those that are present, who stand in the
// order in which they started. What it overrules is dropped, and so is what was said to
// workers that have gone. An order that does not last is given to all by their ids too: who
// reads it first when it is already there learns by that that it is meant.
func (o Orders) give(verb OrderVerb, value int64, present, ids []string) Orders {
	o.Last++
	order := Order{o.Last, value}
	if o.Fleet == nil {
		o.Fleet = map[OrderVerb]Order{}
	}
	if o.Workers == nil {
		o.Workers = map[string]map[OrderVerb]Order{}
	}
	maps.DeleteFunc(o.Workers, func(id string, own map[OrderVerb]Order) bool {
		if len(ids) == 0 {
			delete(own, verb)
		}
		return len(own) == 0 || !slices.Contains(present, id)
	})
	if len(ids) == 0 {
		o.Fleet[verb] = order
		if !verb.Lasts() {
			ids = present[max(0, len(present)-maxNamed):]
		}
	}
	for _, id := range ids {
		if o.Workers[id] == nil {
			o.Workers[id] = map[OrderVerb]Order{}
		}
		o.Workers[id][verb] = order
	}
	return o
}

const ordersKey = "orders"

// control is the memo of the orders. It is always JSON, so that programs with different
// codecs understand each other.
func control(store backend.Backend, name string) *Memo {
	return (&Client{backend: store, registry: NewRegistry()}).Memo(name)
}

// ReadOrders reads the orders, of which there may be none.
func ReadOrders(ctx context.Context, store backend.Backend) (orders Orders, err error) {
	_, err = control(store, backend.ControlMemo).Get(ctx, ordersKey, &orders)
	return orders, err
}

// QuietWorkers has workers take no jobs any more, while those that run go on: those with
// the ids, or without ids the whole fleet, until ResumeWorkers. What all are told counts
// for those that start later, too. Of several orders the last counts.
//
// As with all that workers can be told, [backend.ErrNotFound] says that a worker with an id
// is not listed, and nobody was told. When it returns nil the order is stored. Workers
// hear of it at once where they can listen to the store, and within a third of their lease
// else; [Client.Workers] tells their state.
func (c *Client) QuietWorkers(ctx context.Context, ids ...string) error {
	_, err := c.order(ctx, OrderQuiet, 1, ids)
	return err
}

// ResumeWorkers undoes QuietWorkers, and has workers go on that were made quiet otherwise.
func (c *Client) ResumeWorkers(ctx context.Context, ids ...string) error {
	_, err := c.order(ctx, OrderQuiet, 0, ids)
	return err
}

// ResizeWorkers changes the number of executors of workers, or of the whole fleet, those
// that start later included; 0 is what each was configured with. See
// [Client.QuietWorkers].
func (c *Client) ResizeWorkers(ctx context.Context, concurrency int, ids ...string) error {
	if concurrency < 0 || concurrency > math.MaxInt32 {
		return &Error{Op: "resize workers", Err: reject("concurrency %d; give a number from 1, or 0 for what each was configured with", concurrency)}
	}
	_, err := c.order(ctx, OrderResize, int64(concurrency), ids)
	return err
}

// StopWorkers begins the graceful stop of workers, or of all that there are. Whether their
// processes end and are started again is up to these. See [Client.QuietWorkers].
func (c *Client) StopWorkers(ctx context.Context, ids ...string) error {
	_, err := c.order(ctx, OrderStop, 0, ids)
	return err
}

// WorkerStacks is what the handlers of a worker are doing.
type WorkerStacks struct {
	Worker string     `json:"worker"`
	At     time.Time  `json:"at"`
	Jobs   []JobStack `json:"jobs"`
	// Omitted counts the jobs of which there was no room to tell.
	Omitted int `json:"omitted,omitempty"`
}

// JobStack is where the handler of a job is.
type JobStack struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	// Stack may be cut; it is empty if it was not found.
	Stack string `json:"stack"`
}

const (
	stacksMemo = "caddis:stacks"
	// stacksKept is how long stacks are kept in the store.
	stacksKept = time.Minute
	// stacksWait is how long they are waited for.
	stacksWait = 10 * time.Second
)

// WorkerStacks asks workers, or all that there are, for the stacks of the handlers that
// run, and waits for the answers, 10 s at most. Those of whom there is none are named by
// the error, beside the answers of the others. See [Client.QuietWorkers].
func (c *Client) WorkerStacks(ctx context.Context, ids ...string) ([]WorkerStacks, error) {
	order, err := c.order(ctx, OrderStacks, 0, ids)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, stacksWait)
	defer cancel()
	var all []WorkerStacks
	var failures []error
	for _, id := range order.told {
		stacks, err := c.awaitStacks(ctx, id, order.Number)
		if err != nil {
			failures = append(failures, fmt.Errorf("worker %q: %w", id, err))
			continue
		}
		all = append(all, stacks)
	}
	if len(failures) > 0 {
		return all, &Error{Op: "worker stacks", Err: errors.Join(failures...)}
	}
	return all, nil
}

func (c *Client) awaitStacks(ctx context.Context, id string, number uint64) (stacks WorkerStacks, err error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		found, err := control(c.backend, stacksMemo).Get(ctx, stacksKey(id, number), &stacks)
		if found || err != nil && !errors.Is(err, backend.ErrUnavailable) {
			return stacks, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if err == nil {
				err = context.Cause(ctx)
			}
			return stacks, fmt.Errorf("no answer: %w", err)
		}
	}
}

func stacksKey(worker string, number uint64) string { return fmt.Sprintf("%s/%d", worker, number) }

// TellStacks is a worker's answer to an order with a number. It tells of as many jobs as
// there is room for, and cuts their stacks.
func TellStacks(ctx context.Context, store backend.Backend, number uint64, stacks WorkerStacks) error {
	memo := control(store, stacksMemo)
	all := stacks.Jobs
	for room, most := 8<<10, 500; ; room, most = room/2, most*3/4 {
		stacks.Jobs = nil
		for _, job := range all[:min(len(all), most)] {
			job.Stack = boundText(job.Stack, room)
			stacks.Jobs = append(stacks.Jobs, job)
		}
		stacks.Omitted = len(all) - len(stacks.Jobs)
		err := memo.Set(ctx, stacksKey(stacks.Worker, number), stacks, ForgetAfter(stacksKept))
		if !errors.Is(err, ErrPayload) || room < 64 {
			return err
		}
	}
}

// given is an order and who was told.
type given struct {
	Order
	told []string
}

// order tells workers something, none if one of them is not there.
func (c *Client) order(ctx context.Context, verb OrderVerb, value int64, ids []string) (g given, err error) {
	fail := func(err error) (given, error) { return g, &Error{Op: "tell workers to " + string(verb), Err: err} }
	workers, err := c.backend.Workers(ctx)
	if err != nil {
		return fail(err)
	}
	slices.SortStableFunc(workers, func(a, b backend.WorkerInfo) int { return a.StartedAt.Compare(b.StartedAt) })
	var present []string
	for i := range workers {
		present = append(present, workers[i].ID)
	}
	for _, id := range ids {
		if !slices.Contains(present, id) {
			return fail(fmt.Errorf("there is no worker %q: %w", id, backend.ErrNotFound))
		}
	}
	err = UpdateMemo(ctx, control(c.backend, backend.ControlMemo), ordersKey, func(o Orders) (Orders, error) {
		o = o.give(verb, value, present, ids)
		g.Order = Order{o.Last, value}
		return o, nil
	})
	if err != nil {
		return fail(err)
	}
	if g.told = ids; len(ids) == 0 {
		g.told = present
	}
	return g, nil
}
