package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddis-go/caddis/backend"
)

// ErrVetoed means that middleware did not let a job be enqueued; see [Veto].
var ErrVetoed = errors.New("the enqueue was vetoed")

// Veto is the error for middleware that does not let a job be enqueued. For whoever
// enqueues, errors.Is finds [ErrVetoed] in it, and reason, which may be nil.
func Veto(reason error) error {
	if reason == nil {
		return ErrVetoed
	}
	return fmt.Errorf("%w: %w", ErrVetoed, reason)
}

// VetoIf makes middleware that looks at each job that is to be enqueued. Those for which
// check returns an error are not stored: their receipts and the error of the enqueue
// wrap [ErrVetoed] and the error. The other jobs of the same call are stored. The
// payload is encoded already; a panic of check is a veto.
//
//	registry := jobs.NewRegistry(jobs.WithEnqueueMiddleware(jobs.VetoIf(notWhileClosing)))
func VetoIf(check func(ctx context.Context, job *backend.NewJob) error) EnqueueMiddleware {
	if check == nil {
		panic("jobs: VetoIf got a nil check")
	}
	return func(next EnqueueFunc) EnqueueFunc {
		return func(ctx context.Context, batch []backend.NewJob) ([]Receipt, error) {
			receipts := make([]Receipt, len(batch))
			var passed []backend.NewJob
			var places []int
			for i := range batch {
				receipts[i] = Receipt{Queue: batch[i].Queue, ID: batch[i].ID}
				if reason := checked(ctx, check, &batch[i]); reason != nil {
					receipts[i].Err = Veto(reason)
					continue
				}
				passed, places = append(passed, batch[i]), append(places, i)
			}
			if len(passed) == 0 {
				return receipts, nil
			}
			stored, err := next(ctx, passed)
			if len(stored) != len(passed) {
				if err == nil {
					err = fmt.Errorf("%d receipts came back for %d jobs", len(stored), len(passed))
				}
				stored = make([]Receipt, len(passed))
				for i := range passed {
					stored[i] = Receipt{Queue: passed[i].Queue, ID: passed[i].ID, Err: err}
				}
			}
			for i, place := range places {
				receipts[place] = stored[i]
			}
			return receipts, err
		}
	}
}

// checked makes a veto of a panic.
func checked(ctx context.Context, check func(context.Context, *backend.NewJob) error, job *backend.NewJob) (reason error) {
	defer func() {
		if value := recover(); value != nil {
			reason = &Panic{Value: value}
		}
	}()
	return check(ctx, job)
}
