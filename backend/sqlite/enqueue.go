package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// Enqueue implements backend.Producer. The call is atomic over all its queues.
func (b *Backend) Enqueue(ctx context.Context, jobs []backend.NewJob) ([]backend.Receipt, error) {
	return b.enqueue(jobs, false, func(run func(t *txn) error) error {
		return b.write(ctx, "enqueue", "", len(jobs), run)
	})
}

// enqueue stores jobs within a transaction: all or, unless whole is set, those that no limit
// refuses.
func (b *Backend) enqueue(jobs []backend.NewJob, whole bool, within func(run func(t *txn) error) error) (receipts []backend.Receipt, err error) {
	if err := backend.CheckJobs(jobs); err != nil {
		return nil, err
	}
	for _, fresh := range []bool{true, false} {
		err = within(func(t *txn) (err error) {
			receipts, err = t.enqueue(jobs, fresh)
			if whole && err == nil {
				err = refusal(receipts)
			}
			return err
		})
		if !errors.Is(err, errNotFresh) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return receipts, refusal(receipts)
}

// refusal is why the first job that was not stored was not.
func refusal(receipts []backend.Receipt) error {
	for i := range receipts {
		if receipts[i].Err != nil {
			return receipts[i].Err
		}
	}
	return nil
}

// errNotFresh means that an id was said to be new and is not.
var errNotFresh = errors.New("an id that was said to be new is held already")

// enqueue stores jobs. If those are believed that are said to be fresh, they are stored
// by many.
func (t *txn) enqueue(jobs []backend.NewJob, fresh bool) ([]backend.Receipt, error) {
	receipts := make([]backend.Receipt, 0, len(jobs))
	for i := 0; i < len(jobs); {
		n := &jobs[i]
		q, err := t.queue(n.Queue)
		if err != nil {
			return nil, err
		}
		if many := jobs[i:min(i+sheaf, len(jobs))]; fresh && bindable(many) {
			states, err := q.addMany(many)
			if err != nil {
				return nil, err
			}
			for k, s := range states {
				receipts = append(receipts, backend.Receipt{Queue: n.Queue, ID: many[k].ID, State: s.public()})
			}
			i += sheaf
			continue
		}
		receipt, err := q.enter(n)
		if err != nil {
			return nil, &backend.Error{Op: "enqueue", Queue: n.Queue, ID: n.ID, Err: classify(err)}
		}
		receipts = append(receipts, receipt)
		i++
	}
	return receipts, nil
}

// sheaf is how many jobs are stored by one statement.
const sheaf = 32

// bindable reports whether jobs are a sheaf: fresh, in one queue, and small.
func bindable(jobs []backend.NewJob) bool {
	for i := range jobs {
		if n := &jobs[i]; !n.Fresh || n.Unique.Held() || len(n.Limits) > 0 || n.Lane.Key != "" || n.Queue != jobs[0].Queue || len(n.Payload) > largePayload {
			return false
		}
	}
	return len(jobs) == sheaf
}

var insertSheaf = func() string {
	rows := make([]string, sheaf)
	for i := range rows {
		p := 4 + i*7 // the first of the parameters of a row
		rows[i] = fmt.Sprintf("(?1, ?%d, ?%d = 0, ?%d, ?2 + %d, ?%d, ?3, max(?%d, ?3), ?%d, ?%d, ?%d, ?%d)",
			p, p+1, p+2, i+1, p+1, p+1, p+3, p+4, p+5, p+6)
	}
	return `INSERT INTO caddis_job (queue, id, state, level, rank, at, enqueued, due, bytes, kind, options, payload)
		VALUES ` + strings.Join(rows, ", ") + ` ON CONFLICT (queue, id) DO NOTHING`
}()

// addMany stores a sheaf of jobs.
func (q *queue) addMany(jobs []backend.NewJob) ([]state, error) {
	states := make([]state, len(jobs))
	args := make([]any, 3, 3+7*len(jobs))
	args[0], args[1], args[2] = q.id, q.back, q.t.now
	for i := range jobs {
		n := &jobs[i]
		options, err := encodeOptions(&n.Job)
		if err != nil {
			return nil, err
		}
		s, at := q.t.begins(n)
		if err := q.hear(s, at); err != nil {
			return nil, err
		}
		states[i] = s
		args = append(args, n.ID, at, backend.PriorityHighest-n.Priority, weigh(&n.Job), n.Kind, options, bytesOf(n.Payload))
	}
	stored, err := q.t.exec(insertSheaf, args...)
	if err == nil && stored != int64(len(jobs)) {
		err = errNotFresh
	}
	for _, s := range states {
		q.back++
		q.entered(s, 0)
	}
	return states, err
}

// begins says in which state a new job begins, and when it is due if that is later.
func (t *txn) begins(n *backend.NewJob) (s state, at int64) {
	switch {
	case n.Delay > 0:
		at = t.later(n.Delay)
	case !n.At.IsZero():
		at = ceilMilli(n.At)
	}
	if at <= t.now {
		return waiting, 0
	}
	return scheduled, at
}

// hear tells who waits of a new job, before it is stored.
func (q *queue) hear(s state, at int64) error {
	if s == scheduled {
		return q.announce(at)
	}
	q.t.tell(q)
	return nil
}

// bytesOf is a payload, which is never NULL.
func bytesOf(payload []byte) []byte {
	if payload == nil {
		return []byte{}
	}
	return payload
}

// enter stores one job, with its key, its limits and its lane if it has some.
func (q *queue) enter(n *backend.NewJob) (backend.Receipt, error) {
	if n.Unique.Held() || len(n.Limits) > 0 || n.Lane.Key != "" {
		return q.addBound(n)
	}
	s, existing, err := q.add(n)
	if err != nil {
		return backend.Receipt{}, err
	}
	return backend.Receipt{Queue: q.name, ID: n.ID, State: s.public(), Existing: existing}, nil
}

// add stores one job, unless the queue holds one of its id.
func (q *queue) add(n *backend.NewJob) (s state, existing bool, err error) {
	t := q.t
	options, err := encodeOptions(&n.Job)
	if err != nil {
		return 0, false, err
	}
	s, at := t.begins(n)
	if err := q.hear(s, at); err != nil {
		return 0, false, err
	}
	large := len(n.Payload) > largePayload
	payload := any(bytesOf(n.Payload))
	if large {
		payload = nil
	}
	for {
		stored, err := t.exec(`INSERT INTO caddis_job (queue, id, state, level, rank, at, enqueued, due, bytes, kind, options, payload)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (queue, id) DO NOTHING`,
			q.id, n.ID, int64(s), backend.PriorityHighest-n.Priority, q.back+1, at, t.now, max(at, t.now), weigh(&n.Job), n.Kind, options, payload)
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
