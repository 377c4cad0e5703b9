package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// standing is a row of caddis_limit: what a job knows of one of its limits.
type standing struct {
	n, spent int64
	hold     backend.SlotHold
	tokens   int
	slot     bool
	pair     string
}

func (q *queue) standings(j *job) (all []standing, err error) {
	err = each(q.t, `SELECT n, pair, hold, cost, slot, spent FROM caddis_limit WHERE job = ? ORDER BY n`, []any{j.seq}, func(rows *sql.Rows) error {
		var s standing
		err := rows.Scan(&s.n, &s.pair, &s.hold, &s.tokens, &s.slot, &s.spent)
		all = append(all, s)
		return err
	})
	return all, err
}

// class has the rules of a class.
type class struct {
	code  backend.LimitRule
	fleet *backend.LimitRule
}

func (c *class) rule() *backend.LimitRule {
	if c.fleet != nil {
		return c.fleet
	}
	return &c.code
}

// class returns the rules of a class, or nil.
func (q *queue) class(name string) (*class, error) {
	if c := q.classes[name]; c != nil {
		return c, nil
	}
	c := &class{}
	var code string
	var fleet sql.NullString
	found, err := one(q.t, `SELECT code, fleet FROM caddis_class WHERE queue = ? AND name = ?`, []any{q.id, name}, &code, &fleet)
	if !found || err != nil {
		return nil, err
	}
	err = json.Unmarshal([]byte(code), &c.code)
	if err == nil && fleet.Valid {
		err = json.Unmarshal([]byte(fleet.String), &c.fleet)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the rule of the limit %q: %w", errStored, name, err)
	}
	if q.classes == nil {
		q.classes = map[string]*class{}
	}
	q.classes[name] = c
	return c, nil
}

// ruleOf is the rule of a pair's class.
func (q *queue) ruleOf(pair string) (*backend.LimitRule, error) {
	name, _, _ := strings.Cut(pair, "/")
	c, err := q.class(name)
	if c == nil {
		return &backend.LimitRule{}, err
	}
	return c.rule(), err
}

// putClass stores the rules of a class, and has all that is parked in it be looked at.
func (q *queue) putClass(name string, c *class) error {
	code, err := json.Marshal(&c.code)
	if err != nil {
		return err
	}
	var fleet any
	if c.fleet != nil {
		text, err := json.Marshal(c.fleet)
		if err != nil {
			return err
		}
		fleet = string(text)
	}
	if _, err := q.t.exec(`INSERT INTO caddis_class (queue, name, code, fleet) VALUES (?, ?, ?, ?)
		ON CONFLICT (queue, name) DO UPDATE SET code = excluded.code, fleet = excluded.fleet`, q.id, name, string(code), fleet); err != nil {
		return err
	}
	delete(q.classes, name)
	marked, err := q.t.exec(`INSERT INTO caddis_ready (queue, pair, at) SELECT ?1, ?2, -1
		WHERE EXISTS (SELECT 1 FROM caddis_job WHERE queue = ?1 AND state = 2 AND key >= ?3 AND key < ?4)
		ON CONFLICT (queue, pair) DO NOTHING`, q.id, name+"\n", backend.ParkKey(name+"/"), backend.ParkKey(name+"0"))
	if marked > 0 {
		q.t.tell(q)
	}
	return err
}

// declare has the rules of a job that is to be stored count from now on.
func (q *queue) declare(n *backend.NewJob) error {
	for i := range n.Limits {
		l := &n.Limits[i]
		c, err := q.class(l.Class)
		if err != nil {
			return err
		}
		if c != nil && c.code == l.Rule {
			continue
		}
		next := &class{code: l.Rule}
		if c != nil {
			next.fleet = c.fleet
		}
		if err := q.putClass(l.Class, next); err != nil {
			return err
		}
	}
	return nil
}

// slots counts the jobs that have a slot of a pair, up to a bound.
func (q *queue) slots(pair string, bound int) (n int, err error) {
	_, err = one(q.t, `SELECT count(*) FROM (SELECT 1 FROM caddis_limit WHERE queue = ? AND pair = ? AND slot = 1 LIMIT ?)`,
		[]any{q.id, pair, bound}, &n)
	return n, err
}

// bucket is when the bucket of a pair is full, in microseconds.
func (q *queue) bucket(pair string) (full int64, err error) {
	_, err = one(q.t, `SELECT full FROM caddis_bucket WHERE queue = ? AND pair = ?`, []any{q.id, pair}, &full)
	return full, err
}

func (q *queue) fill(pair string, full int64) error {
	_, err := q.t.exec(`INSERT OR REPLACE INTO caddis_bucket (queue, pair, full) VALUES (?, ?, ?)`, q.id, pair, full)
	return err
}

