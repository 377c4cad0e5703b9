package operate

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// The work of an operation goes on between pauses, as others wait for the store: each page
// is followed by one of restFactor times what it took, up to maxRest. So it takes a twelfth
// of what a busy worker could have of the store; bench measures it, as the workload operate.
const (
	restFactor = 12
	maxRest    = 4 * time.Second
)

const (
	// actTime is how long the act may take on a page.
	actTime = 10 * time.Second
	// saveEvery is how often a position is written of which nothing depends.
	saveEvery = time.Second
	// maxInHand bounds the ids of jobs in a position, in bytes of JSON.
	maxInHand = 44 << 10
)

// effort is the work of this process at one operation. Before the act is done to the jobs of
// a page, their ids are written to the store: whoever goes on after a crash does it to those
// once more, which is safe, and knows of the ones that have left the state that it was done.
type effort struct {
	client *jobs.Client
	shelf  shelf
	record record
	// rest is restFactor, but in tests.
	rest time.Duration
	// show is told how far it is.
	show  func(Operation)
	saved time.Time
}

// run works on from the position to the end. It fails with errStopped, errTaken, the error
// of ctx, or that of the store.
func (e *effort) run(ctx context.Context) error {
	if e.record.Stopping {
		return errStopped
	}
	if len(e.record.At.Jobs) > 0 {
		if err := e.apply(ctx, true); err != nil {
			return err
		}
	}
	for _, queue := range slices.Sorted(slices.Values(e.record.Queues)) {
		if queue < e.record.At.Queue {
			continue
		}
		if queue != e.record.At.Queue {
			e.record.At = position{Queue: queue, Left: unknown}
		}
		if err := e.queue(ctx); err != nil {
			return err
		}
	}
	return nil
}

// queue works on in the queue of the position. It ends with the jobs that were there when
// it began, so that those which come back into the state do not keep it going.
func (e *effort) queue(ctx context.Context) error {
	at := &e.record.At
	if at.Left == unknown {
		info, err := e.client.Queue(ctx, at.Queue)
		if err != nil && !errors.Is(err, backend.ErrNotFound) {
			return err
		}
		at.Left = info.Counts[e.record.State]
	}
	if e.record.DryRun && e.record.Filter.Empty() { // the store has counted them
		e.record.Looked += at.Left
		e.record.Applied += at.Left
		at.Left = 0
		e.show(e.record.Operation)
	}
	for at.Left > 0 {
		began := time.Now()
		matching, err := e.page(ctx)
		if err != nil {
			return err
		}
		if err := e.act(ctx, matching); err != nil {
			return err
		}
		select {
		case <-time.After(min(e.rest*time.Since(began), maxRest)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// page looks at the next jobs, and moves the position behind them.
func (e *effort) page(ctx context.Context) (matching []string, err error) {
	at := &e.record.At
	query := backend.JobsQuery{Queue: at.Queue, State: e.record.State, Cursor: at.Cursor, Limit: backend.MaxPage}
	for {
		page, err := e.client.Jobs(ctx, query)
		if err != nil {
			return nil, err
		}
		looked := page.Jobs[:min(at.Left, int64(len(page.Jobs)))]
		matching = matching[:0]
		for _, job := range looked {
			if e.record.Filter.Matches(job) {
				matching = append(matching, job.ID)
			}
		}
		if !e.record.DryRun && query.Limit > 1 && tooLong(matching) {
			query.Limit /= 2
			continue
		}
		at.Left -= int64(len(looked))
		if at.Cursor = page.Next; page.Next == "" {
			at.Left = 0
		}
		e.record.Looked += int64(len(looked))
		return matching, nil
	}
}

// tooLong reports whether ids have no room in a position.
func tooLong(ids []string) bool {
	text, err := json.Marshal(ids)
	return err != nil || len(text) > maxInHand
}

// act does the act to jobs, or counts them.
func (e *effort) act(ctx context.Context, ids []string) error {
	if e.record.DryRun || len(ids) == 0 {
		e.record.Applied += int64(len(ids))
		e.show(e.record.Operation)
		if time.Since(e.saved) < saveEvery {
			return nil
		}
		return e.save(ctx)
	}
	e.record.At.Jobs = ids
	if err := e.save(ctx); err != nil {
		return err
	}
	return e.apply(ctx, false)
}

// apply does the act to the jobs in hand. Again says that it may have been done to some.
func (e *effort) apply(ctx context.Context, again bool) error {
	at := &e.record.At
	// Who stops it waits for the answer, so that it is known what was done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actTime)
	defer cancel()
	results, err := e.record.Act.With(e.client)(ctx, at.Queue, at.Jobs...)
	if len(results) == 0 {
		return err
	}
	var left []string
	var failure error
	for i := range results {
		r := &results[i]
		gone := errors.Is(r.Err, backend.ErrNotFound) || errors.Is(r.Err, backend.ErrState)
		switch {
		case r.Err == nil || gone && again:
			e.record.Applied++
		case !gone:
			left, failure = append(left, r.ID), r.Err
		}
	}
	at.Jobs = left
	e.show(e.record.Operation)
	return failure
}

// save writes the position.
func (e *effort) save(ctx context.Context) error {
	if err := e.shelf.save(ctx, &e.record); err != nil {
		return err
	}
	e.saved = time.Now()
	if e.record.Stopping {
		return errStopped
	}
	return nil
}
