package main

import (
	"context"
	"fmt"
	"time"
)

func concurrencyCase(concurrency int) string { return fmt.Sprintf("concurrency %d", concurrency) }

func rttCase(rtt time.Duration, concurrency int) string {
	return fmt.Sprintf("%v, concurrency %d", rtt, concurrency)
}

// drain measures a worker that finds all its jobs waiting: from its start until
// the last is acknowledged.
func drain(ctx context.Context, b *bench) error {
	for _, concurrency := range b.concurrencies(10, 50, 200) {
		variant := concurrencyCase(concurrency)
		err := b.turns(ctx, b.among(caddisPeer, asynqBusyPeer, limitPeer, memoryPeer), func(run int, p *peer) error {
			took, err := b.drainOnce(ctx, p, concurrency, b.jobs)
			if err != nil {
				return err
			}
			b.note(p, run, variant, "rate", rate(b.jobs, took), "jobs/s", settings{"jobs": b.jobs, "concurrency": concurrency})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) drainOnce(ctx context.Context, p *peer, concurrency, jobs int) (time.Duration, error) {
	r, err := b.rig(ctx, p, place{concurrency: concurrency})
	if err != nil {
		return 0, err
	}
	defer r.close()
	if err := r.warmUp(ctx, r.store, concurrency, min(jobs, warmJobs)); err != nil {
		return 0, err
	}
	if err := fill(ctx, p, r.store, jobs); err != nil {
		return 0, err
	}
	return r.run(ctx, r.store, concurrency, newLedger(jobs))
}

// drainFar is drain with a proxy between the worker and Redis. The jobs are
// stored beforehand, without it.
func drainFar(ctx context.Context, b *bench) error {
	delays := []time.Duration{0, time.Millisecond, 5 * time.Millisecond}
	if b.rttSet {
		delays = []time.Duration{b.rtt}
	}
	for _, rtt := range delays {
		for _, concurrency := range b.concurrencies(100) {
			err := b.turns(ctx, b.among(caddisPeer, asynqBusyPeer, limitPeer), func(run int, p *peer) error {
				return b.drainFarOnce(ctx, run, p, rtt, concurrency)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) drainFarOnce(ctx context.Context, run int, p *peer, rtt time.Duration, concurrency int) error {
	jobs := b.jobs
	if p.serial && rtt > 0 { // some seconds' worth
		jobs = max(1, min(jobs/10, int(4*time.Second/rtt)))
	}
	r, err := b.rig(ctx, p, place{concurrency: concurrency})
	if err != nil {
		return err
	}
	defer r.close()
	line, err := startProxy(r.server.addr, rtt/2)
	if err != nil {
		return err
	}
	defer line.stop()
	seen, err := line.measure(ctx)
	if err != nil {
		return err
	}
	far, err := p.open(place{addr: line.addr, concurrency: concurrency})
	if err != nil {
		return err
	}
	defer func() { _ = far.close() }()
	if err := r.warmUp(ctx, far, concurrency, min(jobs, warmJobs)); err != nil {
		return err
	}
	if err := fill(ctx, p, r.store, jobs); err != nil {
		return err
	}
	took, err := r.run(ctx, far, concurrency, newLedger(jobs))
	if err != nil {
		return err
	}
	variant := rttCase(rtt, concurrency)
	s := settings{"jobs": jobs, "concurrency": concurrency, "rtt_ms": milliseconds(rtt), "seen_rtt_ms": milliseconds(seen)}
	b.note(p, run, variant, "rate", rate(jobs, took), "jobs/s", s)
	b.note(p, run, variant, "ping through the proxy", milliseconds(seen), "ms", s)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
