package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// pickup measures the time from just before an enqueue until the handler runs,
// while the worker has nothing else to do. The jobs come at random intervals,
// however long the ones before took (an open loop): a slow one does not hide
// those that would have been slow behind it.
func pickup(ctx context.Context, b *bench) error {
	return latencies(ctx, b, latencyCase{
		peers: b.among(caddisPeer, asynqPeer, asynqFastPeer, brpopPeer),
		// Those that stand for the 50,000 of a drain take 14 s.
		jobs: b.part(1, 125), least: 20 * time.Millisecond, spread: 30 * time.Millisecond,
	})
}

// delayed measures how much later than its time a job starts that was delayed.
// Its time is counted from just before the enqueue, so that a slow enqueue counts
// as lateness.
func delayed(ctx context.Context, b *bench) error {
	return latencies(ctx, b, latencyCase{
		peers: b.among(caddisPeer, asynqPeer, asynqFastPeer),
		jobs:  b.part(1, 125), least: 5 * time.Millisecond, spread: 20 * time.Millisecond,
		delay: 300 * time.Millisecond,
	})
}

type latencyCase struct {
	peers []*peer
	jobs  int
	// least and spread are the pause between two jobs.
	least, spread time.Duration
	delay         time.Duration
}

func latencies(ctx context.Context, b *bench, c latencyCase) error {
	for _, concurrency := range b.concurrencies(100) {
		variant := concurrencyCase(concurrency)
		err := b.turns(ctx, c.peers, func(run int, p *peer) error {
			r, err := b.rig(ctx, p, place{concurrency: concurrency})
			if err != nil {
				return err
			}
			defer r.close()
			took, err := r.latency(ctx, concurrency, c)
			if err != nil {
				return err
			}
			s := settings{"jobs": c.jobs, "concurrency": concurrency, "delay_ms": milliseconds(c.delay)}
			for _, q := range []struct {
				name string
				at   float64
			}{{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1}} {
				b.note(p, run, variant, q.name, quantile(took, q.at), "ms", s)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// latencyWarm are jobs that go first and do not count.
const latencyWarm = 20

// latency answers, sorted and in milliseconds, how late each job was.
func (r *rig) latency(ctx context.Context, concurrency int, c latencyCase) (took []float64, err error) {
	jobs := c.jobs + latencyWarm
	sent, started := make([]time.Time, jobs), make([]time.Time, jobs)
	l := newLedger(jobs)
	w, err := r.store.start(ctx, workerConfig{concurrency: concurrency, handle: func(_ context.Context, n int) {
		started[n] = time.Now()
		l.mark(n)
	}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop(ctx)) }()

	var calls sync.WaitGroup
	failures := make(chan error, jobs)
	pause(200 * time.Millisecond) // the worker becomes idle
	for n := range jobs {
		pause(c.least + rand.N(c.spread))
		calls.Go(func() {
			sent[n] = time.Now()
			if err := r.store.enqueueAfter(ctx, n, c.delay); err != nil {
				failures <- err
			}
		})
	}
	calls.Wait()
	close(failures)
	if err := <-failures; err != nil {
		return nil, err
	}
	if err := errors.Join(l.wait(ctx), r.settled(ctx), l.verify()); err != nil {
		return nil, err
	}
	for n := latencyWarm; n < jobs; n++ {
		took = append(took, milliseconds(started[n].Sub(sent[n])-c.delay))
	}
	slices.Sort(took)
	return took, nil
}
