package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// actIDs is how many ids an act sends at once.
const actIDs = 500

// act runs a script on ids, tag by tag and turn by turn, and reads one letter per id.
func (b *Backend) act(ctx context.Context, op, queueName string, ids []string, s *script, first []any, read func(letter byte, result *backend.ActResult)) ([]backend.ActResult, error) {
	if err := backend.CheckQueue(queueName); err != nil {
		return nil, b.fail(op, "", err)
	}
	if n := len(ids); n > backend.MaxBatch {
		return nil, b.fail(op, queueName, fmt.Errorf("%w: %d ids in one call, %d are allowed", backend.ErrRejected, n, backend.MaxBatch))
	}
	q, _, err := b.find(ctx, queueName)
	if err != nil {
		return nil, b.fail(op, queueName, err)
	}
	results := make([]backend.ActResult, len(ids))
	for parts := split(len(ids), func(i int) *tag { return q.tagOf(ids[i]) }); len(parts) > 0; {
		calls := make([]*call, len(parts))
		for n, p := range parts {
			some := p.at[:min(len(p.at), actIDs)]
			c := p.tag.call(s, "", len(first)+len(some))
			c.add(first...)
			for _, i := range some {
				c.add(ids[i])
			}
			calls[n] = c
		}
		if err := b.run(ctx, calls...); err != nil {
			return nil, b.fail(op, queueName, err)
		}
		var left []part
		for n, p := range parts {
			reply, err := calls[n].result()
			letters := asString(reply)
			if err == nil && (letters == "" || len(letters) > min(len(p.at), actIDs)) {
				err = fmt.Errorf("%w: %d answers to %d ids", backend.ErrUnavailable, len(letters), len(p.at))
			}
			if err != nil {
				return nil, b.fail(op, queueName, err)
			}
			p.tag.doubt()
			for k, i := range p.at[:len(letters)] {
				results[i].ID = ids[i]
				if letters[k] == '-' {
					results[i].Err = &backend.Error{Op: op, Queue: queueName, ID: ids[i], Err: backend.ErrNotFound}
					continue
				}
				results[i].State = stateOf[letters[k]]
				read(letters[k], &results[i])
			}
			if p.at = p.at[len(letters):]; len(p.at) > 0 {
				left = append(left, p) // the script has done its turn
			}
		}
		parts = left
	}
	return results, nil
}

// refuse says that the state of a job does not allow an act.
func refuse(op, queueName string, result *backend.ActResult) {
	result.Err = &backend.Error{
		Op: op, Queue: queueName, ID: result.ID,
		Err: fmt.Errorf("%w: it is %s", backend.ErrState, result.State),
	}
}

// Cancel implements backend.Operator.
func (b *Backend) Cancel(ctx context.Context, queueName string, ids []string) ([]backend.ActResult, error) {
	var running []string
	results, err := b.act(ctx, "cancel", queueName, ids, cancelScript, []any{b.retention}, func(letter byte, result *backend.ActResult) {
		switch letter {
		case 'R':
			running = append(running, result.ID)
		case 'C', 'D':
			refuse("cancel", queueName, result)
		}
	})
	if err == nil {
		b.tell(ctx, backend.CommandCancel, queueName, running)
	}
	return results, err
}

// Retry implements backend.Operator.
func (b *Backend) Retry(ctx context.Context, queueName string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "retry", queueName, ids, retryScript, nil, func(letter byte, result *backend.ActResult) {
		if letter != 'w' {
			refuse("retry", queueName, result)
		}
	})
}

// Delete implements backend.Operator.
func (b *Backend) Delete(ctx context.Context, queueName string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "delete", queueName, ids, deleteScript, nil, func(letter byte, result *backend.ActResult) {
		if letter == 'R' {
			refuse("delete", queueName, result)
			return
		}
		result.State = ""
	})
}

// RunNow implements backend.Operator.
func (b *Backend) RunNow(ctx context.Context, queueName string, ids []string) ([]backend.ActResult, error) {
	return b.act(ctx, "run now", queueName, ids, runNowScript, nil, func(letter byte, result *backend.ActResult) {
		if letter != 'w' {
			refuse("run now", queueName, result)
		}
	})
}

// Pause implements backend.Operator.
func (b *Backend) Pause(ctx context.Context, queueName string, d time.Duration) error {
	if err := backend.CheckPause(queueName, d); err != nil {
		return b.fail("pause", "", err)
	}
	return b.onAllShards(ctx, "pause", queueName, pauseScript, millis(d))
}

// Resume implements backend.Operator.
func (b *Backend) Resume(ctx context.Context, queueName string) error {
	if err := backend.CheckQueue(queueName); err != nil {
		return b.fail("resume", "", err)
	}
	return b.onAllShards(ctx, "resume", queueName, resumeScript)
}

func (b *Backend) onAllShards(ctx context.Context, op, queueName string, s *script, args ...any) error {
	q, found, err := b.find(ctx, queueName)
	if err == nil && !found {
		_, err = b.enter(ctx, []string{queueName})
	}
	if err != nil {
		return b.fail(op, queueName, err)
	}
	calls := make([]*call, len(q.tags))
	for i, t := range q.tags {
		calls[i] = t.call(s, "", len(args))
		calls[i].add(args...)
		t.doubt()
	}
	if err := b.run(ctx, calls...); err != nil {
		return b.fail(op, queueName, err)
	}
	for _, c := range calls {
		if _, err := c.result(); err != nil && !isNil(err) {
			return b.fail(op, queueName, err)
		}
	}
	return nil
}
