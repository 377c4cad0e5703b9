package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// What is kept of operations.
const (
	// MaxOperations is how many operations run at the same time in a store.
	MaxOperations = 4
	// OperationsKept is how many are kept, those that have ended included.
	OperationsKept = 50
	// OperationKept is for how long an operation is kept after it has ended.
	OperationKept = 7 * 24 * time.Hour
)

// ErrBusy means that [MaxOperations] run already.
var ErrBusy = errors.New("too many operations run at the same time; wait for one, or stop it")

var (
	// errTaken says that an operation is in the hands of another process, or forgotten.
	errTaken = errors.New("another process works at the operation")
	// errStopped says that somebody stopped an operation.
	errStopped = errors.New("the operation was stopped")
	errEnded   = errors.New("the operation has ended")
)

const (
	operationsMemo = "caddis:operations"
	indexKey       = "index"
	// maxReason bounds the error of an operation, and maxName a name in it, in bytes.
	maxReason = 500
	maxName   = 100
)

// record is what the store keeps of an operation, in a memo of its id.
type record struct {
	Operation
	// Beat grows with each write of the runner. One that does not grow has lost its runner.
	Beat int64    `json:"beat"`
	At   position `json:"at,omitzero"`
}

// position is where an operation goes on. The queues before Queue, by their names, are done.
type position struct {
	Queue  string `json:"queue"`
	Cursor string `json:"cursor,omitempty"`
	// Left is how many jobs of the queue are to be looked at still, or unknown.
	Left int64 `json:"left"`
	// Jobs are in hand: the act is done to none, some or all of them.
	Jobs []string `json:"jobs,omitempty"`
}

const unknown = -1

// index lists what there is, the newest first, as memos cannot be listed.
type index struct {
	Operations []indexEntry `json:"operations"`
}

func (i *index) has(id string) bool {
	return slices.ContainsFunc(i.Operations, func(e indexEntry) bool { return e.ID == id })
}

type indexEntry struct {
	ID    string `json:"id"`
	Ended bool   `json:"ended,omitempty"`
}

// shelf keeps operations in the store. Each of its writes is made in one step that looks at
// what is there, so that of two processes one is refused.
type shelf struct{ memo *jobs.Memo }

func newShelf(client *jobs.Client) shelf { return shelf{client.PlainMemo(operationsMemo)} }

func (s shelf) index(ctx context.Context) (all index, err error) {
	_, err = s.memo.Get(ctx, indexKey, &all)
	return all, err
}

// load reads an operation, or fails with [backend.ErrNotFound].
func (s shelf) load(ctx context.Context, id string) (r record, err error) {
	found, err := s.memo.Get(ctx, id, &r)
	if err == nil && (!found || r.ID != id) {
		return record{}, noOperation(id)
	}
	return r, err
}

func noOperation(id string) error {
	return fmt.Errorf("there is no operation %.50q: %w", id, backend.ErrNotFound)
}

// add begins to keep an operation. It is in the index after it is there, so that no entry is
// without one for long.
func (s shelf) add(ctx context.Context, r *record) error {
	if err := s.memo.Set(ctx, r.ID, r, jobs.ForgetAfter(OperationKept)); err != nil {
		return err
	}
	var dropped []string
	err := jobs.UpdateMemo(ctx, s.memo, indexKey, func(all index) (index, error) {
		if all.has(r.ID) {
			return all, nil // the reply was lost
		}
		running := 0
		for _, o := range all.Operations {
			if !o.Ended {
				running++
			}
		}
		if running >= MaxOperations {
			return all, ErrBusy
		}
		all.Operations = slices.Insert(all.Operations, 0, indexEntry{ID: r.ID})
		dropped = nil
		for i := len(all.Operations) - 1; i > 0 && len(all.Operations) > OperationsKept; i-- {
			if all.Operations[i].Ended {
				dropped = append(dropped, all.Operations[i].ID)
				all.Operations = slices.Delete(all.Operations, i, i+1)
			}
		}
		return all, nil
	})
	if err != nil {
		return s.withdraw(ctx, r.ID, err)
	}
	for _, id := range dropped {
		_ = s.memo.Delete(ctx, id) // it would be forgotten in a week
	}
	return nil
}

// withdraw deletes an operation that could not be added because of err. Its entry may be in
// the index all the same, and then others would run what was refused.
func (s shelf) withdraw(ctx context.Context, id string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	if left := s.memo.Delete(ctx, id); left != nil && !errors.Is(err, ErrBusy) {
		return fmt.Errorf("the operation %s may run in some seconds all the same; look whether it is listed, and stop it: %w; %w", id, err, left)
	}
	return err
}

// save writes what the runner of an operation has made of it, or fails with errTaken.
func (s shelf) save(ctx context.Context, r *record) error {
	runner := r.Runner
	r.Beat++
	return s.write(ctx, r, runner)
}

// letGo is save for the last time: another process may take it over at once.
func (s shelf) letGo(ctx context.Context, r *record) error {
	runner := r.Runner
	r.Runner = ""
	r.Beat++
	return s.write(ctx, r, runner)
}

func (s shelf) write(ctx context.Context, r *record, runner string) error {
	return s.update(ctx, r.ID, func(stored record) (record, error) {
		// It may be this very write, whose reply was lost.
		written := stored.Runner == r.Runner && stored.Beat == r.Beat && stored.Phase == r.Phase
		if !written && (stored.Runner != runner || stored.Phase != PhaseRunning) {
			return stored, errTaken
		}
		r.Stopping, r.StoppedBy = stored.Stopping, stored.StoppedBy
		return *r, nil
	})
}

// take gives an operation to a runner if nothing has become of it since it was seen.
func (s shelf) take(ctx context.Context, seen *record, runner string) (taken record, err error) {
	err = s.update(ctx, seen.ID, func(stored record) (record, error) {
		if stored.Phase != PhaseRunning || stored.Runner != seen.Runner || stored.Beat != seen.Beat {
			return stored, errTaken
		}
		stored.Runner = runner
		stored.Beat++
		stored.Moved++
		taken = stored
		return stored, nil
	})
	return taken, err
}

// stop asks for the end of an operation. One that nobody works at has ended then.
func (s shelf) stop(ctx context.Context, id, by string) error {
	return s.update(ctx, id, func(stored record) (record, error) {
		switch {
		case stored.ID != id:
			return stored, noOperation(id)
		case stored.Phase != PhaseRunning:
			return stored, errEnded
		case !stored.Stopping:
			stored.Stopping, stored.StoppedBy = true, cut(by, maxName)
		}
		if stored.Runner == "" {
			stored.Phase, stored.FinishedAt, stored.At = PhaseStopped, time.Now(), position{}
		}
		return stored, nil
	})
}

func (s shelf) update(ctx context.Context, id string, change func(record) (record, error)) error {
	return jobs.UpdateMemo(ctx, s.memo, id, change, jobs.ForgetAfter(OperationKept))
}

// ended notes in the index that an operation has ended.
func (s shelf) ended(ctx context.Context, id string) error {
	err := jobs.UpdateMemo(ctx, s.memo, indexKey, func(all index) (index, error) {
		i := slices.IndexFunc(all.Operations, func(o indexEntry) bool { return o.ID == id })
		if i < 0 || all.Operations[i].Ended {
			return all, errEnded
		}
		all.Operations[i].Ended = true
		return all, nil
	})
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// cut shortens a text to a number of bytes, at the border of a letter.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := 0
	for i := range text {
		if i > most-len("…") {
			break
		}
		end = i
	}
	return text[:end] + "…"
}
