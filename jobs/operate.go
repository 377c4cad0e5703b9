package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Cancel ends jobs. One that is scheduled, waiting or blocked becomes cancelled
// at once. One that is running, wherever in the fleet, has its context ended
// with the cause [ErrCancelled], and ends cancelled unless it completes first;
// the result's state is then backend.StateRunning.
//
// Like all acts on jobs it takes up to [backend.MaxBatch] ids of one queue and
// returns one result per id, in order, and an error if any id failed:
// [backend.ErrNotFound] where there is no such job, [backend.ErrState] where its
// state does not allow the act. To repeat an act is safe.
func (c *Client) Cancel(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error) {
	return act(ctx, "cancel", c.backend.Cancel, queue, ids)
}

// Retry makes dead or cancelled jobs wait again, with all attempts and crashes
// back and with their history kept. See [Client.Cancel] for ids and errors.
func (c *Client) Retry(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error) {
	return act(ctx, "retry", c.backend.Retry, queue, ids)
}

// Delete removes jobs in any state but running. See [Client.Cancel] for ids and
// errors.
func (c *Client) Delete(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error) {
	return act(ctx, "delete", c.backend.Delete, queue, ids)
}

// RunNow makes scheduled or blocked jobs wait for a worker at once. See
// [Client.Cancel] for ids and errors.
func (c *Client) RunNow(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error) {
	return act(ctx, "run now", c.backend.RunNow, queue, ids)
}

// PauseQueue stops the hand-out of a queue's jobs in the whole fleet, until
// ResumeQueue, or with the option [For] for a time; those that run go on. A queue that
// holds no job yet can be paused. Of several pauses the last counts.
func (c *Client) PauseQueue(ctx context.Context, name string, options ...PauseOption) error {
	var d time.Duration
	for i, o := range options {
		if o == nil {
			return &Error{Op: "pause", Err: reject("option %d is nil", i+1)}
		}
		if err := o(&d); err != nil {
			return &Error{Op: "pause", Err: err}
		}
	}
	if err := backend.CheckPause(name, d); err != nil {
		return &Error{Op: "pause", Err: err}
	}
	return c.backend.Pause(ctx, name, d)
}

// A PauseOption is said of one [Client.PauseQueue].
type PauseOption func(*time.Duration) error

// For ends the pause by itself when a time has passed by the store's clock, to the
// millisecond: positive, at most [backend.MaxDelay]. QueueInfo.PausedUntil tells when.
func For(d time.Duration) PauseOption {
	return func(pause *time.Duration) error {
		if d <= 0 || d > backend.MaxDelay {
			return reject("For(%v): give a positive time of at most %v; leave it out for a pause until ResumeQueue", d, backend.MaxDelay)
		}
		*pause = d
		return nil
	}
}

// ResumeQueue undoes PauseQueue.
func (c *Client) ResumeQueue(ctx context.Context, name string) error {
	if err := checkQueue("resume", name); err != nil {
		return err
	}
	return c.backend.Resume(ctx, name)
}

// ForAll applies an act, such as [Client.Retry], to all jobs of a queue in a state,
// page by page:
//
//	retried, err := client.ForAll(ctx, "mail", backend.StateDead, client.Retry)
//
// If conditions are given, it is applied to those jobs only that satisfy all of them.
//
// It answers to how many it was applied. It ends with those that were there at its
// beginning, so that jobs which come back into the state meanwhile do not keep it
// going; those that leave the state meanwhile are passed over. An error of the store
// ends it; to call it again goes on.
func (c *Client) ForAll(ctx context.Context, queue string, state backend.State,
	act func(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error),
	conditions ...func(JobInfo) bool,
) (applied int, err error) {
	query := backend.JobsQuery{Queue: queue, State: state, Limit: backend.MaxPage}
	if err := query.Check(); err != nil {
		return 0, &Error{Op: "jobs", Err: err}
	}
	info, err := c.backend.Queue(ctx, queue)
	if err != nil {
		return 0, err
	}
	for left := info.Counts[state]; left > 0; {
		page, err := c.backend.Jobs(ctx, query)
		if err != nil {
			return applied, err
		}
		looked := page.Jobs[:min(left, int64(len(page.Jobs)))]
		left -= int64(len(looked))
		ids := make([]string, 0, len(looked))
		for i := range looked {
			if job := c.jobInfo(looked[i]); satisfies(job, conditions) {
				ids = append(ids, job.ID)
			}
		}
		results, err := act(ctx, queue, ids...)
		for i := range results {
			switch failure := results[i].Err; {
			case failure == nil:
				applied++
			case !errors.Is(failure, backend.ErrNotFound) && !errors.Is(failure, backend.ErrState):
				return applied, failure
			}
		}
		if err != nil && len(results) == 0 {
			return applied, err
		}
		if page.Next == "" {
			break
		}
		query.Cursor = page.Next
	}
	return applied, nil
}

func satisfies(job JobInfo, conditions []func(JobInfo) bool) bool {
	for _, condition := range conditions {
		if !condition(job) {
			return false
		}
	}
	return true
}

type actFunc func(ctx context.Context, queue string, ids []string) ([]backend.ActResult, error)

func act(ctx context.Context, op string, do actFunc, queue string, ids []string) ([]backend.ActResult, error) {
	if len(ids) > backend.MaxBatch {
		return nil, &Error{Op: op, Err: reject("%d ids in one call, %d are allowed; split them, for example by slices.Chunk", len(ids), backend.MaxBatch)}
	}
	if err := checkAct(op, queue, ids...); err != nil || len(ids) == 0 {
		return nil, err
	}
	results, err := do(ctx, queue, ids)
	if err != nil {
		return results, err
	}
	var failures []error
	for _, result := range results {
		if result.Err != nil {
			failures = append(failures, named(op, queue, result))
		}
	}
	return results, joinFailures(failures, len(ids))
}

// named is the error of a result, which names the job as a rule.
func named(op, queue string, result backend.ActResult) error {
	var full *backend.Error
	if errors.As(result.Err, &full) {
		return result.Err
	}
	return &backend.Error{Op: op, Queue: queue, ID: result.ID, Err: result.Err}
}

func checkQueue(op, queue string) error {
	if err := backend.CheckQueue(queue); err != nil {
		return &Error{Op: op, Err: err}
	}
	return nil
}

func checkAct(op, queue string, ids ...string) error {
	if err := checkQueue(op, queue); err != nil {
		return err
	}
	for i, id := range ids {
		if err := backend.CheckID(id); err != nil {
			return &Error{Op: op, Err: fmt.Errorf("id %d of %d: %w", i+1, len(ids), err)}
		}
	}
	return nil
}
