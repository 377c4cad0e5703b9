package actors

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// A QueueChoice decides from which queue a worker takes jobs first while there are more
// jobs than free executors. [Strict], [Weighted] and [RoundRobin] are made already.
//
// Both methods are called by one goroutine of a worker at a time. They should return at
// once: an Order that panics, or takes longer than 50 ms, is logged, and the queues are
// asked in the order of Config.Queues. A value that several workers have is called by
// several goroutines.
type QueueChoice interface {
	// Order puts the queues into the order in which they are asked next: each has as
	// many jobs as are wanted taken from it before the next one is asked. The queues
	// come in the order of Config.Queues, and may be reordered in place. Those that the
	// answer leaves out come last.
	Order(queues []string) []string
	// Leased tells that jobs were taken from a queue.
	Leased(queue string, jobs int)
}

// Strict takes from a queue only when those before it, in the order of Config.Queues,
// have no jobs. It is the default. A queue that is never empty starves those behind it.
func Strict() QueueChoice { return strict{} }

type strict struct{}

func (strict) Order(queues []string) []string { return queues }
func (strict) Leased(string, int)             {}

// Weighted takes jobs from queues in proportion to their weights, as long as they have
// some: with {"mail": 3, "report": 1} three of four jobs are from "mail", and all of
// them while "report" is empty. A queue that was empty has nothing coming to it. The
// keys are entries of Config.Queues, names or patterns, or names of queues that a
// pattern stands for; a queue that none names weighs 1.
//
// It counts jobs when they are taken and takes them in batches, so over few jobs the
// proportion is a rough one.
func Weighted(weights map[string]int) QueueChoice {
	return &weighted{weights: maps.Clone(weights), taken: map[string]float64{}}
}

// RoundRobin takes as many jobs from each queue as from any other, as long as they have
// some: it is [Weighted] with equal weights.
func RoundRobin() QueueChoice { return Weighted(nil) }

// weighted is start-time fair queueing over the queues. Each has the virtual time at
// which its next job would start; a job moves that by one over the weight; the least
// comes first. A queue that had no jobs starts at the time of those that had.
type weighted struct {
	weights map[string]int

	mu    sync.Mutex
	taken map[string]float64
	now   float64
}

func (w *weighted) Order(queues []string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for queue, start := range w.taken {
		if start <= w.now { // it would start now, like one that was never seen
			delete(w.taken, queue)
		}
	}
	slices.SortStableFunc(queues, func(a, b string) int { return cmp.Compare(w.start(a), w.start(b)) })
	return queues
}

func (w *weighted) Leased(queue string, jobs int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	start := w.start(queue)
	w.now = start
	w.taken[queue] = start + float64(jobs)/float64(w.weight(queue))
}

func (w *weighted) start(queue string) float64 { return max(w.taken[queue], w.now) }

func (w *weighted) weight(queue string) int {
	if weight, ok := w.weights[queue]; ok {
		return weight
	}
	best := ""
	for key := range w.weights { // the longest pattern says most
		if isPattern(key) && matches(key, queue) && (len(key) > len(best) || len(key) == len(best) && key < best) {
			best = key
		}
	}
	return cmp.Or(w.weights[best], 1)
}

// maxWeight keeps a slip of the keyboard from starving all other queues.
const maxWeight = 1_000_000

// check says what is wrong with the weights for a worker of some queues.
func (w *weighted) check(queues patterns) (wrong []error) {
	for _, key := range slices.Sorted(maps.Keys(w.weights)) {
		if weight := w.weights[key]; weight < 1 || weight > maxWeight {
			wrong = append(wrong, fmt.Errorf("the weight of %q is %d: it goes from 1 to %d; to take no jobs from a queue leave it out of Queues, by %q among patterns",
				key, weight, maxWeight, "!"+key))
		}
		_, taken := queues.rank(key)
		if !slices.Contains(queues, key) && (isPattern(key) || !taken || backend.CheckQueue(key) != nil) {
			wrong = append(wrong, fmt.Errorf("%q has a weight and is not among the worker's queues, which are %q", key, []string(queues)))
		}
	}
	return wrong
}

// chooser asks the worker's choice. One that is not ours is called in a goroutine of its
// own, and is not waited for longer than choiceTime.
type chooser struct {
	choice  QueueChoice
	outside *outside
	log     *slog.Logger
	faults  rarely

	mu sync.Mutex
	// pending are the jobs that the choice has not been told of; busy is set while it is
	// called.
	pending map[string]int
	busy    bool
}

const choiceTime = 50 * time.Millisecond

func newChooser(config *Config, o *outside, log *slog.Logger) *chooser {
	return &chooser{choice: config.Choice, outside: o, log: log, pending: map[string]int{}}
}

// leased notes what a lease has brought.
func (c *chooser) leased(leases []backend.Lease) {
	if _, fixed := c.choice.(strict); fixed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range leases {
		c.pending[leases[i].Job.Queue]++
	}
}

// order puts queues into the order in which to ask them.
func (c *chooser) order(queues []string) []string {
	if _, fixed := c.choice.(strict); fixed || len(queues) < 2 {
		return queues
	}
	c.mu.Lock()
	pending := c.pending
	if !c.busy {
		c.pending = map[string]int{}
	}
	busy := c.busy
	c.busy = true
	c.mu.Unlock()
	if busy {
		return queues
	}
	ask := func() (ordered []string) {
		for _, queue := range queues { // in the order in which they were asked, as a rule
			if n := pending[queue]; n > 0 {
				c.choice.Leased(queue, n)
			}
		}
		return c.choice.Order(slices.Clone(queues))
	}
	if _, ours := c.choice.(*weighted); ours {
		defer c.free()
		return ask()
	}
	answer := make(chan []string, 1)
	go func() {
		defer c.free()
		var ordered []string
		if fault := c.outside.run("the choice of queues", newsTime, func() { ordered = ask() }); fault != nil {
			c.complain("the choice of queues panicked; the queues are asked in their own order", "panic", fault.Error())
		}
		answer <- whole(ordered, queues)
	}()
	timer := time.NewTimer(choiceTime)
	defer timer.Stop()
	select {
	case ordered := <-answer:
		return ordered
	case <-timer.C:
		c.complain("the choice of queues takes too long; the queues are asked in their own order", "limit", choiceTime)
		return queues
	}
}

func (c *chooser) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
}

func (c *chooser) complain(text string, args ...any) {
	if missed, ok := c.faults.may(time.Now()); ok {
		c.log.Error(text, append(args, "left_out", missed)...)
	}
}

// whole makes an order of all queues from what a choice answered.
func whole(ordered, queues []string) []string {
	all := make([]string, 0, len(queues))
	for _, queue := range slices.Concat(ordered, queues) {
		if slices.Contains(queues, queue) && !slices.Contains(all, queue) {
			all = append(all, queue)
		}
	}
	return all
}
