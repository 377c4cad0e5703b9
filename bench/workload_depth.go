package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// cycler makes the whole life of a batch of jobs, without a worker, so that all
// batches are of one size.
type cycler interface {
	load(ctx context.Context) error
	step(ctx context.Context, first, count int, mark func(n int)) error
}

// depthBatch is the size of the batches.
const depthBatch = 100

func depthCase(waiting int) string { return thousands(int64(waiting)) + " waiting" }

// depth measures what a job costs while few and while many others wait. For each
// depth there is a server; all are filled, and then take turns in short rounds,
// so that what changes on the machine meets all of them.
func depth(ctx context.Context, b *bench) error {
	cases := []int{b.part(1, 50), b.part(2, 1), b.part(20, 1)}
	return b.turns(ctx, b.among(caddisPeer, limitPeer), func(run int, p *peer) error {
		wells := make([]*well, len(cases))
		for i, deep := range cases {
			w, err := b.well(ctx, p, deep)
			if err != nil {
				return err
			}
			defer w.rig.close()
			wells[i] = w
		}
		if err := b.rounds(ctx, wells); err != nil {
			return err
		}
		for _, w := range wells {
			if err := w.verify(ctx); err != nil {
				return err
			}
			w.note(b, p, run, depthCase(w.deep), settings{"waiting": w.deep})
		}
		return nil
	})
}

// rounds lets the wells take turns.
func (b *bench) rounds(ctx context.Context, wells []*well) error {
	rounds := 20
	if b.quick {
		rounds = 2
	}
	for range rounds {
		for _, w := range wells {
			if err := w.round(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// depthRound is how many jobs a round is about.
const depthRound = 1000

// well is a server with many jobs waiting.
type well struct {
	rig    *rig
	deep   int
	cycle  cycler
	next   int // number of the next job to store
	taken  []bool
	mark   func(n int)
	faults int
	// server and wall are microseconds per job, one value per round, sorted.
	server, wall []float64
}

func (b *bench) well(ctx context.Context, p *peer, deep int) (*well, error) {
	r, err := b.rig(ctx, p, place{concurrency: 4})
	if err != nil {
		return nil, err
	}
	w := &well{rig: r, deep: deep, next: deep}
	switch s := r.store.(type) {
	case *caddisStore:
		w.cycle = &caddisCycle{store: s}
	case *limitStore:
		w.cycle = &limitCycle{store: s}
	}
	w.mark = func(n int) {
		for n >= len(w.taken) {
			w.taken = append(w.taken, make([]bool, depthRound)...)
		}
		if w.taken[n] {
			w.faults++
		}
		w.taken[n] = true
	}
	err = errors.Join(fill(ctx, p, r.store, deep), w.cycle.load(ctx), w.round(ctx))
	w.server, w.wall = nil, nil // the first round warms up
	if err != nil {
		r.close()
		return nil, err
	}
	return w, nil
}

func (w *well) round(ctx context.Context) error {
	before, err := w.rig.server.info(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	for range depthRound / depthBatch {
		if err := w.cycle.step(ctx, w.next, depthBatch, w.mark); err != nil {
			return err
		}
		w.next += depthBatch
	}
	took := time.Since(began)
	after, err := w.rig.server.info(ctx)
	if err != nil {
		return err
	}
	w.server = append(w.server, microseconds(after.since(before).serverTime, depthRound))
	w.wall = append(w.wall, microseconds(took, depthRound))
	slices.Sort(w.server)
	slices.Sort(w.wall)
	return nil
}

func (w *well) note(b *bench, p *peer, run int, variant string, s settings) {
	s["batch"], s["jobs"] = depthBatch, len(w.wall)*depthRound
	b.note(p, run, variant, "Redis time per job", quantile(w.server, 0.5), "µs", s)
	b.note(p, run, variant, "time per job", quantile(w.wall, 0.5), "µs", s)
}

// verify checks that the first jobs were taken, each once, and as many wait as
// did at the start.
func (w *well) verify(ctx context.Context) error {
	taken := w.next - w.deep
	for n := range taken {
		if n >= len(w.taken) || !w.taken[n] {
			return fmt.Errorf("job %d of %d was not taken", n, taken)
		}
	}
	left, err := w.rig.store.left(ctx)
	if err == nil && (w.faults > 0 || left != int64(w.deep)) {
		err = fmt.Errorf("%d jobs are left of %d, and %d were taken twice", left, w.deep, w.faults)
	}
	return err
}
