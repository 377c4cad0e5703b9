package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/caddis-go/caddis/backend"
)

// inLane is by how much the level of a job is higher in its row while it waits in its lane.
const inLane = 10

// turns is how it stands between the lanes of a level: the virtual time, and when those
// without a lane start.
type turns struct{ now, list int64 }

func (q *queue) turns(level int64) (t turns, err error) {
	_, err = one(q.t, `SELECT now, list FROM caddis_turns WHERE queue = ? AND level = ?`, []any{q.id, level}, &t.now, &t.list)
	return t, err
}

func (q *queue) saveTurns(level int64, t turns) error {
	_, err := q.t.exec(`INSERT OR REPLACE INTO caddis_turns (queue, level, now, list) VALUES (?, ?, ?, ?)`, q.id, level, t.now, t.list)
	return err
}

// over has the virtual time pass all lanes of a level in which nothing waits: nobody has
// anything coming to him.
func (q *queue) over(level int64, t *turns) error {
	var last sql.NullInt64
	_, err := one(q.t, `SELECT max(at) FROM caddis_lane WHERE queue = ? AND level = ? AND waiting = 0`, []any{q.id, level}, &last)
	t.now = max(t.now, t.list, last.Int64)
	return err
}

// countLaned counts unfinished jobs with lanes, and lanes; triggers count those that end.
func (q *queue) countLaned(n int64) error {
	if n == 0 {
		return nil
	}
	q.laned = max(0, q.laned+n)
	_, err := q.t.exec(`UPDATE caddis_queue SET laned = laned + ? WHERE id = ?`, n, q.id)
	return err
}

// assign gives a stored job its lane.
func (q *queue) assign(id, lane string) error {
	j, err := q.get(id)
	if err != nil || j == nil {
		return err
	}
	if _, err := q.t.exec(`UPDATE caddis_job SET lane = ? WHERE seq = ?`, lane, j.seq); err != nil {
		return err
	}
	if err := q.countLaned(1); err != nil || j.state != waiting {
		return err
	}
	j.lane = lane
	return q.enlane(j)
}

// enlane has a job, which waits with those of its level, wait in its lane instead.
func (q *queue) enlane(j *job) error {
	if _, err := q.t.exec(`UPDATE caddis_job SET level = ? WHERE seq = ?`, j.level+inLane, j.seq); err != nil {
		return err
	}
	var at, first, waits int64
	known, err := one(q.t, `SELECT at, first, waiting FROM caddis_lane WHERE queue = ? AND level = ? AND lane = ?`, []any{q.id, j.level, j.lane}, &at, &first, &waits)
	if err != nil {
		return err
	}
	if waits == 0 {
		first = j.rank
		if at, err = q.laneStart(j.level, at); err != nil {
			return err
		}
	}
	if _, err := q.t.exec(`INSERT OR REPLACE INTO caddis_lane (queue, level, lane, at, first, waiting) VALUES (?, ?, ?, ?, ?, ?)`,
		q.id, j.level, j.lane, at, first, waits+1); err != nil || known {
		return err
	}
	return q.countLaned(1)
}

// laneStart is when a lane starts that comes to have work, and may start at an instant.
func (q *queue) laneStart(level, at int64) (int64, error) {
	t, err := q.turns(level)
	if err != nil {
		return 0, err
	}
	var others bool
	if _, err := one(q.t, `SELECT EXISTS (SELECT 1 FROM caddis_lane WHERE queue = ?1 AND level = ?2 AND waiting > 0)
		OR EXISTS (SELECT 1 FROM caddis_job WHERE queue = ?1 AND state = 1 AND level = ?2)`, []any{q.id, level}, &others); err != nil {
		return 0, err
	}
	if !others {
		err := q.over(level, &t)
		if err == nil {
			err = q.saveTurns(level, t)
		}
		if err != nil {
			return 0, err
		}
	}
	return max(at, t.now), nil
}

// sortIn has those of the jobs that wait since a rank wait in their lanes that have some.
func (q *queue) sortIn(since int64) error {
	if q.laned == 0 {
		return nil
	}
	found, err := lean(q.t, `SELECT `+leanColumns+` FROM caddis_job
		WHERE queue = ? AND state = 1 AND level IN (0, 1, 2, 3, 4) AND rank > ? AND lane IS NOT NULL ORDER BY rank`, q.id, since)
	for i := 0; i < len(found) && err == nil; i++ {
		err = q.enlane(found[i])
	}
	return err
}

