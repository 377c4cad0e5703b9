package sqlite

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// Lease implements backend.Consumer.
func (b *Backend) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	if err := request.Check(); err != nil {
		return backend.LeaseReply{}, &backend.Error{Op: "lease", Err: err}
	}
	var reply backend.LeaseReply
	err := b.write(ctx, "lease", "", request.Max, func(t *txn) (err error) {
		reply, err = t.lease(&request)
		return err
	})
	if err != nil {
		return backend.LeaseReply{}, err
	}
	return reply, nil
}

func (t *txn) lease(request *backend.LeaseRequest) (reply backend.LeaseReply, err error) {
	c, err := t.caller(request.Worker)
	if err != nil {
		return reply, err
	}
	last, nothing := t.store.writer.fruitless.of(request.Worker)
	if !nothing {
		last = c.token
	}
	h := &handOut{t: t, request: request, expires: t.now + millis(request.Duration)}
	repeated := last == request.Token
	reply.Now = instant(t.now)
	var next int64
	for _, name := range request.Queues {
		q, err := t.queue(name)
		if err != nil {
			return reply, err
		}
		found, err := q.tidy(true)
		if err != nil {
			return reply, err
		}
		reply.Reclaimed += found.reclaimed
		if q.paused {
			reply.Paused = append(reply.Paused, name)
			next = earlier(next, q.pausedUntil())
		} else {
			before, heldBack := len(h.leases), false
			if !repeated {
				if heldBack, err = h.from(q); err != nil {
					return reply, err
				}
				if len(h.leases) > before {
					found.next = earlier(found.next, h.expires)
				}
			}
			leasable, err := q.leasable(request.Unblock)
			if err != nil {
				return reply, err
			}
			look, err := q.lookAt()
			if err != nil {
				return reply, err
			}
			if due := look != 0 && look <= t.now; leasable || due {
				reply.More = reply.More || !heldBack
				t.tell(q)
			} else {
				next = earlier(next, look)
			}
		}
		next = earlier(next, found.next)
		if reply.Blocked, err = q.blockedKeys(reply.Blocked); err != nil {
			return reply, err
		}
	}
	reply.NextDue = instant(next)
	if repeated {
		if !nothing {
			reply.Leases, err = h.again(unpack(c.leased))
		}
		return reply, err
	}
	reply.Leases = h.leases
	if len(h.leases) == 0 {
		t.after = append(t.after, func() { t.store.writer.fruitless.put(request.Worker, request.Token) })
		return reply, nil
	}
	t.after = append(t.after, func() { t.store.writer.fruitless.forget(request.Worker) })
	c.token, c.leased = request.Token, pack(h.seqs)
	return reply, t.saveCaller(request.Worker, c)
}

// handOut gives out leases until there are as many as were asked for.
type handOut struct {
	t       *txn
	request *backend.LeaseRequest
	expires int64
	leases  []backend.Lease
	seqs    []int64
}

// from hands out jobs of a queue. It reports whether it ended at one that is not leased
// ahead.
func (h *handOut) from(q *queue) (heldBack bool, err error) {
	if q.limited > 0 || q.laned > 0 {
		if heldBack, err = h.serve(q); err == nil {
			err = q.forgetLanes()
		}
		return heldBack, err
	}
	if q.count[blocked] > 0 {
		for _, key := range h.request.Unblock {
			if err := h.take(q, blocked, `SELECT seq FROM caddis_job WHERE queue = ? AND state = 2 AND key = ? ORDER BY rank LIMIT ?`, q.id, key); err != nil {
				return false, err
			}
		}
	}
	if q.count[waiting] > 0 {
		err = h.take(q, waiting, `SELECT seq FROM caddis_job WHERE queue = ? AND state = 1 ORDER BY level, rank LIMIT ?`, q.id)
	}
	return false, err
}

// take leases those that a query finds, the last ones ahead.
func (h *handOut) take(q *queue, from state, query string, args ...any) error {
	for _, ahead := range []bool{false, true} {
		limit := h.request.Max - len(h.leases)
		if !ahead {
			limit -= h.request.Ahead
		}
		if limit <= 0 {
			continue
		}
		process, err := h.t.process()
		if err != nil {
			return err
		}
		found, err := whole(h.t, `UPDATE caddis_job SET state = 3, at = ?, token = ?, worker = ?, process = ?, ahead = ?, key = NULL
			WHERE seq IN (`+query+`) RETURNING `+jobColumns,
			slices.Concat([]any{h.expires, h.request.Token, h.request.Worker, process, ahead}, args, []any{limit})...)
		if err != nil {
			return err
		}
		slices.SortFunc(found, func(a, b *job) int {
			if from == blocked {
				return cmp.Compare(a.rank, b.rank)
			}
			return cmp.Or(cmp.Compare(a.level, b.level), cmp.Compare(a.rank, b.rank))
		})
		for _, j := range found {
			q.left(from, 0)
			q.entered(running, 0)
			h.leases = append(h.leases, j.lease(q.name))
			h.seqs = append(h.seqs, j.seq)
		}
	}
	return nil
}

// again answers what was handed out before and is still held, and renews it.
func (h *handOut) again(seqs []int64) ([]backend.Lease, error) {
	found, err := whole(h.t, `UPDATE caddis_job SET at = ? WHERE seq IN (SELECT value FROM json_each(?)) AND state = 3 AND token = ? RETURNING `+jobColumns,
		h.expires, list(seqs), h.request.Token)
	if err != nil {
		return nil, err
	}
	names := make(map[int64]string)
	for _, q := range h.t.queues {
		names[q.id] = q.name
	}
	place := make(map[int64]int, len(seqs))
	for i, seq := range seqs {
		place[seq] = i
	}
	slices.SortFunc(found, func(a, b *job) int { return cmp.Compare(place[a.seq], place[b.seq]) })
	var leases []backend.Lease
	for _, j := range found {
		leases = append(leases, j.lease(names[j.queue]))
	}
	return leases, nil
}

// leasable reports whether there is something that a Lease could hand out.
func (q *queue) leasable(unblock []string) (bool, error) {
	if q.count[waiting] > 0 {
		return true, nil
	}
	found, err := q.blockedOn(unblock)
	return len(found) > 0, err
}

// blockedOn returns those of some keys that blocked jobs wait for.
func (q *queue) blockedOn(keys []string) (found []string, err error) {
	if q.count[blocked] == 0 {
		return nil, nil
	}
	for _, key := range keys {
		var n int
		there, err := one(q.t, `SELECT 1 FROM caddis_job WHERE queue = ? AND state = 2 AND key = ? LIMIT 1`, []any{q.id, key}, &n)
		if err != nil {
			return nil, err
		}
		if there {
			found = append(found, key)
		}
	}
	return found, nil
}

// afterParked comes after the keys of all parked jobs.
var afterParked = strings.TrimSuffix(backend.ParkKey(""), ":") + ";"

// blockedKeys adds keys that blocked jobs wait for to those of other queues. It leaps
// from key to key, however many jobs wait for each, and over those of parked ones.
func (q *queue) blockedKeys(keys []string) ([]string, error) {
	if q.count[blocked] == 0 {
		return keys, nil
	}
	last := ""
	for len(keys) < backend.MaxBlockedKeys {
		var key string
		found, err := one(q.t, `SELECT key FROM caddis_job WHERE queue = ? AND state = 2 AND key > ? ORDER BY key LIMIT 1`, []any{q.id, last}, &key)
		if err != nil || !found {
			return keys, err
		}
		if _, _, parked := backend.PairOf(key); parked {
			last = afterParked
			continue
		}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		last = key
	}
	return keys, nil
}
