package sqlite

import (
	"context"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Renew implements backend.Consumer. A lease that has expired and was not yet taken
// back is prolonged too.
func (b *Backend) Renew(ctx context.Context, request backend.RenewRequest) ([]backend.RenewResult, error) {
	err := backend.CheckLease(request.Duration)
	switch {
	case err != nil:
	case request.Worker == "":
		err = reject("the renewal names no worker")
	case len(request.Leases) > backend.MaxBatch:
		err = reject("%d leases in one call, %d are allowed", len(request.Leases), backend.MaxBatch)
	}
	if err != nil {
		return nil, &backend.Error{Op: "renew", Err: err}
	}
	var results []backend.RenewResult
	err = b.write(ctx, "renew", "", len(request.Leases), func(t *txn) (err error) {
		results = make([]backend.RenewResult, len(request.Leases))
		for i := range request.Leases {
			if results[i], err = t.renew(&request.Leases[i], t.now+millis(request.Duration)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (t *txn) renew(h *backend.Held, expires int64) (result backend.RenewResult, err error) {
	q, err := t.find(h.Queue)
	if err != nil {
		return result, err
	}
	if q == nil {
		return backend.RenewResult{Lost: true}, nil
	}
	var seq int64
	found, err := one(t, `UPDATE caddis_job SET at = ? WHERE queue = ? AND id = ? AND state = 3 AND token = ? RETURNING seq, cancel`,
		[]any{expires, q.id, h.ID, h.Token}, &seq, &result.CancelRequested)
	if err != nil || !found {
		return backend.RenewResult{Lost: !found}, err
	}
	if h.Progress == nil {
		return result, nil
	}
	j, err := q.get(h.ID)
	if err != nil {
		return result, err
	}
	past, err := j.past()
	if err != nil {
		result.Err = &backend.Error{Op: "renew", Queue: h.Queue, ID: h.ID, Err: reject("%w", err)}
		return result, nil
	}
	past.Progress = h.Progress
	if err := j.setHistory(&past); err != nil {
		return result, err
	}
	_, err = t.exec(`UPDATE caddis_job SET history = ?, bytes = ? WHERE seq = ?`, j.history, j.bytes, seq)
	return result, err
}

// SaveHistory implements backend.Consumer.
func (b *Backend) SaveHistory(ctx context.Context, held backend.Held, history backend.History) error {
	fail := func(err error) error {
		return &backend.Error{Op: "save history", Queue: held.Queue, ID: held.ID, Err: err}
	}
	if err := backend.CheckHistory(held, &history); err != nil {
		return fail(err)
	}
	return b.write(ctx, "save history", held.Queue, 1, func(t *txn) error {
		q, err := t.find(held.Queue)
		if err != nil {
			return err
		}
		if q == nil {
			return fail(backend.ErrState)
		}
		j, err := q.get(held.ID)
		switch {
		case err != nil:
			return err
		case j == nil || j.state != running || j.token != held.Token:
			return fail(backend.ErrState)
		}
		past, err := j.past()
		if err != nil {
			return fail(reject("%w", err))
		}
		kept := history
		kept.Progress = past.Progress
		if err := j.setHistory(&kept); err != nil {
			return fail(err)
		}
		_, err = t.exec(`UPDATE caddis_job SET history = ?, bytes = ? WHERE seq = ?`, j.history, j.bytes, j.seq)
		return err
	})
}

// Sweep implements backend.Consumer.
func (b *Backend) Sweep(ctx context.Context, request backend.SweepRequest) (backend.SweepReply, error) {
	if err := request.Check(); err != nil {
		return backend.SweepReply{}, &backend.Error{Op: "sweep", Err: err}
	}
	var reply backend.SweepReply
	err := b.write(ctx, "sweep", "", 1, func(t *txn) (err error) {
		reply, err = t.sweep(&request)
		return err
	})
	if err != nil {
		return backend.SweepReply{}, err
	}
	return reply, nil
}

func (t *txn) sweep(request *backend.SweepRequest) (reply backend.SweepReply, err error) {
	if err := t.forgetMemos(); err != nil {
		return reply, err
	}
	keys := request.Keys
	for _, name := range request.Queues {
		q, err := t.queue(name)
		if err != nil {
			return reply, err
		}
		waited, trimmed := q.count[waiting], q.trimmed
		found, err := q.tidy(true)
		if err != nil {
			return reply, err
		}
		if err := q.trim(); err != nil {
			return reply, err
		}
		if err := q.release(tidyBound); err != nil {
			return reply, err
		}
		if err := q.forgetLanes(); err != nil {
			return reply, err
		}
		if err := q.forgetBuckets(); err != nil {
			return reply, err
		}
		if err := q.forgetRecords(); err != nil {
			return reply, err
		}
		look, err := q.lookAt()
		if err != nil {
			return reply, err
		}
		forgotten := found.forgotten + q.trimmed - trimmed
		reply.Reclaimed += found.reclaimed
		reply.Trimmed += forgotten
		reply.More = reply.More || found.reclaimed >= tidyBound || forgotten >= tidyBound ||
			found.next != 0 && found.next <= t.now
		if found.expiry != 0 {
			in := time.Duration(max(1, found.expiry-t.now)) * time.Millisecond
			if reply.Next == 0 || in < reply.Next {
				reply.Next = in
			}
		}
		if q.count[waiting] > waited || look != 0 && look <= t.now {
			t.tell(q)
		}
		blocked, err := q.blockedOn(keys)
		if err != nil {
			return reply, err
		}
		changes, err := q.changes()
		if err != nil {
			return reply, err
		}
		reply.Schedules += changes
		reply.Blocked = append(reply.Blocked, blocked...)
		keys = without(keys, blocked)
	}
	return reply, nil
}

// without returns the keys that are not among those found.
func without(keys, found []string) []string {
	if len(found) == 0 {
		return keys
	}
	gone := make(map[string]bool, len(found))
	for _, key := range found {
		gone[key] = true
	}
	var left []string
	for _, key := range keys {
		if !gone[key] {
			left = append(left, key)
		}
	}
	return left
}
