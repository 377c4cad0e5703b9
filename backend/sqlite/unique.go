package sqlite

import (
	"github.com/caddis-go/caddis/backend"
)

// holder is a job that holds a unique key.
type holder struct {
	id string
	// job is nil if the key is held for a time and its job is forgotten.
	job *job
	// unstarted is set if the job is there, and was not leased yet.
	unstarted bool
}

// holder returns the job that holds a key, or nil. A key whose time is up, or whose job
// has vanished, is free.
func (q *queue) holder(key backend.Key) (*holder, error) {
	h := &holder{}
	var until int64
	found, err := one(q.t, `SELECT job, until, started = 0 AND EXISTS (
			SELECT 1 FROM caddis_job AS j WHERE j.queue = k.queue AND j.id = k.job AND j.held = k.key)
		FROM caddis_key AS k WHERE queue = ? AND key = ? AND (until = 0 OR until > ?)`,
		[]any{q.id, key[:], q.t.now}, &h.id, &until, &h.unstarted)
	if !found || err != nil {
		return nil, err
	}
	h.job, err = q.get(h.id)
	if err != nil || h.job == nil && until == 0 {
		return nil, err
	}
	return h, nil
}

// gives reports whether the holder gives way to a new job.
func (h *holder) gives(n *backend.NewJob) bool {
	return n.Unique.Conflict == backend.ConflictReplace && h.job != nil && h.unstarted && h.job.state <= blocked
}

// addBound stores a job with a unique key, limits or a lane, unless the queue holds one of its id,
// another one holds its key, or a limit refuses it.
func (q *queue) addBound(n *backend.NewJob) (backend.Receipt, error) {
	receipt := backend.Receipt{Queue: q.name, ID: n.ID}
	there, err := q.get(n.ID)
	if err != nil {
		return receipt, err
	}
	if there != nil && !(there.state.final() && n.ReplaceFinished) {
		receipt.State, receipt.Existing = there.state.public(), true
		return receipt, nil
	}
	var h *holder
	if n.Unique.Held() {
		if h, err = q.holder(n.Unique.Key); err != nil {
			return receipt, err
		}
	}
	job := *n
	if h != nil {
		if receipt.Existing = h.id == n.ID; !receipt.Existing {
			receipt.Holder = h.id
		}
		if receipt.Replaced = h.gives(n); !receipt.Replaced {
			if h.job != nil {
				receipt.State = h.job.state.public()
			}
			return receipt, nil
		}
		job.ID, there = h.id, h.job
	}
	if err := q.declare(n); err != nil {
		return receipt, err
	}
	limit, err := q.refuses(n, there)
	if err != nil {
		return receipt, err
	}
	if limit != nil {
		return backend.Receipt{Queue: q.name, ID: n.ID, Err: &backend.Error{Op: "enqueue", Queue: q.name, ID: n.ID, Err: limit.Refusal()}}, nil
	}
	if h != nil {
		if err := q.remove(h.job); err != nil {
			return receipt, err
		}
	}
	if n.Unique.Held() {
		receipt.Holder = job.ID
	}
	s, _, err := q.add(&job)
	if err != nil {
		return receipt, err
	}
	receipt.State = s.public()
	if n.Unique.Held() {
		err = q.hold(&job)
	}
	if err == nil && len(n.Limits) > 0 {
		err = q.enroll(job.ID, n.Limits)
	}
	if err == nil && n.Lane.Key != "" {
		err = q.assign(job.ID, n.Lane.Key)
	}
	return receipt, err
}

// hold has a stored job hold its key.
func (q *queue) hold(n *backend.NewJob) error {
	until := int64(0)
	if n.Unique.Hold == backend.HoldForTime {
		until = q.t.later(n.Unique.For)
	}
	_, err := q.t.exec(`INSERT OR REPLACE INTO caddis_key (queue, key, job, until) VALUES (?, ?, ?, ?)`, q.id, n.Unique.Key[:], n.ID, until)
	if err == nil {
		_, err = q.t.exec(`UPDATE caddis_job SET hold = ?, held = ? WHERE queue = ? AND id = ?`, int64(n.Unique.Hold), n.Unique.Key[:], q.id, n.ID)
	}
	if err == nil {
		err = q.release(100)
	}
	return err
}

// release frees up to limit keys whose time is up.
func (q *queue) release(limit int) error {
	_, err := q.t.exec(`DELETE FROM caddis_key WHERE queue = ?1 AND key IN (
		SELECT key FROM caddis_key WHERE queue = ?1 AND until > 0 AND until <= ?2 ORDER BY until LIMIT ?3)`, q.id, q.t.now, limit)
	return err
}
