package sqlite

import (
	"database/sql"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/caddis-go/caddis/backend"
)

const (
	// shortPause and longPause are the pauses before a look at the file, while somebody
	// waits for work and while everybody has some; lastPause ends the series.
	shortPause = 500 * time.Microsecond
	longPause  = 25 * time.Millisecond
	lastPause  = 400 * time.Millisecond
	// fallback is how often one looks where changes of the file are not noticed.
	fallback = 250 * time.Millisecond
	// watchPeers is how often the locks of other processes are tried.
	watchPeers = 500 * time.Millisecond
)

// watch looks at what other connections have changed, whenever the file changes, and
// at the processes that share it.
//
// The file changes before a commit counts, by the time that the disk takes. So a look
// that finds nothing new is repeated for a while, after pauses that grow.
func (b *Backend) watch() {
	events, errs, stop := b.notices()
	defer stop()
	conn, err := b.readers.Conn(b.ctx)
	if err != nil {
		return
	}
	c := newConnection(conn)
	defer c.close()
	w := &watcher{store: b, conn: c, told: make(map[int64]string), together: true}
	peers := time.NewTimer(0)
	defer peers.Stop()
	next := time.NewTimer(0)
	defer next.Stop()
	pause := shortPause // until the next look; 0 if there is none to come
	for {
		first := shortPause
		if !b.hub.waits() {
			first = longPause
		}
		heed := events
		if pause != 0 && pause <= first {
			heed = nil // meanwhile changes gather
		}
		select {
		case <-b.ctx.Done():
			return
		case <-heed:
			pause = first
			next.Reset(pause)
		case <-b.hub.enlisted:
			if pause > shortPause {
				pause = shortPause
				next.Reset(pause)
			}
		case <-next.C:
			switch changed := w.look(func() { peers.Reset(0) }); {
			case changed:
				pause = first
			case pause < lastPause:
				pause *= 2
			case w.behind:
			default:
				pause = 0
			}
			if pause > 0 {
				next.Reset(pause)
			}
		case err := <-errs:
			b.log.Debug("a change of the file was not noticed", "error", err)
		case <-peers.C:
			if w.together = w.peers(); w.together {
				peers.Reset(watchPeers)
			}
		}
	}
}

// notices tells the changes of the file. Where the system has no means for that, it
// tells so from time to time.
func (b *Backend) notices() (events <-chan fsnotify.Event, errs <-chan error, stop func()) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(b.file.watched()); err == nil {
			return watcher.Events, watcher.Errors, func() { _ = watcher.Close() }
		}
		_ = watcher.Close()
	}
	b.log.Warn("changes of the file by other processes are not noticed at once, but looked for", "every", fallback, "error", err)
	ticks := make(chan fsnotify.Event)
	done := make(chan struct{})
	b.tasks.Go(func() {
		ticker := time.NewTicker(fallback)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				select {
				case ticks <- fsnotify.Event{}:
				case <-done:
					return
				}
			case <-done:
				return
			}
		}
	})
	return ticks, nil, func() { close(done) }
}

// watcher looks at the file for others.
type watcher struct {
	store *Backend
	conn  *connection
	// told are the commands that were told already, by job.
	told map[int64]string
	// control has the versions of the memos by which workers are told what to do.
	control string
	// newest is the last queue that was told of.
	newest int64
	// together is set while there are other processes, whose locks are tried.
	together bool
	// behind is set if what others have changed could not be read.
	behind bool
}

// look learns what other connections have changed since the last look that could read
// it, if anything. It calls joined if there is another process where there was none.
func (w *watcher) look(joined func()) (changed bool) {
	if !w.store.writer.foreign() && !w.behind {
		return false
	}
	w.behind = false
	for _, err := range []error{w.store.lookForWork(w.conn, w.store.hub.waited()), w.lookForCommands(), w.lookForQueues(), w.lookForControl(), w.lookForPeers(joined)} {
		if err != nil && w.store.ctx.Err() == nil {
			w.behind = true
			w.store.log.Debug("what others have changed cannot be read", "error", err)
		}
	}
	return !w.behind
}

