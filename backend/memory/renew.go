package memory

import (
	"context"
	"fmt"
	"slices"

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
	expires := b.clock.read() + request.Duration
	b.watch(b.clock.runs(request.Duration))
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
		q.running.insertSorted(j, int64(expires))
		if h.Progress != nil {
			b.bytes -= j.size()
			j.setProgress(h.Progress)
			b.bytes += j.size()
		}
		results[i].CancelRequested = j.cancelRequested
	}
	return results, nil
}

// SaveHistory stores the history of a job that is held.
func (b *Backend) SaveHistory(ctx context.Context, held backend.Held, history backend.History) error {
	const op = "save history"
	fail := func(err error) error { return &backend.Error{Op: op, Queue: held.Queue, ID: held.ID, Err: err} }
	if err := backend.CheckHistory(held, &history); err != nil {
		return fail(err)
	}
	if err := b.lock(ctx, op); err != nil {
		return err
	}
	defer b.mu.Unlock()
	j := b.queues[held.Queue].held(held.ID, held.Token)
	if j == nil {
		return fail(backend.ErrState)
	}
	history.Progress = nil
	if j.history != nil {
		history.Progress = j.history.Progress
	}
	b.bytes -= j.size()
	j.setHistory(&history)
	b.bytes += j.size()
	return nil
}

// Sweep takes back expired leases, forgets finished jobs and memos whose time is up, and tells
// for which keys blocked jobs wait.
func (b *Backend) Sweep(ctx context.Context, request backend.SweepRequest) (backend.SweepReply, error) {
	if err := request.Check(); err != nil {
		return backend.SweepReply{}, &backend.Error{Op: "sweep", Err: err}
	}
	if err := b.lock(ctx, "sweep"); err != nil {
		return backend.SweepReply{}, err
	}
	defer b.mu.Unlock()
	now, ran := b.now(), b.clock.read()
	b.memos.forget(now, 1000)
	var reply backend.SweepReply
	for _, name := range request.Queues {
		q := b.queue(name)
		waited := q.waits()
		reclaimed := q.reclaim(now)
		forgotten := q.tidy(now)
		reply.Reclaimed += reclaimed
		reply.Trimmed += forgotten
		reply.Schedules += q.schedules.changes
		reply.More = reply.More || reclaimed >= tidyBound || forgotten >= tidyBound
		if j := q.running.front; j != nil && (reply.Next == 0 || j.expires-ran < reply.Next) {
			reply.Next = max(1, j.expires-ran)
		}
		q.tell(q.waits() > waited)
	}
	for _, key := range request.Keys {
		if b.blocks(request.Queues, key) {
			reply.Blocked = append(reply.Blocked, key)
		}
	}
	return reply, nil
}

// blocks reports whether jobs in one of the queues wait for a key.
func (b *Backend) blocks(queues []string, key string) bool {
	return slices.ContainsFunc(queues, func(name string) bool {
		return b.queues[name].blockedOn[key] != nil
	})
}