// micro is the store's clock in microseconds.
func (t *txn) micro() int64 { return t.now * 1000 }

// refuses returns the limit because of which a new job is not stored, or nil. The job whose
// place it would take does not count.
func (q *queue) refuses(n *backend.NewJob, instead *job) (*backend.Limit, error) {
	for i := range n.Limits {
		l := &n.Limits[i]
		if l.Hold != backend.SlotOnceEnqueued {
			continue
		}
		rule, err := q.ruleOf(l.Pair())
		if err != nil {
			return nil, err
		}
		if rule.Slots > 0 {
			held, own := 0, 0
			if held, err = q.slots(l.Pair(), rule.Slots+1); err == nil && instead != nil {
				_, err = one(q.t, `SELECT 1 FROM caddis_limit WHERE job = ? AND pair = ? AND slot = 1`, []any{instead.seq, l.Pair()}, &own)
			}
			if err != nil || held-own >= rule.Slots {
				return l, err
			}
		}
		if rule.Rate > 0 {
			full, err := q.bucket(l.Pair())
			if err != nil {
				return nil, err
			}
			if allowed, _ := rule.Spend(full, q.t.micro(), l.Tokens()); allowed > q.t.micro() {
				return l, nil
			}
		}
	}
	return nil, nil
}

// enroll has a stored job count against its limits.
func (q *queue) enroll(id string, limits []backend.Limit) error {
	j, err := q.get(id)
	if err != nil || j == nil {
		return err
	}
	if _, err := q.t.exec(`UPDATE caddis_job SET limited = 1 WHERE seq = ?`, j.seq); err != nil {
		return err
	}
	if _, err := q.t.exec(`UPDATE caddis_queue SET limited = limited + 1 WHERE id = ?`, q.id); err != nil {
		return err
	}
	q.limited++
	for i := range limits {
		l := &limits[i]
		once := l.Hold == backend.SlotOnceEnqueued
		if _, err := q.t.exec(`INSERT INTO caddis_limit (job, n, queue, pair, hold, cost, slot) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			j.seq, i, q.id, l.Pair(), int64(l.Hold), l.Tokens(), once); err != nil {
			return err
		}
		if once {
			if _, err := q.spend(l.Pair(), l.Tokens()); err != nil {
				return err
			}
		}
	}
	return nil
}

// spend takes tokens, and answers what the bucket becomes by that, 0 if there is no rate.
func (q *queue) spend(pair string, tokens int) (then int64, err error) {
	rule, err := q.ruleOf(pair)
	if err != nil || rule.Rate == 0 {
		return 0, err
	}
	full, err := q.bucket(pair)
	if err != nil {
		return 0, err
	}
	_, then = rule.Spend(full, q.t.micro(), tokens)
	return then, q.fill(pair, then)
}

// refund gives back the tokens of a job that was leased and not run.
func (q *queue) refund(j *job) error {
	if !j.limited {
		return nil
	}
	all, err := q.standings(j)
	for i := 0; i < len(all) && err == nil; i++ {
		s := &all[i]
		if s.spent == 0 {
			continue
		}
		var rule *backend.LimitRule
		var full int64
		if rule, err = q.ruleOf(s.pair); err == nil {
			full, err = q.bucket(s.pair)
		}
		if err == nil {
			err = q.fill(s.pair, rule.Refund(full, q.t.micro(), s.spent, s.tokens))
		}
		if err == nil {
			_, err = q.t.exec(`UPDATE caddis_limit SET spent = 0 WHERE job = ? AND n = ?`, j.seq, s.n)
		}
		if err == nil {
			err = q.wake(s.pair)
		}
	}
	return err
}

// wake has the first of a pair be looked at by the next lease.
func (q *queue) wake(pair string) error {
	first, err := q.first(pair)
	if err != nil || first == nil {
		return err
	}
	q.t.tell(q)
	return q.readyAt(pair, 0)
}

// readyAt has the first of a pair be looked at at an instant, if it is not to be before.
func (q *queue) readyAt(pair string, at int64) error {
	_, err := q.t.exec(`INSERT INTO caddis_ready (queue, pair, at) VALUES (?, ?, ?)
		ON CONFLICT (queue, pair) DO UPDATE SET at = excluded.at WHERE at > excluded.at`, q.id, pair, at)
	return err
}

func (q *queue) unready(pair string) error {
	_, err := q.t.exec(`DELETE FROM caddis_ready WHERE queue = ? AND pair = ?`, q.id, pair)
	return err
}

// first is the first of the jobs that are parked at a pair, or nil.
func (q *queue) first(pair string) (*job, error) {
	all, err := lean(q.t, `SELECT `+leanColumns+` FROM caddis_job WHERE queue = ? AND state = 2 AND key = ? ORDER BY rank LIMIT 1`, q.id, backend.ParkKey(pair))
	if len(all) == 0 || err != nil {
		return nil, err
	}
	return all[0], nil
}

// precedence is the rank of a parked job: the higher priority first, then who was parked
// first.
func (j *job) precedence() int64 { return j.level<<48 | j.parked }

// lookAt says when a parked job is to be looked at; 0 if none is known to be, now if it is
// due.
func (q *queue) lookAt() (at int64, err error) {
	if q.limited == 0 || q.paused {
		return 0, nil
	}
	var found sql.NullInt64
	_, err = one(q.t, `SELECT min(at) FROM caddis_ready WHERE queue = ?`, []any{q.id}, &found)
	if !found.Valid {
		return 0, err
	}
	return max(found.Int64, q.t.now), err
}

// forgetBuckets forgets buckets that are full.
func (q *queue) forgetBuckets() error {
	_, err := q.t.exec(`DELETE FROM caddis_bucket WHERE queue = ?1 AND pair IN (
		SELECT pair FROM caddis_bucket WHERE queue = ?1 AND full <= ?2 ORDER BY full LIMIT ?3)`, q.id, q.t.micro(), tidyBound)
	return err
}

// SetLimit implements backend.Limiter.
func (b *Backend) SetLimit(ctx context.Context, queue, name string, rule *backend.LimitRule) error {
	const op = "set limit"
	if err := backend.CheckSetLimit(queue, name, rule); err != nil {
		return &backend.Error{Op: op, Queue: queue, Err: err}
	}
	return b.write(ctx, op, queue, 1, func(t *txn) error {
		q, err := t.queue(queue)
		if err != nil {
			return err
		}
		c, err := q.class(name)
		if err != nil {
			return err
		}
		next := &class{fleet: rule}
		if c != nil {
			next.code = c.code
		}
		return q.putClass(name, next)
	})
}

// Limit implements backend.Limiter.
func (b *Backend) Limit(ctx context.Context, query backend.LimitQuery) (info backend.LimitInfo, err error) {
	const op = "limit"
	if err := query.Check(); err != nil {
		return info, &backend.Error{Op: op, Queue: query.Queue, Err: err}
	}
	err = b.write(ctx, op, query.Queue, 1, func(t *txn) error {
		info = backend.LimitInfo{Queue: query.Queue, Class: query.Class, Key: query.Key, Now: instant(t.now)}
		q, err := t.find(query.Queue)
		var c *class
		if q != nil && err == nil {
			if _, err = q.tidy(false); err == nil {
				c, err = q.class(query.Class)
			}
		}
		switch {
		case err != nil:
			return err
		case c == nil:
			return fmt.Errorf("no job of the queue has had a limit %q: %w", query.Class, backend.ErrNotFound)
		}
		info.Rule, info.Code, info.Fleet = *c.rule(), c.code, c.fleet
		return q.describe(&info, query.Job)
	})
	return info, err
}

// describe fills in how it stands with a limit.
func (q *queue) describe(info *backend.LimitInfo, id string) error {
	pair := (&backend.Limit{Class: info.Class, Key: info.Key}).Pair()
	key := backend.ParkKey(pair)
	if _, err := one(q.t, `SELECT (SELECT count(*) FROM caddis_limit WHERE queue = ?1 AND pair = ?2 AND slot = 1),
		(SELECT count(*) FROM caddis_job WHERE queue = ?1 AND state = 2 AND key = ?3),
		(SELECT count(*) FROM caddis_job WHERE queue = ?1 AND state = 2 AND key = ?3 AND rank <= (
			SELECT rank FROM caddis_job WHERE queue = ?1 AND id = ?4 AND state = 2 AND key = ?3))`,
		[]any{q.id, pair, key, id}, &info.Held, &info.Parked, &info.Place); err != nil {
		return err
	}
	var err error
	if info.Holders, err = namesOf(q.t, `SELECT j.id FROM caddis_limit AS l JOIN caddis_job AS j ON j.seq = l.job
		WHERE l.queue = ? AND l.pair = ? AND l.slot = 1 ORDER BY j.id LIMIT ?`, q.id, pair, backend.MaxHolders); err != nil {
		return err
	}
	if info.Rule.Rate == 0 {
		return nil
	}
	full, err := q.bucket(pair)
	if err != nil {
		return err
	}
	if allowed, _ := info.Rule.Spend(full, q.t.micro(), 1); allowed > q.t.micro() {
		info.NextToken = instant((allowed + 999) / 1000)
	}
	return nil
}