// lookForWork rings the bells of queues where there is work, or comes sooner than was
// known.
func (b *Backend) lookForWork(x executor, queues []string) error {
	if len(queues) == 0 {
		return nil
	}
	now, err := b.readNow(x)
	if err != nil {
		return err
	}
	return each(x, `SELECT name, waiting > 0, paused,
			(SELECT min(at) FROM caddis_job WHERE queue = caddis_queue.id AND state = 0),
			(SELECT min(at) FROM caddis_job WHERE queue = caddis_queue.id AND state = 3),
			(SELECT min(at) FROM caddis_ready WHERE queue = caddis_queue.id)
		FROM caddis_queue WHERE name IN (SELECT value FROM json_each(?))`, []any{list(queues)}, func(rows *sql.Rows) error {
		var queue string
		var work bool
		var n numbers
		var due, expiry, ready sql.NullInt64
		if err := rows.Scan(&queue, &work, &n.paused, &due, &expiry, &ready); err != nil {
			return err
		}
		work = work || ready.Valid && ready.Int64 <= now // a parked job
		come := earlier(due.Int64, max(0, ready.Int64))
		next := earlier(come, expiry.Int64)
		if n.pausedAt(now) {
			work, come = false, earlier(come, n.pausedUntil())
		}
		b.hub.heard(queue, work || next != 0 && next <= now, come)
		return nil
	})
}

// lookForQueues tells of queues that have appeared.
func (w *watcher) lookForQueues() error {
	if !w.store.hub.listens() {
		return nil
	}
	return each(w.conn, `SELECT id, name FROM caddis_queue WHERE id > ? ORDER BY id`, []any{w.newest}, func(rows *sql.Rows) error {
		command := backend.Command{Verb: backend.CommandQueue}
		if err := rows.Scan(&w.newest, &command.Queue); err != nil {
			return err
		}
		w.store.hub.command(command)
		return nil
	})
}

// lookForControl tells that workers were told something.
func (w *watcher) lookForControl() error {
	if !w.store.hub.listens() {
		return nil
	}
	var versions string
	_, err := one(w.conn, `SELECT ifnull(group_concat(version, ' '), '') FROM caddis_memo WHERE name = ?`, []any{backend.ControlMemo}, &versions)
	if err == nil && versions != w.control {
		w.control = versions
		w.store.hub.command(backend.Command{Verb: backend.CommandControl})
	}
	return err
}

func (w *watcher) lookForCommands() error {
	if !w.store.hub.listens() {
		return nil
	}
	present := make(map[int64]string)
	err := each(w.conn, `SELECT seq, token, name, j.id FROM caddis_job AS j JOIN caddis_queue AS q ON q.id = j.queue
		WHERE state = 3 AND cancel = 1`, nil, func(rows *sql.Rows) error {
		var seq int64
		var token string
		command := backend.Command{Verb: backend.CommandCancel}
		if err := rows.Scan(&seq, &token, &command.Queue, &command.ID); err != nil {
			return err
		}
		present[seq] = token
		if w.told[seq] != token {
			w.store.hub.command(command)
		}
		return nil
	})
	w.told = present
	return err
}

func (w *watcher) lookForPeers(joined func()) error {
	if w.together {
		return nil
	}
	var id int64
	found, err := one(w.conn, `SELECT id FROM caddis_process WHERE id <> ?`, []any{w.store.crew.self()}, &id)
	if found {
		w.together = true
		w.look(nil)
		joined()
	}
	return err
}

// peers takes over what processes that have ended have left, and reports whether there
// are any others.
func (w *watcher) peers() bool {
	return w.store.crew.takeOver(w.store.ctx, w.conn)
}
