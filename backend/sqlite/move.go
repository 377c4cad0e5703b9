package sqlite

import (
	"database/sql"
	"encoding/json"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// tidyBound is how many jobs one call moves of its own accord: due ones, expired
// ones, and finished ones that are forgotten, each.
const tidyBound = 1000

// get returns a job of the queue by its id, or nil.
func (q *queue) get(id string) (*job, error) {
	all, err := lean(q.t, `SELECT `+leanColumns+` FROM caddis_job WHERE queue = ? AND id = ?`, q.id, id)
	if len(all) == 0 || err != nil {
		return nil, err
	}
	return all[0], nil
}

// move brings a job into another state. The rest of the job is what its fields say;
// whatever belonged to its lease is taken from it.
func (q *queue) move(j *job, to state) error {
	q.left(j.state, j.bytes)
	q.entered(to, j.bytes)
	if j.limited && to != blocked {
		q.freed()
	}
	j.state = to
	_, err := q.t.exec(`UPDATE caddis_job SET state = ?, rank = ?, at = ?, key = ?, crashes = ?, bytes = ?, history = ?,
		token = NULL, worker = NULL, process = NULL, ahead = 0, cancel = 0, done = 0 WHERE seq = ?`,
		int64(to), j.rank, j.at, orNull(j.key), j.crashes, j.bytes, orNull(j.history), j.seq)
	return err
}

// freed tells who waits that there may be room in a limit.
func (q *queue) freed() {
	if q.limited > 0 {
		q.t.tell(q)
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (q *queue) entered(s state, bytes int64) {
	q.count[s]++
	if s.final() {
		q.bytes[s-completed] += bytes
	}
}

func (q *queue) left(s state, bytes int64) {
	q.count[s]--
	if s.final() {
		q.bytes[s-completed] -= bytes
	}
}

// last gives out the rank behind all others.
func (q *queue) last() int64 { q.back++; return q.back }

// wait puts a job behind those of its priority, or of its lane, that wait already.
func (q *queue) wait(j *job) error {
	err := q.waitAt(j, q.last())
	if err == nil && j.lane != "" {
		err = q.enlane(j)
	}
	return err
}

// waitFirst puts it before them.
func (q *queue) waitFirst(j *job) error {
	q.front--
	if err := q.comesBack(j); err != nil {
		return err
	}
	return q.waitAt(j, q.front)
}

func (q *queue) waitAt(j *job, rank int64) error {
	j.rank, j.at, j.key = rank, 0, ""
	q.t.tell(q)
	return q.move(j, waiting)
}

// putOff schedules a job, or lets it wait if there is no delay.
func (q *queue) putOff(j *job, delay time.Duration) error {
	if delay <= 0 {
		return q.wait(j)
	}
	j.rank, j.at, j.key = q.last(), q.t.later(delay), ""
	if err := q.announce(j.at); err != nil {
		return err
	}
	return q.move(j, scheduled)
}

// announce tells who waits of a job that is to be scheduled, before it is stored: they
// have to know if it is the next one due.
func (q *queue) announce(due int64) error {
	if q.nextDue == nil {
		var at sql.NullInt64
		if q.count[scheduled] > 0 {
			if _, err := one(q.t, `SELECT min(at) FROM caddis_job WHERE queue = ? AND state = 0`, []any{q.id}, &at); err != nil {
				return err
			}
		}
		q.nextDue = &at.Int64
	}
	if *q.nextDue == 0 || due < *q.nextDue {
		*q.nextDue = due
		q.t.tell(q)
	}
	return nil
}

func (q *queue) block(j *job, key string) error {
	j.rank, j.at, j.key = q.last(), 0, key
	q.t.tell(q)
	if err := q.comesBack(j); err != nil {
		return err
	}
	return q.move(j, blocked)
}

// finish ends a job, and keeps it as long as the retention says. Keep is that of a
// Settlement.
func (q *queue) finish(j *job, to state, keep time.Duration) error {
	q.ended(to)
	keep = q.t.store.keep(to, keep)
	if keep < 0 {
		return q.remove(j)
	}
	j.rank, j.at, j.key = q.last(), 0, ""
	if keep > 0 {
		j.at = q.t.later(keep)
	}
	return q.move(j, to)
}

func (q *queue) ended(as state) {
	switch as {
	case completed:
		q.ever.completed++
	case cancelled:
		q.ever.cancelled++
	default:
		q.ever.dead++
	}
}

// bounds is what is kept of the jobs in a final state.
func (b *Backend) bounds(s state) backend.Retention {
	switch s {
	case completed:
		return b.config.Retention.Completed
	case cancelled:
		return b.config.Retention.Cancelled
	}
	return b.config.Retention.Dead
}

// keep is how long a finished job is kept: 0 for ever, negative not at all.
func (b *Backend) keep(s state, asked time.Duration) time.Duration {
	if asked == 0 {
		asked = b.bounds(s).Age
		if asked == 0 && s == completed {
			asked = -1
		}
	}
	return asked
}

func (q *queue) remove(j *job) error {
	q.left(j.state, j.bytes)
	q.freed()
	_, err := q.t.exec(`DELETE FROM caddis_job WHERE seq = ?`, j.seq)
	return err
}

// trim removes finished jobs beyond the bounds of count and bytes, the oldest first.
func (q *queue) trim() error {
	for s := completed; s < states; s++ {
		bounds := q.t.store.bounds(s)
		full := func() bool {
			return bounds.Count > 0 && q.count[s] > int64(bounds.Count) || bounds.Bytes > 0 && q.bytes[s-completed] > bounds.Bytes
		}
		if !full() {
			continue
		}
		oldest, err := lean(q.t, `SELECT `+leanColumns+` FROM caddis_job WHERE state >= 4 AND queue = ? AND state = ? ORDER BY rank LIMIT ?`,
			q.id, int64(s), backend.MaxBatch)
		if err != nil {
			return err
		}
		for i := 0; i < len(oldest) && full(); i++ {
			q.ever.trimmed++
			q.trimmed++
			if err := q.remove(oldest[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes finished jobs whose time is up.
func (q *queue) forget() (forgotten int, err error) {
	err = each(q.t, `DELETE FROM caddis_job WHERE seq IN (
			SELECT seq FROM caddis_job WHERE queue = ? AND state >= 4 AND at > 0 AND at <= ? ORDER BY at LIMIT ?)
		RETURNING state, bytes`, []any{q.id, q.t.now, tidyBound}, func(rows *sql.Rows) error {
		var s state
		var bytes int64
		forgotten++
		err := rows.Scan(&s, &bytes)
		q.left(s, bytes)
		return err
	})
	return forgotten, err
}

// promote lets due jobs wait, in the order in which they became due.
func (q *queue) promote() error {
	before := q.back
	n, err := q.t.exec(`UPDATE caddis_job SET state = 1, at = 0, rank = ? + due.n FROM (
			SELECT seq AS of, row_number() OVER (ORDER BY at, rank) AS n FROM caddis_job
			WHERE queue = ? AND state = 0 AND at <= ? ORDER BY at, rank LIMIT ?) AS due
		WHERE seq = due.of`, q.back, q.id, q.t.now, tidyBound)
	q.back += n
	q.count[scheduled] -= n
	q.count[waiting] += n
	if err != nil {
		return err
	}
	return q.sortIn(before)
}

// reclaim returns expired leases to the front, the one that expired first foremost.
func (q *queue) reclaim() (reclaimed int, err error) {
	expired, err := lean(q.t, `SELECT `+leanColumns+` FROM caddis_job WHERE queue = ? AND state = 3 AND at <= ? ORDER BY at, seq LIMIT ?`,
		q.id, q.t.now, tidyBound)
	expired = q.t.store.writer.overdue(expired, q.t.store.crew.self())
	for i := len(expired) - 1; i >= 0 && err == nil; i-- {
		j := expired[i]
		if !j.done && (!j.ahead || j.cancel) {
			j.crashes = min(j.crashes+1, backend.MaxCrashes)
			q.ever.crashed++
		}
		switch {
		case j.done:
			err = q.finish(j, completed, j.retention())
		case j.cancel:
			err = q.finish(j, cancelled, 0)
		default:
			err = q.waitFirst(j)
		}
	}
	return len(expired), err
}

// tidy does what has come up by the passing of time, and says what comes next. Leases
// may be left alone: one that has expired and that nobody took over may still be
// settled.
func (q *queue) tidy(leases bool) (found tidied, err error) {
	due, expiry, forget, err := q.comings()
	reached := func(at int64) bool { return at != 0 && at <= q.t.now && err == nil }
	again := reached(due) || leases && reached(expiry)
	if leases && reached(expiry) {
		found.reclaimed, err = q.reclaim()
	}
	if reached(due) {
		err = q.promote()
	}
	if reached(forget) {
		found.forgotten, err = q.forget()
	}
	if again && err == nil {
		due, expiry, _, err = q.comings()
	}
	found.next, found.expiry = earlier(due, expiry), expiry
	return found, err
}

// tidied is what tidy found, when the next lease expires, and when that or the next
// scheduled job is due.
type tidied struct {
	reclaimed, forgotten int
	next, expiry         int64
}

// earlier is the earlier one of two instants, of which 0 is none.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// prolongAll makes all leases last longer.
func (t *txn) prolongAll(by int64) error {
	_, err := t.exec(`UPDATE caddis_job SET at = at + ? WHERE state = 3`, by)
	return err
}

// list is a list for json_each.
func list[T int64 | string](values []T) string {
	text, err := json.Marshal(values)
	if err != nil {
		panic(err) // there is no such number or string
	}
	return string(text)
}
