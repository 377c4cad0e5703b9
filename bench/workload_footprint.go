package main

import (
	"context"
	"fmt"
	"runtime"
)

const waitingCase = "waiting"

func workerCase(concurrency int) string {
	return fmt.Sprintf("worker alone, concurrency %d", concurrency)
}

func lifeCase(concurrency int) string {
	return fmt.Sprintf("whole life, %d producers, concurrency %d", producers, concurrency)
}

// footprint measures what a job costs. Three cases tell it apart: jobs that wait,
// the whole life of a job under load, and a worker alone that drains a queue.
func footprint(ctx context.Context, b *bench) error {
	return b.turns(ctx, b.among(caddisPeer, asynqBusyPeer, limitPeer), func(run int, p *peer) error {
		if err := b.footprintWaiting(ctx, run, p); err != nil {
			return err
		}
		for _, concurrency := range b.concurrencies(100) {
			if err := b.footprintLife(ctx, run, p, concurrency); err != nil {
				return err
			}
			if err := b.footprintWorker(ctx, run, p, concurrency); err != nil {
				return err
			}
		}
		return nil
	})
}

// footprintWaiting measures the memory of Redis for jobs that wait.
func (b *bench) footprintWaiting(ctx context.Context, run int, p *peer) error {
	jobs := b.jobs
	r, err := b.rig(ctx, p, place{concurrency: producers})
	if err != nil {
		return err
	}
	defer r.close()
	// A first job, so that scripts and connections are there.
	if err := produce(ctx, r.store, 0, producers, producers); err != nil {
		return err
	}
	before, err := r.server.info(ctx)
	if err != nil {
		return err
	}
	if err := fill(ctx, p, numbered{r.store, producers}, jobs); err != nil {
		return err
	}
	after, err := r.server.info(ctx)
	if err != nil {
		return err
	}
	left, err := r.store.left(ctx)
	if err == nil && left != int64(jobs+producers) {
		err = fmt.Errorf("%d jobs are stored of %d", left, jobs+producers)
	}
	if err != nil {
		return err
	}
	memory := perJob(after.since(before).memory, jobs)
	b.note(p, run, waitingCase, "Redis memory per job", memory, "B", settings{"jobs": jobs, "payload": payloadSize})
	return nil
}

// numbered gives out numbers that begin later.
type numbered struct {
	store
	base int
}

func (s numbered) enqueue(ctx context.Context, n int) error { return s.store.enqueue(ctx, s.base+n) }

func (s numbered) enqueueMany(ctx context.Context, first, count int) error {
	return s.store.enqueueMany(ctx, s.base+first, count)
}

// footprintLife measures what a job costs Redis and the network from its enqueue
// to its acknowledgement, with producers and worker under load.
func (b *bench) footprintLife(ctx context.Context, run int, p *peer, concurrency int) error {
	count := &tally{}
	r, err := b.rig(ctx, p, place{concurrency: concurrency + producers, tally: count})
	if err != nil {
		return err
	}
	defer r.close()
	var before spent
	var trips int64
	_, err = r.sustain(ctx, concurrency, b.jobs, func() (err error) {
		trips = count.trips.Load()
		before, err = r.server.info(ctx)
		return err
	})
	trips = count.trips.Load() - trips
	if err != nil {
		return err
	}
	after, err := r.server.info(ctx)
	if err != nil {
		return err
	}
	cost := after.since(before)
	variant := lifeCase(concurrency)
	s := settings{"jobs": b.jobs, "concurrency": concurrency, "producers": producers}
	b.note(p, run, variant, "Redis time per job", microseconds(cost.serverTime, b.jobs), "µs", s)
	b.note(p, run, variant, "Redis CPU per job", microseconds(cost.cpu, b.jobs), "µs", s)
	b.note(p, run, variant, "round trips per job", perJob(trips, b.jobs), "", s)
	b.note(p, run, variant, "commands per job", perJob(cost.commands, b.jobs), "", s)
	b.note(p, run, variant, "commands inside scripts per job", perJob(cost.inside-cost.commands, b.jobs), "", s)
	b.note(p, run, variant, "network per job", perJob(cost.network, b.jobs), "B", s)
	return nil
}

// footprintWorker measures what a job costs the worker's process.
func (b *bench) footprintWorker(ctx context.Context, run int, p *peer, concurrency int) error {
	r, err := b.rig(ctx, p, place{concurrency: concurrency})
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.warmUp(ctx, r.store, concurrency, min(b.jobs, warmJobs)); err != nil {
		return err
	}
	if err := fill(ctx, p, r.store, b.jobs); err != nil {
		return err
	}
	runtime.GC() // of what the preparation has left
	before, err := consumed()
	if err != nil {
		return err
	}
	if _, err := r.run(ctx, r.store, concurrency, newLedger(b.jobs)); err != nil {
		return err
	}
	after, err := consumed()
	if err != nil {
		return err
	}
	variant := workerCase(concurrency)
	s := settings{"jobs": b.jobs, "concurrency": concurrency}
	b.note(p, run, variant, "worker CPU per job", microseconds(after.cpu-before.cpu, b.jobs), "µs", s)
	b.note(p, run, variant, "allocations per job", perJob(after.allocations-before.allocations, b.jobs), "", s)
	b.note(p, run, variant, "allocated per job", perJob(after.allocated-before.allocated, b.jobs), "B", s)
	return nil
}
