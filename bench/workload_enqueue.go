package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

const (
	oneProducerCase   = "1 producer"
	manyProducersCase = "16 producers"
	batchesCase       = "batches of 1,000"
)

// enqueue measures how quickly jobs are stored: from the first call until the
// last has returned.
func enqueue(ctx context.Context, b *bench) error {
	for _, c := range []struct {
		variant   string
		jobs      int
		producers int
		batch     int
	}{
		{oneProducerCase, b.part(1, 5), 1, 1},
		{manyProducersCase, b.jobs, producers, 1},
		{batchesCase, b.part(4, 1), 1, batchSize},
	} {
		err := b.turns(ctx, b.among(caddisPeer, asynqBusyPeer, limitPeer, memoryPeer), func(run int, p *peer) error {
			jobs, batch := c.jobs, c.batch
			if batch > 1 && !p.batches {
				jobs, batch = b.part(1, 5), 1 // it has single calls only
			}
			took, err := b.enqueueOnce(ctx, p, c.producers, jobs, batch)
			if err != nil {
				return err
			}
			s := settings{"jobs": jobs, "producers": c.producers, "batch": batch}
			b.note(p, run, c.variant, "rate", rate(jobs, took), "jobs/s", s)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) enqueueOnce(ctx context.Context, p *peer, producers, jobs, batch int) (time.Duration, error) {
	r, err := b.rig(ctx, p, place{concurrency: producers})
	if err != nil {
		return 0, err
	}
	defer r.close()
	store := func(first, jobs int) error {
		if batch == 1 {
			return produce(ctx, r.store, first, jobs, producers)
		}
		for n := first; n < first+jobs; n += batch {
			if err := r.store.enqueueMany(ctx, n, min(batch, first+jobs-n)); err != nil {
				return err
			}
		}
		return nil
	}
	warm := min(jobs, warmJobs)
	if err := store(0, warm); err != nil {
		return 0, fmt.Errorf("warm-up: %w", err)
	}
	runtime.GC()
	began := time.Now()
	if err := store(warm, jobs); err != nil {
		return 0, err
	}
	took := time.Since(began)
	left, err := r.store.left(ctx)
	if err == nil && left != int64(warm+jobs) {
		err = fmt.Errorf("%d jobs are stored after %d enqueues", left, warm+jobs)
	}
	return took, err
}
