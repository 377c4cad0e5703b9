package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// refreshAfter is how old a record may be in the file although its worker has
// announced it anew, unchanged, and readAs how much longer than that it holds there.
// An idle worker would else write to the disk every few seconds. When it vanishes, its
// process releases its lock; while it lives, its process knows better.
const (
	refreshAfter = 5 * time.Minute
	recordHolds  = 2 * refreshAfter
)

// announced is what this process knows of its own workers.
type announced struct {
	mu      sync.Mutex
	workers map[string]*announcement
}

type announcement struct {
	text                 string
	seen, written, until int64
}

// Announce implements backend.Directory. It tells of the workers of this process only:
// what those of another one held is taken back as soon as that has ended (see crew).
func (b *Backend) Announce(ctx context.Context, worker backend.WorkerInfo, ttl time.Duration) (answer backend.Announced, err error) {
	err = backend.CheckQueues(worker.Queues)
	switch {
	case err != nil:
	case worker.ID == "":
		err = reject("the worker has no id")
	case ttl <= 0:
		err = reject("a record for %v; give a positive time", ttl)
	}
	if err != nil {
		return answer, &backend.Error{Op: "announce", Err: err}
	}
	worker.SeenAt = time.Time{}
	text, err := json.Marshal(&worker)
	if err != nil {
		return answer, &backend.Error{Op: "announce", Err: reject("%w", err)}
	}
	err = b.write(ctx, "announce", "", 1, func(t *txn) error {
		answer = b.crew.announced.others(worker.ID, t.now)
		return t.announce(&worker, string(text), ttl)
	})
	return answer, err
}

// others tells of the other workers of this process.
func (a *announced) others(worker string, now int64) (answer backend.Announced) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, other := range a.workers {
		var info backend.WorkerInfo
		switch in := time.Duration(other.until-now) * time.Millisecond; {
		case id == worker:
		case in <= -backend.VanishedFor:
			delete(a.workers, id)
		case in > 0 && (answer.Next == 0 || in < answer.Next):
			answer.Next = in
		case in <= 0 && len(answer.Vanished) < backend.MaxVanished && json.Unmarshal([]byte(other.text), &info) == nil:
			answer.Vanished = append(answer.Vanished, info)
		}
	}
	return answer
}

func (t *txn) announce(worker *backend.WorkerInfo, text string, ttl time.Duration) error {
	for _, name := range worker.Queues {
		if _, err := t.queue(name); err != nil {
			return err
		}
	}
	own := &t.store.crew.announced
	now := announcement{text: text, seen: t.now, written: t.now, until: t.now + millis(ttl)}
	own.mu.Lock()
	before := own.workers[worker.ID]
	own.mu.Unlock()
	if before != nil && before.text == text && before.written+millis(refreshAfter) > t.now && before.until > t.now {
		now.written = before.written
	} else {
		process, err := t.process()
		if err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM caddis_worker WHERE until <= ?`, t.now); err != nil {
			return err
		}
		_, err = t.exec(`INSERT OR REPLACE INTO caddis_worker (id, process, info, seen, until) VALUES (?, ?, ?, ?, ?)`,
			worker.ID, process, text, t.now, t.now+max(millis(ttl), millis(recordHolds)))
		if err != nil {
			return err
		}
	}
	t.after = append(t.after, func() {
		own.mu.Lock()
		defer own.mu.Unlock()
		own.workers[worker.ID] = &now
	})
	return nil
}

// SignOff implements backend.Directory.
func (b *Backend) SignOff(ctx context.Context, worker string, _ []string) error {
	return b.write(ctx, "sign off", "", 1, func(t *txn) error {
		for _, text := range []string{`DELETE FROM caddis_worker WHERE id = ?`, `DELETE FROM caddis_caller WHERE worker = ?`, `DELETE FROM caddis_recorder WHERE worker = ?`} {
			if _, err := t.exec(text, worker); err != nil {
				return err
			}
		}
		t.after = append(t.after, func() {
			b.writer.fruitless.forget(worker)
			own := &b.crew.announced
			own.mu.Lock()
			defer own.mu.Unlock()
			delete(own.workers, worker)
		})
		return nil
	})
}

// Workers implements backend.Directory.
func (b *Backend) Workers(ctx context.Context) (infos []backend.WorkerInfo, err error) {
	// Those of processes that have ended are not to be listed, even if nobody else works on the file.
	err = b.read(ctx, "workers", "", func(x executor) error {
		// It is not waited for long where another process has the lock of the file.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		b.crew.takeOver(ctx, x)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = b.read(ctx, "workers", "", func(x executor) error {
		infos = nil
		now, err := b.readNow(x)
		if err != nil {
			return err
		}
		return each(x, `SELECT id, info, seen FROM caddis_worker WHERE until > ? ORDER BY id`, []any{now}, func(rows *sql.Rows) error {
			var info backend.WorkerInfo
			var id, text string
			var seen int64
			if err := rows.Scan(&id, &text, &seen); err != nil {
				return err
			}
			if own := b.crew.own(id); own != nil {
				if own.until <= now {
					return nil
				}
				seen = own.seen
			}
			if err := json.Unmarshal([]byte(text), &info); err != nil {
				b.log.Warn("the record of a worker cannot be read", "worker", id, "error", err)
				return nil
			}
			info.SeenAt = instant(seen)
			infos = append(infos, info)
			return nil
		})
	})
	return infos, err
}

// own returns what is known of a worker of this process, or nil.
func (c *crew) own(worker string) *announcement {
	c.announced.mu.Lock()
	defer c.announced.mu.Unlock()
	return c.announced.workers[worker]
}

// maxCommands is how many commands are kept for a listener that is slow; those beyond
// are lost.
const maxCommands = backend.MaxBatch

// Listen implements backend.Directory.
func (b *Backend) Listen(ctx context.Context, deliver func(backend.Command)) error {
	if err := b.begin(ctx); err != nil {
		return b.fail("listen", "", "", err)
	}
	l := b.hub.listen()
	defer b.hub.unlisten(l)
	for {
		select {
		case <-l.wake:
			for _, c := range b.hub.commandsOf(l) {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				deliver(c)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-b.ctx.Done():
			return b.fail("listen", "", "", errors.New("the store was closed"))
		}
	}
}
