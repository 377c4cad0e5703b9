package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

func recoverCase(orphans int) string { return fmt.Sprintf("%d jobs orphaned, default lease", orphans) }

// recovery measures how long the jobs of a worker process that was killed wait
// until another worker runs them. The other one has work all the time.
func recovery(ctx context.Context, b *bench) error {
	for _, concurrency := range b.concurrencies(50) {
		variant := recoverCase(concurrency)
		err := b.turns(ctx, b.among(caddisPeer, asynqPeer), func(run int, p *peer) error {
			if p == asynqPeer && run > 0 {
				return nil // it takes minutes
			}
			first, last, err := b.recoverOnce(ctx, p, concurrency)
			if err != nil {
				return err
			}
			s := settings{"concurrency": concurrency}
			b.note(p, run, variant, "kill to the first", first.Seconds(), "s", s)
			b.note(p, run, variant, "kill to the last", last.Seconds(), "s", s)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// recoverLimit is how long to wait for the orphans.
const recoverLimit = 4 * time.Minute

// recoverOnce: jobs 0 to orphans-1 are held by the process that is killed; the
// others follow, one per millisecond, for as long as it takes.
func (b *bench) recoverOnce(ctx context.Context, p *peer, orphans int) (first, last time.Duration, err error) {
	r, err := b.rig(ctx, p, place{concurrency: orphans + producers})
	if err != nil {
		return 0, 0, err
	}
	defer r.close()
	lease, before := time.Duration(0), 3*time.Second
	if b.quick {
		lease, before = time.Second, 100*time.Millisecond
	}
	if err := fill(ctx, p, r.store, orphans); err != nil {
		return 0, 0, err
	}
	victim, err := startChild(childConfig{Peer: p.name, Addr: r.server.addr, Concurrency: orphans, Lease: lease, Hold: -1})
	if err != nil {
		return 0, 0, err
	}
	defer victim.kill()
	for range orphans {
		if _, err := victim.next(ctx, "started"); err != nil {
			return 0, 0, err
		}
	}

	all := newLedger(orphans + int((recoverLimit+before)/time.Millisecond))
	started := make([]time.Time, orphans)
	var back atomic.Int64
	recovered := make(chan struct{})
	w, err := r.store.start(ctx, workerConfig{concurrency: orphans, lease: lease, handle: func(_ context.Context, n int) {
		if n < orphans {
			started[n] = time.Now()
			if back.Add(1) == int64(orphans) {
				close(recovered)
			}
		}
		all.mark(n)
	}})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, w.stop(ctx)) }()
	stop, stored := make(chan struct{}), make(chan int, 1)
	var fault error
	go func() {
		n := orphans
		for tick := time.NewTicker(time.Millisecond); ; n++ {
			select {
			case <-stop:
				tick.Stop()
				stored <- n
				return
			case <-tick.C:
				if err := r.store.enqueue(ctx, n); err != nil {
					fault = err
					stored <- n
					return
				}
			}
		}
	}()

	pause(before)
	killed := time.Now()
	victim.kill()
	timer := time.NewTimer(recoverLimit)
	defer timer.Stop()
	select {
	case <-recovered:
	case <-timer.C:
		err = fmt.Errorf("%d of %d orphans are back after %v", back.Load(), orphans, recoverLimit)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	close(stop)
	jobs := <-stored
	if err := errors.Join(err, fault); err != nil {
		return 0, 0, err
	}
	if err := r.settled(ctx); err != nil {
		return 0, 0, err
	}
	if err := all.first(jobs).verify(); err != nil {
		return 0, 0, err
	}
	first = started[0].Sub(killed)
	for _, at := range started {
		first, last = min(first, at.Sub(killed)), max(last, at.Sub(killed))
	}
	return first, last, nil
}
