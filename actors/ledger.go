package actors

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// ledger lists every run from the moment its lease arrives until the store has
// answered for it, and counts what became of those that it listed.
type ledger struct {
	mu     sync.Mutex
	runs   map[*run]struct{}
	counts Counts
	// abandoned lists those that ignored their context, unconfirmed those whose
	// settlement the store refused.
	abandoned, unconfirmed []Ref
	// forsaken is set if a lease call was given up that may have taken jobs.
	forsaken bool
}

func newLedger() *ledger { return &ledger{runs: map[*run]struct{}{}} }

func (l *ledger) forsake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forsaken = true
}

// leaves reports whether the store may hold jobs as the worker's that nobody will
// settle.
func (l *ledger) leaves() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forsaken || len(l.runs) > 0
}

// open lists the leases as runs.
func (l *ledger) open(leases []backend.Lease) []*run {
	block := make([]run, len(leases))
	runs := make([]*run, len(leases))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Leased += len(leases)
	for i := range leases {
		block[i].lease = &leases[i]
		runs[i] = &block[i]
		l.runs[runs[i]] = struct{}{}
	}
	return runs
}

// settled closes runs that the store has answered for.
func (l *ledger) settled(runs []*run, results []backend.SettleResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range runs {
		delete(l.runs, r)
		l.count(r, &results[i])
	}
}

// lost closes a run whose lease went to somebody else.
func (l *ledger) lost(r *run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.runs, r)
	l.counts.Lost++
}

func (l *ledger) count(r *run, result *backend.SettleResult) {
	c := &l.counts
	switch {
	case result.Err != nil:
		c.Unconfirmed++
		l.unconfirmed = append(l.unconfirmed, r.ref())
	case result.Stale:
		c.Lost++
	case result.State == backend.StateCancelled:
		c.Cancelled++
	case r.ending == endingAbandoned:
		c.Abandoned++
		l.abandoned = append(l.abandoned, r.ref())
	case r.ending == endingInterrupted:
		c.Interrupted++
	case r.ending == endingReturned:
		c.Returned++
	default:
		switch r.settlement.Outcome {
		case backend.OutcomeCompleted:
			c.Completed++
		case backend.OutcomeRetry:
			c.Retried++
		case backend.OutcomeDead:
			c.Dead++
		case backend.OutcomeSnoozed:
			c.Snoozed++
		case backend.OutcomeBlocked:
			c.Blocked++
		case backend.OutcomeReleased:
			c.HandedBack++
		case backend.OutcomeCancelled:
			c.Cancelled++
		}
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

// renewable lists the runs whose leases are to be renewed.
func (l *ledger) renewable() []*run {
	runs := l.list()
	kept := runs[:0]
	for _, r := range runs {
		if !r.lost.Load() {
			kept = append(kept, r)
		}
	}
	return kept
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

// snapshot returns the counts as they are.
func (l *ledger) snapshot() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// sum enters the account into a report. Runs that are still listed have no answer of
// the store.
func (l *ledger) sum(report *Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	report.Counts = l.counts
	report.AbandonedJobs = l.abandoned
	report.UnconfirmedJobs = append([]Ref(nil), l.unconfirmed...)
	for r := range l.runs {
		report.Unconfirmed++
		report.UnconfirmedJobs = append(report.UnconfirmedJobs, r.ref())
	}
}

// rescue settles what lies in a slot without its executor.
func (l *ledger) rescue(s *slot, post *post, settler *actor.PID) {
	if r := l.takeFrom(s); r != nil {
		post.send(settler, r)
	}
}

// takeFrom takes what lies in a slot, and returns the run if it is now to be
// brought to the store.
func (l *ledger) takeFrom(s *slot) *run {
	r, left := s.rescue()
	switch {
	case r == nil:
		return nil
	case left: // claimed by rescue
		r.cancel(jobs.ErrStopping)
		r.settlement = r.released()
	case r.lost.Load():
		if r.claim() {
			l.lost(r)
		}
		return nil
	case !r.claim():
		return nil
	case r.result.Settlement.Outcome == 0: // had not begun
		r.settlement = r.released()
	default:
		r.settlement = r.result.Settlement
		if r.interrupted() {
			r.ending = endingInterrupted
		}
	}
	s.expect(r)
	return r
}
