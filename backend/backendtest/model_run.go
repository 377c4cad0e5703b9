package backendtest

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// RunModel plays random sequences of calls against one store with the default
// retention and against a plain model of it, and compares after each call what
// was answered and what is stored. Each sequence has a queue of its own.
//
// It runs at least as many sequences as it is told, in parallel subtests of as
// many as the flag -rapid.checks says. A failure prints the shortest sequence
// that was found to fail, and its seed: -rapid.seed plays it again.
func RunModel(t *testing.T, open func(t *testing.T) backend.Backend, sequences int) {
	store := open(t)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	each := 100
	if f := flag.Lookup("rapid.checks"); f != nil {
		if n, err := strconv.Atoi(f.Value.String()); err == nil && n > 0 {
			each = n
		}
	}
	if testing.Short() {
		each = max(1, each/5) // as rapid does
	}
	var queues atomic.Int64
	for first := 1; first <= sequences; first += each {
		t.Run(fmt.Sprintf("sequences from %d", first), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				name := fmt.Sprintf("model-%d", queues.Add(1))
				newPlayer(t, store, name).play()
			})
		})
	}
}

// ids are few, so that calls meet each other's jobs.
var modelIDs = []string{
	"a", "b", "c", "d", "e", "f",
	backend.TickID("s", longAgo), backend.TickID("s", hour(1)), backend.TickID("t", longAgo), backend.TickID("t", hour(1)),
}

// player plays one sequence.
type player struct {
	*rapid.T
	store   backend.Backend
	ctx     context.Context
	queue   string
	model   *model
	workers []*modelWorker
	// racing is set where jobs differ by their lanes only, so that many wait side by side.
	racing bool
	// versions are those that the store gave to schedules.
	versions []uint64
	// happened counts the events that were recorded, followed those that were read, up to
	// a position in the journal.
	happened, followed int
	position           string
	// memoCalls numbers the writes of memos; memoWrites are those that succeeded.
	memoCalls  int
	memoWrites []memoWritten
}

// modelWorker is a worker and its last calls.
type modelWorker struct {
	id     string
	tokens int
	// asked and given are its last Lease and what that handed out, granted all
	// that it was ever given.
	asked   backend.LeaseRequest
	given   []string
	granted []backend.Held
	// call and answer are its last Settle.
	call   backend.SettleRequest
	answer []backend.SettleResult
	// record is its last Record.
	record backend.Record
}

func newPlayer(t *rapid.T, store backend.Backend, queue string) *player {
	p := &player{T: t, store: store, ctx: context.Background(), queue: queue, model: newModel()}
	p.racing = rapid.IntRange(0, 3).Draw(t, "racing") == 0
	for i := range 2 {
		p.workers = append(p.workers, &modelWorker{id: fmt.Sprintf("%s-worker-%d", queue, i)})
	}
	return p
}

func (p *player) play() {
	p.Repeat(map[string]func(*rapid.T){
		"":                  func(*rapid.T) { p.glance() },
		"enqueue one":       func(*rapid.T) { p.enqueue(1) },
		"enqueue a batch":   func(*rapid.T) { p.enqueue(5) },
		"lease":             func(*rapid.T) { p.lease() },
		"lease more":        func(*rapid.T) { p.lease() },
		"repeat a lease":    func(*rapid.T) { p.leaseAgain() },
		"settle":            func(*rapid.T) { p.settle() },
		"settle more":       func(*rapid.T) { p.settle() },
		"repeat a settle":   func(*rapid.T) { p.settleAgain() },
		"renew":             func(*rapid.T) { p.renew() },
		"save the history":  func(*rapid.T) { p.saveHistory() },
		"let leases expire": func(*rapid.T) { p.expire() },
		"cancel":            func(*rapid.T) { p.act("cancel", p.store.Cancel) },
		"retry":             func(*rapid.T) { p.act("retry", p.store.Retry) },
		"delete":            func(*rapid.T) { p.act("delete", p.store.Delete) },
		"run now":           func(*rapid.T) { p.act("run now", p.store.RunNow) },
		"pause or resume":   func(*rapid.T) { p.pause() },
		"set a limit":       func(*rapid.T) { p.setLimit() },
		"sweep":             func(*rapid.T) { p.sweep() },
		"put a schedule":    func(*rapid.T) { p.putSchedule() },
		"delete a schedule": func(*rapid.T) { p.deleteSchedule() },
		"tick":              func(*rapid.T) { p.tick() },
		"tick more":         func(*rapid.T) { p.tick() },
		"record":            func(*rapid.T) { p.record() },
		"write a memo":      func(*rapid.T) { p.writeMemo() },
		"inspect":           func(*rapid.T) { p.inspect() },
	})
	p.inspect()
}

// glance compares the numbers of the queue and one job.
func (p *player) glance() {
	if !p.model.known {
		return
	}
	p.compareQueue()
	p.compareLanes()
	p.compareJob(rapid.SampledFrom(modelIDs).Draw(p.T, "look at"))
}

// inspect compares all that can be seen.
func (p *player) inspect() {
	if p.model.known {
		p.compareQueue()
	}
	for _, id := range modelIDs {
		p.compareJob(id)
	}
	p.compareSchedules()
	p.compareLimits()
	p.compareRecorded()
	p.compareMemos()
	limit := rapid.IntRange(1, 4).Draw(p.T, "page")
	for _, state := range backend.States {
		p.comparePages(state, limit)
	}
}
