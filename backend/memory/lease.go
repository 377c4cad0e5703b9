package memory

import (
	"context"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Lease hands out waiting jobs.
func (b *Backend) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	if err := request.Check(); err != nil {
		return backend.LeaseReply{}, &backend.Error{Op: "lease", Err: err}
	}
	if err := b.lock(ctx, "lease"); err != nil {
		return backend.LeaseReply{}, err
	}
	defer b.mu.Unlock()
	now := b.now()
	c := b.caller(request.Worker)
	repeated := c.token == request.Token
	if !repeated {
		clear(c.leased)
		c.token, c.leased = request.Token, c.leased[:0]
	}
	reply := backend.LeaseReply{Now: instant(now)}
	zero, expires := b.zero(now), b.clock.read()+request.Duration
	var next int64
	for _, name := range request.Queues {
		q := b.queue(name)
		reply.Reclaimed += q.reclaim(now)
		q.tidy(now)
		if q.isPaused() {
			reply.Paused = append(reply.Paused, name)
		} else {
			heldBack := !repeated && q.handOut(c, &request, expires, now)
			if q.leasable(request.Unblock, now) {
				reply.More = reply.More || !heldBack
				q.ring()
			}
		}
		if at := q.next(zero); at != 0 && (next == 0 || at < next) {
			next = at
		}
		reply.Blocked = q.blockedKeys(reply.Blocked)
	}
	reply.NextDue = instant(next)
	if !repeated && len(c.leased) > 0 {
		b.watch(b.clock.runs(request.Duration))
	}
	if len(c.leased) > 0 {
		reply.Leases = make([]backend.Lease, 0, len(c.leased))
	}
	for _, j := range c.leased {
		if j.state == backend.StateRunning && j.token == request.Token {
			reply.Leases = append(reply.Leases, j.lease(zero))
		}
	}
	return reply, nil
}

// handOut leases jobs to a caller until it has as many as it asked for. It reports whether
// it ended at a job that is not leased ahead.
func (q *queue) handOut(c *caller, request *backend.LeaseRequest, expires time.Duration, now int64) (heldBack bool) {
	// offer leases a job or parks it, or reports that no more can be taken.
	offer := func(j *job) bool {
		if len(c.leased) == request.Max {
			return false
		}
		ahead := len(c.leased) >= request.Max-request.Ahead
		if len(j.standings) > 0 {
			if heldBack = ahead; ahead {
				return false
			}
			if stuck, at := q.admit(j, now); stuck != nil {
				if j.parkedAt != stuck {
					q.lift(j)
					q.park(j, stuck, at)
				} else {
					q.remains(stuck, at)
				}
				return true
			}
		}
		q.lift(j)
		q.run(j, c.worker, c.token, expires)
		j.ahead = ahead
		c.leased = append(c.leased, j)
		return true
	}
	take := func(l *list) bool {
		for l != nil && l.front != nil {
			if !offer(l.front) {
				return false
			}
		}
		return true
	}
	for _, key := range request.Unblock {
		if !take(q.blockedOn[key]) {
			return heldBack
		}
	}
	due := q.dueForALook(now)
	defer func() { q.lookedAt(due, now) }()
	for i := range q.waiting {
		if !due.serve(backend.PriorityHighest-i, now, offer) || !q.takeTurns(i, offer) {
			return heldBack
		}
	}
	return false
}

// leasable reports whether there is something that a Lease could hand out.
func (q *queue) leasable(unblock []string, now int64) bool {
	if p := q.limits.ready.first(); p != nil && p.at <= now {
		return true
	}
	for i := range q.waiting {
		if q.waiting[i].len > 0 {
			return true
		}
	}
	if len(q.lanes) > 0 {
		return true
	}
	for _, key := range unblock {
		if q.blockedOn[key] != nil {
			return true
		}
	}
	return false
}

// blockedKeys adds the keys of blocked jobs to those of other queues.
func (q *queue) blockedKeys(keys []string) []string {
	known := len(keys)
	for _, l := range q.blocked {
		if len(keys) == backend.MaxBlockedKeys {
			break
		}
		if !slices.Contains(keys[:known], l.key) {
			keys = append(keys, l.key)
		}
	}
	return keys
}
