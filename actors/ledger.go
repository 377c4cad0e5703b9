package actors

import (
	"sync"

	"github.com/caddis-go/caddis/backend"
)

// ledger lists every run from the moment its lease arrives until the store has
// answered for it.
type ledger struct {
	mu   sync.Mutex
	runs map[*run]struct{}
}

func newLedger() *ledger { return &ledger{runs: map[*run]struct{}{}} }

// open lists the leases as runs.
func (l *ledger) open(leases []backend.Lease) []*run {
	block := make([]run, len(leases))
	runs := make([]*run, len(leases))
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range leases {
		block[i].lease = &leases[i]
		runs[i] = &block[i]
		l.runs[runs[i]] = struct{}{}
	}
	return runs
}

// close takes runs off the list.
func (l *ledger) close(runs ...*run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range runs {
		delete(l.runs, r)
	}
}

// list returns all runs that the store has not answered for.
func (l *ledger) list() []*run {
	l.mu.Lock()
	defer l.mu.Unlock()
	runs := make([]*run, 0, len(l.runs))
	for r := range l.runs {
		runs = append(runs, r)
	}
	return runs
}

// size returns how many runs there are, and how many of them are settled.
func (l *ledger) size() (all, settled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.runs {
		if r.settled.Load() {
			settled++
		}
	}
	return len(l.runs), settled
}

// cancelAll cancels the context of every running handler.
func (l *ledger) cancelAll(cause error) {
	for _, r := range l.list() {
		r.cancel(cause)
	}
}
