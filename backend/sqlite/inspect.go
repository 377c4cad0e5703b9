package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Job implements backend.Inspector.
func (b *Backend) Job(ctx context.Context, queue, id string) (backend.JobInfo, error) {
	var info backend.JobInfo
	err := b.readMoved(ctx, "job", queue, func(x executor) error {
		found, err := whole(x, `SELECT `+jobColumns+` FROM caddis_job WHERE queue = (SELECT id FROM caddis_queue WHERE name = ?) AND id = ?`, queue, id)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return &backend.Error{Op: "job", Queue: queue, ID: id, Err: backend.ErrNotFound}
		}
		info = found[0].info(queue)
		return nil
	})
	return info, err
}

// readPatience bounds how long a verb that reads waits for the lock of the file.
const readPatience = 200 * time.Millisecond

// readMoved is read for verbs that tell of single jobs of a queue: those that are due are
// moved first, so that they wait as the counts say. A store that cannot write, or not soon, is
// read as it is.
func (b *Backend) readMoved(ctx context.Context, op, queue string, run func(x executor) error) error {
	due := false
	err := b.read(ctx, op, queue, func(x executor) error {
		now, err := b.readNow(x)
		if err == nil {
			due, err = one(x, `SELECT 1 FROM caddis_job WHERE queue = (SELECT id FROM caddis_queue WHERE name = ?) AND state = 0 AND at <= ? LIMIT 1`,
				[]any{queue, now}, new(int))
		}
		if err != nil || due {
			return err
		}
		return run(x)
	})
	if err != nil || !due {
		return err
	}
	moving, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	_ = b.write(moving, op, queue, 1, func(t *txn) error {
		q, err := t.find(queue)
		if q != nil && err == nil {
			_, err = q.tidy(false)
		}
		return err
	})
	return b.read(ctx, op, queue, run)
}

// Queues implements backend.Inspector.
func (b *Backend) Queues(ctx context.Context) (infos []backend.QueueInfo, err error) {
	err = b.read(ctx, "queues", "", func(x executor) (err error) {
		infos, err = b.queues(x, `ORDER BY name`)
		return err
	})
	return infos, err
}

// QueueNames implements backend.Inspector.
func (b *Backend) QueueNames(ctx context.Context) (names []string, err error) {
	err = b.read(ctx, "queue names", "", func(x executor) error {
		names = nil
		return each(x, `SELECT name FROM caddis_queue ORDER BY name`, nil, func(rows *sql.Rows) error {
			var name string
			err := rows.Scan(&name)
			names = append(names, name)
			return err
		})
	})
	return names, err
}

// Queue implements backend.Inspector.
func (b *Backend) Queue(ctx context.Context, name string) (backend.QueueInfo, error) {
	var info backend.QueueInfo
	err := b.read(ctx, "queue", name, func(x executor) error {
		infos, err := b.queues(x, `WHERE name = ?`, name)
		if err != nil {
			return err
		}
		if len(infos) == 0 {
			return &backend.Error{Op: "queue", Queue: name, Err: backend.ErrNotFound}
		}
		info = infos[0]
		return nil
	})
	return info, err
}

func (b *Backend) queues(x executor, which string, args ...any) ([]backend.QueueInfo, error) {
	infos := []backend.QueueInfo{}
	var ids []int64
	now, err := b.readNow(x)
	if err != nil {
		return nil, err
	}
	err = each(x, `SELECT name, `+queueColumns+` FROM caddis_queue `+which, args, func(rows *sql.Rows) error {
		var name string
		var n numbers
		if err := rows.Scan(append([]any{&name}, n.fields()...)...); err != nil {
			return err
		}
		infos, ids = append(infos, n.info(name, now)), append(ids, n.id)
		return nil
	})
	for i := 0; i < len(infos) && err == nil; i++ {
		var head int64
		if head, err = countDue(x, ids[i], now, infos[i].Counts); err != nil {
			break
		}
		if infos[i].OldestWaiting = instant(head); head != 0 || infos[i].Counts[backend.StateWaiting] == 0 {
			continue
		}
		// The heads of the priorities.
		var oldest sql.NullInt64
		_, err = one(x, `SELECT min(enqueued) FROM (
			SELECT * FROM (SELECT enqueued FROM caddis_job WHERE queue = ?1 AND state = 1 AND level = 0 ORDER BY rank LIMIT 1) UNION ALL
			SELECT * FROM (SELECT enqueued FROM caddis_job WHERE queue = ?1 AND state = 1 AND level = 1 ORDER BY rank LIMIT 1) UNION ALL
			SELECT * FROM (SELECT enqueued FROM caddis_job WHERE queue = ?1 AND state = 1 AND level = 2 ORDER BY rank LIMIT 1) UNION ALL
			SELECT * FROM (SELECT enqueued FROM caddis_job WHERE queue = ?1 AND state = 1 AND level = 3 ORDER BY rank LIMIT 1) UNION ALL
			SELECT * FROM (SELECT enqueued FROM caddis_job WHERE queue = ?1 AND state = 1 AND level = 4 ORDER BY rank LIMIT 1) UNION ALL
			SELECT * FROM (SELECT enqueued FROM caddis_job WHERE queue = ?1 AND state = 1 AND level >= 10 ORDER BY level, lane, rank LIMIT 1))`,
			[]any{ids[i]}, &oldest)
		infos[i].OldestWaiting = instant(oldest.Int64)
	}
	return infos, err
}

// countDue counts jobs among those that wait which are due and which no call has moved yet,
// tidyBound at most. If no other waits, it answers when the first of them was enqueued.
func countDue(x executor, queue, now int64, counts map[backend.State]int64) (head int64, err error) {
	if counts[backend.StateScheduled] == 0 {
		return 0, nil
	}
	const due = ` FROM caddis_job WHERE queue = ?1 AND state = 0 AND at <= ?2 ORDER BY at, rank LIMIT `
	var n int64
	var first sql.NullInt64
	_, err = one(x, `SELECT (SELECT count(*) FROM (SELECT 1`+due+`?3)), (SELECT enqueued`+due+`1)`, []any{queue, now, tidyBound}, &n, &first)
	if counts[backend.StateWaiting] == 0 {
		head = first.Int64
	}
	counts[backend.StateScheduled] -= n
	counts[backend.StateWaiting] += n
	return head, err
}
