package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"
)

// crew is this process among those that hold leases in the file. Each keeps the lock
// of a small file beside the database as long as it lives: the system releases it
// however the process ends. Who finds the lock free takes the leases of that process
// back at once.
type crew struct {
	store     *Backend
	announced announced

	// mu guards the following.
	mu   sync.Mutex
	id   int64
	lock *flock.Flock
	// turn is held by who takes over.
	turn sync.Mutex
	// peers are the lock files of the others, as far as was last seen.
	peers map[int64]*flock.Flock
}

func newCrew(b *Backend) *crew {
	return &crew{store: b, announced: announced{workers: make(map[string]*announcement)}, peers: make(map[int64]*flock.Flock)}
}

// process is the number of this process, for what it holds; nil in memory. It is
// entered at the first call.
func (t *txn) process() (any, error) {
	c, f := t.store.crew, t.store.file
	if f.path == "" {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.self == 0 {
		t.self = c.id
	}
	if t.self != 0 {
		return t.self, nil
	}
	if c.lock == nil {
		lock := flock.New(f.real + "-worker-" + strings.ToLower(rand.Text()[:8]))
		if locked, err := lock.TryLock(); err != nil || !locked {
			return nil, errors.Join(err, lock.Close())
		}
		c.lock = lock
	}
	_, err := one(t, `INSERT INTO caddis_process (file) VALUES (?) RETURNING id`, []any{filepath.Base(c.lock.Path())}, &t.self)
	if err != nil {
		return nil, err
	}
	t.after = append(t.after, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.id = t.self
	})
	return t.self, nil
}

// self is the number of this process; 0 if it has none.
func (c *crew) self() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// takeOver takes back what processes that have ended hold, and reports whether there may be
// others. It does nothing while that is done already.
func (c *crew) takeOver(ctx context.Context, x executor) (others bool) {
	if !c.turn.TryLock() {
		return true
	}
	defer c.turn.Unlock()
	gone, others, err := c.look(x)
	if err == nil && len(gone) > 0 {
		err = c.bury(ctx, gone)
	}
	if err != nil && c.store.ctx.Err() == nil {
		c.store.log.Warn("the jobs of processes that have ended come back when their leases expire", "error", err)
	}
	return others
}

// look finds those of the others that have ended, and reports whether there are others
// at all.
func (c *crew) look(x executor) (gone []int64, others bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	present := make(map[int64]bool)
	folder := filepath.Dir(c.store.file.real)
	err = each(x, `SELECT id, file FROM caddis_process WHERE id <> ?`, []any{c.id}, func(rows *sql.Rows) error {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		present[id] = true
		if c.peers[id] == nil {
			c.peers[id] = flock.New(filepath.Join(folder, filepath.Base(name)), flock.SetFlag(os.O_RDWR))
		}
		return nil
	})
	for id, peer := range c.peers {
		if !present[id] {
			_ = peer.Close()
			delete(c.peers, id)
			continue
		}
		free, err := peer.TryLock()
		if free || errors.Is(err, fs.ErrNotExist) {
			gone = append(gone, id)
		}
	}
	return gone, len(present) > 0, err
}

// bury takes back what processes that have ended hold. The lock of each is held
// meanwhile, so that nobody else does the same.
func (c *crew) bury(ctx context.Context, gone []int64) error {
	var jobs int64
	err := c.store.writer.do(ctx, 1, func(t *txn) error {
		jobs = 0
		for _, id := range gone {
			n, err := t.exec(`UPDATE caddis_job SET at = ?, process = NULL WHERE state = 3 AND process = ?`, t.now, id)
			if err != nil {
				return err
			}
			jobs += n
			for _, text := range []string{`DELETE FROM caddis_worker WHERE process = ?`, `DELETE FROM caddis_process WHERE id = ?`} {
				if _, err := t.exec(text, id); err != nil {
					return err
				}
			}
		}
		names, err := namesOf(t, `SELECT name FROM caddis_queue WHERE running > 0`)
		t.news = append(t.news, names...)
		return err
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range gone {
		peer := c.peers[id]
		if err == nil {
			_ = os.Remove(peer.Path())
			delete(c.peers, id)
		}
		_ = peer.Close()
	}
	if jobs > 0 {
		c.store.log.Warn("a process that worked on the file has ended; its jobs are taken over", "processes", len(gone), "jobs", jobs)
	}
	return err
}

// leave releases the lock of this process. What it still holds is taken over by the
// others.
func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, peer := range c.peers {
		_ = peer.Close()
	}
	if c.lock != nil {
		_ = os.Remove(c.lock.Path())
		_ = c.lock.Close()
	}
}
