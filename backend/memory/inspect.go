package memory

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Job returns one job.
func (b *Backend) Job(ctx context.Context, queue, id string) (backend.JobInfo, error) {
	if err := b.lock(ctx, "job"); err != nil {
		return backend.JobInfo{}, err
	}
	defer b.mu.Unlock()
	if q := b.queues[queue]; q != nil {
		q.tidy(b.now())
		if j := q.jobs[id]; j != nil {
			return j.info(b.zero(b.now())), nil
		}
	}
	return backend.JobInfo{}, &backend.Error{Op: "job", Queue: queue, ID: id, Err: backend.ErrNotFound}
}

// Queues returns all queues by name.
func (b *Backend) Queues(ctx context.Context) ([]backend.QueueInfo, error) {
	if err := b.lock(ctx, "queues"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	now := b.now()
	infos := make([]backend.QueueInfo, 0, len(b.queues))
	for _, name := range slices.Sorted(maps.Keys(b.queues)) {
		q := b.queues[name]
		q.tidy(now)
		infos = append(infos, q.info())
	}
	return infos, nil
}

// QueueNames returns the names of all queues.
func (b *Backend) QueueNames(ctx context.Context) ([]string, error) {
	if err := b.lock(ctx, "queue names"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.queues)), nil
}

// Queue returns one queue.
func (b *Backend) Queue(ctx context.Context, name string) (backend.QueueInfo, error) {
	if err := b.lock(ctx, "queue"); err != nil {
		return backend.QueueInfo{}, err
	}
	defer b.mu.Unlock()
	q := b.queues[name]
	if q == nil {
		return backend.QueueInfo{}, &backend.Error{Op: "queue", Queue: name, Err: backend.ErrNotFound}
	}
	q.tidy(b.now())
	return q.info(), nil
}

func (q *queue) info() backend.QueueInfo {
	info := backend.QueueInfo{
		Name:      q.name,
		Paused:    q.isPaused(),
		Shards:    1,
		Completed: q.completed,
		Failed:    q.failed,
		Cancelled: q.cancelled,
		Dead:      q.dead,
		Crashed:   q.crashed,
		Trimmed:   q.trimmed,
		Counts:    make(map[backend.State]int64, len(backend.States)),
	}
	info.PausedUntil = instant(q.pausedUntil)
	for _, state := range backend.States {
		var n int
		for _, l := range q.lists(state) {
			n += l.len
		}
		info.Counts[state] = int64(n)
	}
	info.OldestWaiting = q.oldestWaiting()
	return info
}

func (q *queue) oldestWaiting() time.Time {
	var oldest time.Time
	look := func(l *list) {
		if j := l.front; j != nil && (oldest.IsZero() || j.EnqueuedAt.Before(oldest)) {
			oldest = j.EnqueuedAt
		}
	}
	for i := range q.waiting {
		look(&q.waiting[i])
		if ready := q.turns[i].ready; len(ready) > 0 {
			look(&ready[0].line)
		}
	}
	return oldest
}

// lists returns the lists that hold the jobs of a state, by their serials.
func (q *queue) lists(state backend.State) []*list {
	switch state {
	case backend.StateScheduled:
		return []*list{&q.scheduled}
	case backend.StateWaiting:
		lists := make([]*list, priorities, priorities+len(q.lanes))
		for i := range q.waiting {
			lists[i] = &q.waiting[i]
		}
		return append(lists, q.lanes...)
	case backend.StateBlocked:
		return slices.Concat(q.blocked, q.limits.lines)
	case backend.StateRunning:
		return []*list{&q.running}
	default:
		return []*list{&q.final(state).list}
	}
}
