package sqlite

import (
	"database/sql"

	"github.com/caddis-go/caddis/backend"
)

// state is how the file says a backend.State.
type state int64

const (
	scheduled state = iota
	waiting
	blocked
	running
	completed
	cancelled
	dead
	states
)

func (s state) public() backend.State { return backend.States[s] }

func (s state) final() bool { return s >= completed }

// forGood is a pause without an end.
const forGood = 1

// numbers are those of a queue, in the order of queueColumns. paused is 0, forGood, or
// until when.
type numbers struct {
	id, paused, front, back int64
	// count is how many jobs are in each state, bytes what the finished ones weigh.
	count [states]int64
	bytes [states - completed]int64
	ever  struct{ completed, failed, cancelled, dead, crashed, trimmed int64 }
	// limited is how many unfinished jobs have limits; triggers count those that end.
	limited int64
	// laned is how many unfinished jobs have lanes, and how many lanes are known.
	laned int64
}

const queueColumns = `id, paused, front, back,
	scheduled, waiting, blocked, running, completed, cancelled, dead,
	completed_bytes, cancelled_bytes, dead_bytes,
	ever_completed, ever_failed, ever_cancelled, ever_dead, ever_crashed, ever_trimmed, limited, laned`

func (n *numbers) fields() []any {
	return []any{
		&n.id, &n.paused, &n.front, &n.back,
		&n.count[0], &n.count[1], &n.count[2], &n.count[3], &n.count[4], &n.count[5], &n.count[6],
		&n.bytes[0], &n.bytes[1], &n.bytes[2],
		&n.ever.completed, &n.ever.failed, &n.ever.cancelled, &n.ever.dead, &n.ever.crashed, &n.ever.trimmed,
		&n.limited, &n.laned,
	}
}

// queue is a queue within a transaction.
type queue struct {
	numbers
	t      *txn
	name   string
	paused bool
	saved  numbers
	// nextDue is when the next scheduled job is due; nil if nobody has asked yet.
	nextDue *int64
	// classes are those of its limits that were read.
	classes map[string]*class
	// trimmed is how many finished jobs were removed for lack of room.
	trimmed int
}

// find returns the queue of this name, or nil.
func (t *txn) find(name string) (*queue, error) {
	if q := t.queues[name]; q != nil {
		return q, nil
	}
	q := &queue{t: t, name: name}
	found, err := one(t, `SELECT `+queueColumns+` FROM caddis_queue WHERE name = ?`, []any{name}, q.fields()...)
	if !found || err != nil {
		return nil, err
	}
	q.saved, q.paused = q.numbers, q.numbers.pausedAt(t.now)
	t.queues[name] = q
	return q, nil
}

// queue returns the queue of this name and makes it where there is none.
func (t *txn) queue(name string) (*queue, error) {
	q, err := t.find(name)
	if q != nil || err != nil {
		return q, err
	}
	if _, err := t.exec(`INSERT INTO caddis_queue (name) VALUES (?)`, name); err != nil {
		return nil, err
	}
	t.commands = append(t.commands, backend.Command{Verb: backend.CommandQueue, Queue: name})
	return t.find(name)
}

// pausedAt reports whether the queue is paused at an instant.
func (n *numbers) pausedAt(now int64) bool { return n.paused == forGood || n.paused > now }

// pausedUntil is when the pause ends by itself; 0 if it does not.
func (n *numbers) pausedUntil() int64 {
	if n.paused == forGood {
		return 0
	}
	return n.paused
}

// setPaused pauses the queue, if until is not 0.
func (q *queue) setPaused(until int64) { q.paused, q.numbers.paused = until != 0, until }

// save writes the numbers of a queue if they have changed.
func (q *queue) save() error {
	if q.numbers == q.saved {
		return nil
	}
	n := &q.numbers
	_, err := q.t.exec(`UPDATE caddis_queue SET paused = ?, front = ?, back = ?,
		scheduled = ?, waiting = ?, blocked = ?, running = ?, completed = ?, cancelled = ?, dead = ?,
		completed_bytes = ?, cancelled_bytes = ?, dead_bytes = ?,
		ever_completed = ?, ever_failed = ?, ever_cancelled = ?, ever_dead = ?, ever_crashed = ?, ever_trimmed = ?
		WHERE id = ?`,
		n.paused, n.front, n.back,
		n.count[0], n.count[1], n.count[2], n.count[3], n.count[4], n.count[5], n.count[6],
		n.bytes[0], n.bytes[1], n.bytes[2],
		n.ever.completed, n.ever.failed, n.ever.cancelled, n.ever.dead, n.ever.crashed, n.ever.trimmed, n.id)
	q.saved = q.numbers
	return err
}

// info is what the numbers say to people at an instant.
func (n *numbers) info(name string, now int64) backend.QueueInfo {
	info := backend.QueueInfo{
		Name: name, Paused: n.pausedAt(now), Shards: 1,
		Counts:    make(map[backend.State]int64, states),
		Completed: n.ever.completed, Failed: n.ever.failed, Cancelled: n.ever.cancelled,
		Dead: n.ever.dead, Crashed: n.ever.crashed, Trimmed: n.ever.trimmed,
	}
	if info.Paused {
		info.PausedUntil = instant(n.pausedUntil())
	}
	for s := range states {
		info.Counts[s.public()] = n.count[s]
	}
	return info
}

// comings reads when something comes up in a queue by the passing of time: a
// scheduled job is due, a lease expires, a finished job is forgotten; 0 for never.
func (q *queue) comings() (due, expiry, forget int64, err error) {
	if q.count[scheduled]+q.count[running]+q.count[completed]+q.count[cancelled]+q.count[dead] == 0 {
		return 0, 0, 0, nil
	}
	var d, e, f sql.NullInt64
	_, err = one(q.t, `SELECT
		(SELECT min(at) FROM caddis_job WHERE queue = ?1 AND state = 0),
		(SELECT min(at) FROM caddis_job WHERE queue = ?1 AND state = 3),
		(SELECT min(at) FROM caddis_job WHERE queue = ?1 AND state >= 4 AND at > 0)`, []any{q.id}, &d, &e, &f)
	return d.Int64, e.Int64, f.Int64, err
}