// forgetLanes forgets lanes without work that the virtual time has passed.
func (q *queue) forgetLanes() error {
	if q.laned == 0 {
		return nil
	}
	n, err := q.t.exec(`DELETE FROM caddis_lane WHERE queue = ?1 AND (level, lane) IN (
		SELECT l.level, l.lane FROM caddis_turns AS t JOIN caddis_lane AS l ON l.queue = t.queue AND l.level = t.level AND l.waiting = 0 AND l.at <= t.now
		WHERE t.queue = ?1 LIMIT ?2)`, q.id, tidyBound)
	if err != nil {
		return err
	}
	return q.countLaned(-n)
}

// cost is what a job costs its lane.
func (j *job) cost() int64 {
	var o options
	if j.options != "" {
		_ = json.Unmarshal([]byte(j.options), &o) // what cannot be read is leased all the same, and ends dead
	}
	if o.Lane == nil {
		return backend.Lane{}.Cost()
	}
	return o.Lane.Cost()
}

// lanes offers the jobs that wait at a level, by turns of their lanes. It reports whether more
// can be taken.
func (s *server) lanes(level int64) (more bool, err error) {
	q := s.q
	t, err := q.turns(level)
	saved := t
	for err == nil {
		var j *job
		var start, then int64
		if j, start, then, err = q.next(level, t); err != nil {
			break
		}
		if j == nil {
			err = q.over(level, &t)
			more = true
			break
		}
		before, laned := len(s.leases), j.lined
		if more, err = s.offer(j); err != nil || !more {
			break
		}
		switch {
		case len(s.leases) == before || j.rank < 0: // it is parked, or came back to the front
		case laned:
			t.now = start
			_, err = q.t.exec(`UPDATE caddis_lane SET at = ?, first = ? WHERE queue = ? AND level = ? AND lane = ?`, start+j.cost(), then, q.id, level, j.lane)
		default:
			t.now, t.list = start, start+backend.Lane{}.Cost()
		}
	}
	if err == nil && t != saved {
		err = q.saveTurns(level, t)
	}
	return more && err == nil, err
}

// next is the next of the jobs that wait at a level, when it starts, and the rank of the one
// behind it in its lane; nil if none waits.
func (q *queue) next(level int64, t turns) (j *job, start, then int64, err error) {
	found, err := lean(q.t, `SELECT `+leanColumns+` FROM caddis_job WHERE queue = ? AND state = 1 AND level = ? ORDER BY rank LIMIT 1`, q.id, level)
	if err != nil {
		return nil, 0, 0, err
	}
	start = max(t.list, t.now)
	if len(found) > 0 && found[0].rank < 0 {
		return found[0], start, 0, nil
	}
	var lane string
	var at int64
	laned, err := one(q.t, `SELECT lane, at FROM caddis_lane WHERE queue = ? AND level = ? AND waiting > 0 ORDER BY at, first LIMIT 1`, []any{q.id, level}, &lane, &at)
	if laned && err == nil && (len(found) == 0 || at < start) {
		start = at
		found, err = lean(q.t, `SELECT `+leanColumns+` FROM caddis_job WHERE queue = ? AND state = 1 AND level >= 10 AND level = ? AND lane = ? ORDER BY rank LIMIT 2`,
			q.id, level+inLane, lane)
		if len(found) > 1 {
			then = found[1].rank
		}
	}
	if len(found) == 0 || err != nil {
		return nil, 0, 0, err
	}
	return found[0], start, then, nil
}

// Lanes implements backend.Inspector.
func (b *Backend) Lanes(ctx context.Context, query backend.LanesQuery) (info backend.LanesInfo, err error) {
	const op = "lanes"
	if err := backend.CheckQueue(query.Queue); err != nil {
		return info, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	err = b.write(ctx, op, query.Queue, 1, func(t *txn) error {
		info = backend.LanesInfo{Queue: query.Queue}
		q, err := t.find(query.Queue)
		if q == nil || err != nil {
			return err
		}
		if _, err := q.tidy(false); err != nil {
			return err
		}
		err = each(t, `SELECT lane, waiting FROM caddis_lane WHERE queue = ? AND waiting > 0 ORDER BY level, at LIMIT ?`,
			[]any{q.id, backend.LanesLook + 1}, func(rows *sql.Rows) error {
				var l backend.LaneInfo
				err := rows.Scan(&l.Key, &l.Waiting)
				info.Lanes = append(info.Lanes, l)
				return err
			})
		if info.More = len(info.Lanes) > backend.LanesLook; info.More {
			info.Lanes = info.Lanes[:backend.LanesLook]
		}
		info.Longest()
		if err != nil {
			return err
		}
		j, err := q.get(query.Job)
		if j == nil || !j.lined || err != nil {
			return err
		}
		_, err = one(t, `SELECT count(*) FROM caddis_job WHERE queue = ? AND state = 1 AND level >= 10 AND level = ? AND lane = ? AND rank <= ?`,
			[]any{q.id, j.level + inLane, j.lane, j.rank}, &info.Place)
		return err
	})
	return info, err
}
