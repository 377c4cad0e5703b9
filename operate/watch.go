package operate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

const (
	// watchEvery is how often a process looks for operations that nobody works at.
	watchEvery = 2 * time.Second
	// lostAfter is how long the record of an operation may stay as it is before its runner
	// counts as gone. It is measured by the clock of who looks: no two clocks are compared.
	// A runner writes with each page, and rests four seconds after it at most; one that was
	// only slow learns at its next write that it has lost the operation.
	lostAfter = 10 * time.Second
)

// timing is how often is looked, what counts as lost, and how many times what a page took is
// rested after it.
type timing struct{ watch, lost, rest time.Duration }

// watch is what a process has seen of the operations of others.
type watch struct {
	index     index
	sightings map[string]sighting
}

// sighting is since when a record is seen as it is.
type sighting struct {
	runner string
	beat   int64
	since  time.Time
}

func (w *watch) knows(id string) bool { return w.index.has(id) }

// keepWatch takes over operations that nobody works at, until Close.
func (s *Operations) keepWatch() {
	tick := time.NewTicker(s.timing.watch)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(s.ctx, max(s.timing.watch, lastWrite))
		err := safely(func() error { return s.look(ctx) })
		cancel()
		if err != nil && !failing && s.ctx.Err() == nil {
			s.log.Warn("operations on jobs cannot be looked after; it is tried again", withStack(err)...)
		}
		failing = err != nil
	}
}

// look takes over what nobody works at.
func (s *Operations) look(ctx context.Context) error {
	kept, err := s.shelf.index(ctx)
	if err != nil {
		return err
	}
	changed := s.note(kept)
	var failure error
	for _, entry := range kept.Operations {
		if entry.Ended || s.isMine(entry.ID) {
			continue
		}
		r, err := s.shelf.load(ctx, entry.ID)
		switch {
		case errors.Is(err, backend.ErrNotFound) || err == nil && r.Phase != PhaseRunning:
			changed = true // its runner has gone between two writes, or nobody was there for long
			err = s.shelf.ended(ctx, entry.ID)
		case err == nil && s.isLost(&r):
			err = s.takeOver(ctx, &r)
		}
		if err != nil {
			failure = err // and the others are looked at all the same
		}
	}
	if changed {
		s.changed()
	}
	return failure
}

// note remembers the index, forgets what is not in it any more, and reports whether it is
// another one.
func (s *Operations) note(kept index) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := !slices.Equal(kept.Operations, s.watch.index.Operations)
	s.watch.index = kept
	for id := range s.over {
		if !s.watch.knows(id) {
			delete(s.over, id)
		}
	}
	for id := range s.watch.sightings {
		if !s.watch.knows(id) {
			delete(s.watch.sightings, id)
		}
	}
	return changed
}

func (s *Operations) isMine(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id] != nil
}

// isLost reports whether nobody works at an operation.
func (s *Operations) isLost(r *record) bool {
	if r.Runner == "" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, ok := s.watch.sightings[r.ID]
	if ok && seen.runner == r.Runner && seen.beat == r.Beat {
		return time.Since(seen.since) >= s.timing.lost
	}
	if s.watch.sightings == nil {
		s.watch.sightings = map[string]sighting{}
	}
	s.watch.sightings[r.ID] = sighting{r.Runner, r.Beat, time.Now()}
	return false
}

// takeOver goes on with an operation, unless another process was faster.
func (s *Operations) takeOver(ctx context.Context, r *record) error {
	taken, err := s.shelf.take(ctx, r, s.runner)
	if errors.Is(err, errTaken) {
		return nil
	}
	if err != nil {
		return err
	}
	s.log.Info("an operation on jobs is taken over", "operation", r.ID, "act", r.Act, "by", r.By, "from", r.Runner,
		"looked", r.Looked, "applied", r.Applied)
	s.begin(taken)
	return nil
}
