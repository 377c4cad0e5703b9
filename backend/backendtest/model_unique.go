package backendtest

import (
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// unique draws a key, of few, or none.
func (p *player) unique() backend.Unique {
	if rapid.Bool().Draw(p.T, "plain") {
		return backend.Unique{}
	}
	u := backend.Unique{
		Key:      key(rapid.SampledFrom([]byte{1, 2}).Draw(p.T, "key")),
		Hold:     rapid.SampledFrom([]backend.Hold{backend.HoldUntilFinished, backend.HoldUntilStarted, backend.HoldForTime}).Draw(p.T, "hold"),
		Conflict: rapid.SampledFrom([]backend.Conflict{backend.ConflictKeep, backend.ConflictReplace}).Draw(p.T, "conflict"),
	}
	if u.Hold == backend.HoldForTime {
		u.For = never
	}
	return u
}

// hold has a new job hold its key.
func (m *model) hold(e *entry, unique backend.Unique) {
	if e.unique = unique; unique.Held() {
		m.keys[unique.Key] = e.job.ID
	}
}

// meet looks whether another job holds the key of a new one, and returns that one, in whose
// place the new one is stored if it may; nil if nothing keeps the new one from being stored
// as it is.
func (m *model) meet(n *backend.NewJob, receipt *backend.Receipt) *entry {
	id, held := m.keys[n.Unique.Key]
	if !n.Unique.Held() {
		return nil
	}
	if !held {
		receipt.Holder = n.ID
		return nil
	}
	e := m.jobs[id]
	if e == nil {
		e = &entry{} // it is held for a time, and its job has gone
	}
	unstarted := e.unique.Key == n.Unique.Key && !e.started &&
		(e.state == backend.StateScheduled || e.state == backend.StateWaiting || e.state == backend.StateBlocked)
	if receipt.Existing = id == n.ID; !receipt.Existing {
		receipt.Holder = id
	}
	if receipt.Replaced = unstarted && n.Unique.Conflict == backend.ConflictReplace; !receipt.Replaced {
		return e
	}
	instead := *n
	instead.ID = id
	return m.add(instead, e)
}

// moved ends the hold of a job that has come into a state which ends it.
func (m *model) moved(e *entry) {
	e.started = e.started || e.state == backend.StateRunning
	if e.unique.Hold == backend.HoldUntilStarted && e.started || e.unique.Hold != backend.HoldForTime && e.state.Final() {
		m.free(e)
	}
	if e.state.Final() {
		e.unique = backend.Unique{}
	}
}

// free ends the hold of a job, if it has one.
func (m *model) free(e *entry) {
	if e.unique.Held() && m.keys[e.unique.Key] == e.job.ID {
		delete(m.keys, e.unique.Key)
	}
	e.unique = backend.Unique{}
}
