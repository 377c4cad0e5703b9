package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Renew prolongs leases. One that has expired and was not yet taken back is
// prolonged too.
func (b *Backend) Renew(ctx context.Context, request backend.RenewRequest) ([]backend.RenewResult, error) {
	err := backend.CheckLease(request.Duration)
	switch {
	case err != nil:
	case request.Worker == "":
		err = fmt.Errorf("%w: the renewal names no worker", backend.ErrRejected)
	case len(request.Leases) > backend.MaxBatch:
		err = fmt.Errorf("%w: %d leases in one call, %d are allowed", backend.ErrRejected, len(request.Leases), backend.MaxBatch)
	}
	if err != nil {
		return nil, &backend.Error{Op: "renew", Err: err}
	}
	if err := b.lock(ctx, "renew"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	expires := now() + int64(request.Duration)
	results := make([]backend.RenewResult, len(request.Leases))
	for i := range request.Leases {
		h := &request.Leases[i]
		q := b.queues[h.Queue]
		j := q.held(h.ID, h.Token)
		if j == nil {
			results[i].Lost = true
			continue
		}
		q.running.remove(j)
		j.expires = expires
		q.running.insertSorted(j, expires)
		if h.Progress != nil {
			b.bytes -= j.size()
			j.setProgress(h.Progress)
			b.bytes += j.size()
		}
		results[i].CancelRequested = j.cancelRequested
	}
	return results, nil
}

// Sweep takes back expired leases and forgets finished jobs whose time is up.
func (b *Backend) Sweep(ctx context.Context, request backend.SweepRequest) (backend.SweepReply, error) {
	err := backend.CheckQueues(request.Queues)
	if err == nil {
		err = backend.CheckLease(request.Duration)
	}
	if err != nil {
		return backend.SweepReply{}, &backend.Error{Op: "sweep", Err: err}
	}
	if err := b.lock(ctx, "sweep"); err != nil {
		return backend.SweepReply{}, err
	}
	defer b.mu.Unlock()
	now := now()
	var reply backend.SweepReply
	for _, name := range request.Queues {
		q := b.queue(name)
		waited := q.waits()
		reclaimed := q.reclaim(now)
		forgotten := q.tidy(now)
		reply.Reclaimed += reclaimed
		reply.Trimmed += forgotten
		reply.More = reply.More || reclaimed >= tidyBound || forgotten >= tidyBound
		if j := q.running.front; j != nil {
			if in := time.Duration(max(1, j.expires-now)); reply.Next == 0 || in < reply.Next {
				reply.Next = in
			}
		}
		reply.Blocked = q.blockedKeys(reply.Blocked)
		q.tell(q.waits() > waited)
	}
	return reply, nil
}
