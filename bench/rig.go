package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// rig is a fresh server with the store of one peer, for one measurement.
type rig struct {
	peer   *peer
	server *server // nil for an embedded store
	store  store
	// staying is how many jobs are stored that no worker takes.
	staying int64
}

// rig starts a server for the peer and opens its store.
func (b *bench) rig(ctx context.Context, p *peer, at place) (*rig, error) {
	r := &rig{peer: p}
	if !p.embedded {
		s, err := startServer(ctx, b.aof)
		if err != nil {
			return nil, err
		}
		r.server, at.addr = s, s.addr
	}
	var err error
	if r.store, err = p.open(at); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) close() {
	if r.store != nil {
		_ = r.store.close()
	}
	if r.server != nil {
		r.server.stop()
	}
}

// warmJobs is how many jobs a peer runs before the clock starts.
const warmJobs = 1000

// warmUp lets a worker of the same size run some jobs: the server has the
// scripts then, and this process its memory.
func (r *rig) warmUp(ctx context.Context, s store, concurrency, jobs int) error {
	l := newLedger(jobs)
	if err := fill(ctx, r.peer, r.store, jobs); err != nil {
		return err
	}
	w, err := s.start(ctx, workerConfig{concurrency: concurrency, handle: func(_ context.Context, n int) { l.mark(n) }})
	if err != nil {
		return err
	}
	err = l.wait(ctx)
	if err == nil {
		err = r.settled(ctx)
	}
	if err = errors.Join(err, w.stop(ctx)); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	return nil
}

// settled waits until the store holds no other jobs any more: all are acknowledged.
func (r *rig) settled(ctx context.Context) error {
	deadline := time.Now().Add(stalled)
	for {
		left, err := r.store.left(ctx)
		switch {
		case err != nil:
			return err
		case left == r.staying:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d jobs are not acknowledged %v after the last was executed", left-r.staying, stalled)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// run starts a worker, waits until the jobs of the ledger are executed and
// acknowledged, stops it, and checks that each was executed once. It answers how
// long it took from the start of the worker to the last acknowledgement.
func (r *rig) run(ctx context.Context, s store, concurrency int, l *ledger) (time.Duration, error) {
	runtime.GC()
	began := time.Now()
	w, err := s.start(ctx, workerConfig{concurrency: concurrency, handle: func(_ context.Context, n int) { l.mark(n) }})
	if err != nil {
		return 0, err
	}
	err = l.wait(ctx)
	if err == nil {
		err = r.settled(ctx)
	}
	took := time.Since(began)
	if err := errors.Join(err, w.stop(ctx)); err != nil {
		return 0, err
	}
	return took, l.verify()
}

// rate is jobs per second.
func rate(jobs int, took time.Duration) float64 { return float64(jobs) / took.Seconds() }
