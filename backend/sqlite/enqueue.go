package sqlite

import (
	"context"

	"github.com/caddis-go/caddis/backend"
)

// Enqueue implements backend.Producer. The call is atomic over all its queues.
func (b *Backend) Enqueue(ctx context.Context, jobs []backend.NewJob) ([]backend.Receipt, error) {
	if err := backend.CheckJobs(jobs); err != nil {
		return nil, err
	}
	var receipts []backend.Receipt
	err := b.write(ctx, "enqueue", "", len(jobs), func(t *txn) (err error) {
		receipts, err = t.enqueue(jobs)
		return err
	})
	if err != nil {
		return nil, err
	}
	return receipts, nil
}

func (t *txn) enqueue(jobs []backend.NewJob) ([]backend.Receipt, error) {
	receipts := make([]backend.Receipt, len(jobs))
	for i := range jobs {
		n := &jobs[i]
		q, err := t.queue(n.Queue)
		if err != nil {
			return nil, err
		}
		s, existing, err := q.add(n)
		if err != nil {
			return nil, &backend.Error{Op: "enqueue", Queue: n.Queue, ID: n.ID, Err: classify(err)}
		}
		receipts[i] = backend.Receipt{Queue: n.Queue, ID: n.ID, State: s.public(), Existing: existing}
	}
	return receipts, nil
}

// add stores one job, unless the queue holds one of its id.
func (q *queue) add(n *backend.NewJob) (s state, existing bool, err error) {
	t := q.t
	options, err := encodeOptions(&n.Job)
	if err != nil {
		return 0, false, err
	}
	due := t.now
	if n.Delay > 0 {
		due = t.later(n.Delay)
	} else if !n.At.IsZero() {
		due = max(due, ceilMilli(n.At))
	}
	s, at := waiting, int64(0)
	if due > t.now {
		s, at = scheduled, due
	}
	large := len(n.Payload) > largePayload
	payload := any(n.Payload)
	switch {
	case large:
		payload = nil
	case len(n.Payload) == 0:
		payload = []byte{}
	}
	if s == scheduled {
		if err := q.announce(due); err != nil {
			return 0, false, err
		}
	} else {
		t.tell(q)
	}
	for {
		stored, err := t.exec(`INSERT INTO caddis_job (queue, id, state, level, rank, at, enqueued, due, bytes, kind, options, payload)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (queue, id) DO NOTHING`,
			q.id, n.ID, int64(s), backend.PriorityHighest-n.Priority, q.back+1, at, t.now, due, weigh(&n.Job), n.Kind, options, payload)
		if err != nil {
			return 0, false, err
		}
		if stored > 0 {
			break
		}
		there, err := q.get(n.ID)
		switch {
		case err != nil:
			return 0, false, err
		case there == nil:
			return 0, false, errStored
		case !there.state.final() || !n.ReplaceFinished:
			return there.state, true, nil
		}
		if err := q.remove(there); err != nil {
			return 0, false, err
		}
	}
	q.back++
	q.entered(s, 0)
	if large {
		if _, err := t.exec(`INSERT INTO caddis_payload (seq, data) SELECT seq, ? FROM caddis_job WHERE queue = ? AND id = ?`, n.Payload, q.id, n.ID); err != nil {
			return 0, false, err
		}
	}
	return s, false, nil
}
