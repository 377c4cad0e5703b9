package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// ledger counts how often each job was executed. A run in which a job was not
// executed exactly once is void.
type ledger struct {
	runs []atomic.Uint32
	done atomic.Int64
	all  chan struct{} // closed when as many have been executed as there are
}

func newLedger(jobs int) *ledger {
	return &ledger{runs: make([]atomic.Uint32, jobs), all: make(chan struct{})}
}

// mark notes that a job was executed.
func (l *ledger) mark(n int) {
	if n < 0 || n >= len(l.runs) {
		return // verify misses one then
	}
	l.runs[n].Add(1)
	if l.done.Add(1) == int64(len(l.runs)) {
		close(l.all)
	}
}

// first is the ledger of the first jobs, where there turned out to be fewer.
func (l *ledger) first(jobs int) *ledger { return &ledger{runs: l.runs[:jobs]} }

// stalled is how long nothing may happen before a run is given up.
const stalled = 60 * time.Second

// wait waits for as many executions as there are jobs.
func (l *ledger) wait(ctx context.Context) error {
	timer := time.NewTicker(stalled)
	defer timer.Stop()
	for last := int64(-1); ; {
		select {
		case <-l.all:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			now := l.done.Load()
			if now == last {
				return fmt.Errorf("%d of %d jobs were executed, and none in the last %v", now, len(l.runs), stalled)
			}
			last = now
		}
	}
}

// verify says which jobs were not executed exactly once.
func (l *ledger) verify() error {
	missing, repeated, example := 0, 0, -1
	for n := range l.runs {
		switch l.runs[n].Load() {
		case 1:
			continue
		case 0:
			missing++
		default:
			repeated++
		}
		if example < 0 {
			example = n
		}
	}
	if missing+repeated > 0 {
		return fmt.Errorf("of %d jobs %d were not executed and %d more than once, the first of them is job %d",
			len(l.runs), missing, repeated, example)
	}
	return nil
}
