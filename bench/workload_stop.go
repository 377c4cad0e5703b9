package main

import (
	"context"
	"fmt"
	"time"
)

// stopHold is how long the jobs take that a worker is busy with.
const stopHold = 300 * time.Millisecond

const stopIdleCase = "idle"

func stopBusyCase(concurrency int) string {
	return fmt.Sprintf("busy with %d jobs of %v", concurrency, stopHold)
}

// stopping measures how long a worker process takes to end after TERM: when it is
// idle, and while all its executors run jobs of one length. What it leaves must
// add up: each job that began has ended and is acknowledged, all others wait.
func stopping(ctx context.Context, b *bench) error {
	for _, concurrency := range b.concurrencies(50) {
		for _, busy := range []bool{false, true} {
			variant := stopIdleCase
			if busy {
				variant = stopBusyCase(concurrency)
			}
			err := b.turns(ctx, b.among(caddisPeer, asynqPeer), func(run int, p *peer) error {
				return b.stopOnce(ctx, run, p, variant, concurrency, busy)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) stopOnce(ctx context.Context, run int, p *peer, variant string, concurrency int, busy bool) error {
	r, err := b.rig(ctx, p, place{concurrency: producers})
	if err != nil {
		return err
	}
	defer r.close()
	jobs := 0
	if busy {
		jobs = 4 * concurrency
		if err := fill(ctx, p, r.store, jobs); err != nil {
			return err
		}
	}
	w, err := startChild(childConfig{Peer: p.name, Addr: r.server.addr, Concurrency: concurrency, Hold: stopHold})
	if err != nil {
		return err
	}
	defer w.kill()
	if busy {
		for range concurrency {
			if _, err := w.next(ctx, "started"); err != nil {
				return err
			}
		}
	} else {
		if _, err := w.next(ctx, "ready"); err != nil {
			return err
		}
		pause(time.Second)
	}
	took, err := w.terminate(ctx)
	if err != nil {
		return err
	}
	last, err := r.accountFor(ctx, jobs, w.seen)
	if err != nil {
		return err
	}
	s := settings{"concurrency": concurrency, "jobs": jobs, "hold_ms": milliseconds(stopHold)}
	b.note(p, run, variant, "TERM to exit", milliseconds(took), "ms", s)
	if busy {
		b.note(p, run, variant, "end of the last job to exit", milliseconds(w.ended.Sub(last)), "ms", s)
	}
	return nil
}

// accountFor checks what a worker has left behind, and answers when its last job
// ended.
func (r *rig) accountFor(ctx context.Context, jobs int, events []event) (last time.Time, err error) {
	open, ended := map[int]bool{}, 0
	seen := map[int]bool{}
	for _, e := range events {
		switch e.What {
		case "started":
			if seen[e.Job] {
				return last, fmt.Errorf("job %d was started twice", e.Job)
			}
			seen[e.Job], open[e.Job] = true, true
		case "ended":
			delete(open, e.Job)
			ended++
			if e.At.After(last) {
				last = e.At
			}
		}
	}
	left, err := r.store.left(ctx)
	if err == nil && (len(open) > 0 || left != int64(jobs-ended)) {
		err = fmt.Errorf("of %d jobs %d have ended, %d have begun and not ended, %d are left", jobs, ended, len(open), left)
	}
	return last, err
}
