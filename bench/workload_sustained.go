package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// producers is how many goroutines store jobs by single calls at the same time.
const producers = 16

func sustainedCase(concurrency int) string {
	return fmt.Sprintf("%d producers, concurrency %d", producers, concurrency)
}

// sustained measures producers and worker together: from the first enqueue until
// the last job is acknowledged.
func sustained(ctx context.Context, b *bench) error {
	for _, concurrency := range b.concurrencies(100) {
		variant := sustainedCase(concurrency)
		err := b.turns(ctx, b.among(caddisPeer, asynqBusyPeer, limitPeer, memoryPeer), func(run int, p *peer) error {
			r, err := b.rig(ctx, p, place{concurrency: concurrency + producers})
			if err != nil {
				return err
			}
			defer r.close()
			took, err := r.sustain(ctx, concurrency, b.jobs, nil)
			if err != nil {
				return err
			}
			s := settings{"jobs": b.jobs, "concurrency": concurrency, "producers": producers}
			b.note(p, run, variant, "rate", rate(b.jobs, took), "jobs/s", s)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sustain runs producers and a worker, which is warm when the clock starts, and
// answers how long it took. Before the clock starts it calls begin, if there is
// one.
func (r *rig) sustain(ctx context.Context, concurrency, jobs int, begin func() error) (took time.Duration, err error) {
	warm := min(jobs, warmJobs)
	first, main := newLedger(warm), newLedger(jobs)
	w, err := r.store.start(ctx, workerConfig{concurrency: concurrency, handle: func(_ context.Context, n int) {
		if n < warm {
			first.mark(n)
		} else {
			main.mark(n - warm)
		}
	}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.stop(ctx)) }()
	if err := produce(ctx, r.store, 0, warm, producers); err != nil {
		return 0, err
	}
	if err := errors.Join(first.wait(ctx), r.settled(ctx)); err != nil {
		return 0, fmt.Errorf("warm-up: %w", err)
	}
	runtime.GC()
	if begin != nil {
		if err := begin(); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	if err := produce(ctx, r.store, warm, jobs, producers); err != nil {
		return 0, err
	}
	if err := errors.Join(main.wait(ctx), r.settled(ctx)); err != nil {
		return 0, err
	}
	took = time.Since(began)
	return took, errors.Join(first.verify(), main.verify())
}
