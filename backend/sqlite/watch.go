package sqlite

import (
	"database/sql"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/caddis-go/caddis/backend"
)

const (
	// pauseWaiting and pauseBusy are the pauses after a look at the file: while somebody
	// waits for work, and while everybody has some.
	pauseWaiting = time.Millisecond
	pauseBusy    = 25 * time.Millisecond
	// fallback is how often one looks where changes of the file are not noticed.
	fallback = 250 * time.Millisecond
	// watchPeers is how often the locks of other processes are tried.
	watchPeers = 500 * time.Millisecond
)

// watch looks at what other connections have changed, whenever the file changes, and
// at the processes that share it.
func (b *Backend) watch() {
	events, errs, stop := b.notices()
	defer stop()
	conn, err := b.readers.Conn(b.ctx)
	if err != nil {
		return
	}
	c := newConnection(conn)
	defer c.close()
	w := &watcher{store: b, conn: c, told: make(map[int64]string)}
	peers := time.NewTimer(0)
	defer peers.Stop()
	w.together = true
	w.look(nil)
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-events:
			w.look(func() { peers.Reset(0) })
			pause := pauseBusy
			if b.hub.waits() {
				pause = pauseWaiting
			}
			time.Sleep(pause)
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
	// together is set while there are other processes, whose locks are tried.
	together bool
}

// look learns what other connections have changed since the last look. It calls joined
// if there is another process where there was none.
func (w *watcher) look(joined func()) {
	if !w.store.writer.foreign() {
		return
	}
	for _, err := range []error{w.store.lookForWork(w.conn, w.store.hub.waited()), w.lookForCommands(), w.lookForPeers(joined)} {
		if err != nil && w.store.ctx.Err() == nil {
			w.store.log.Debug("what others have changed cannot be read", "error", err)
		}
	}
}

// lookForWork rings the bells of queues where there is work.
func (b *Backend) lookForWork(x executor, queues []string) error {
	if len(queues) == 0 {
		return nil
	}
	type news struct {
		queue string
		work  bool
		due   sql.NullInt64
	}
	var all []news
	err := each(x, `SELECT name, waiting > 0 AND NOT paused,
			(SELECT min(at) FROM caddis_job WHERE queue = caddis_queue.id AND state = 0)
		FROM caddis_queue WHERE name IN (SELECT value FROM json_each(?))`, []any{list(queues)}, func(rows *sql.Rows) error {
		var n news
		err := rows.Scan(&n.queue, &n.work, &n.due)
		all = append(all, n)
		return err
	})
	for _, n := range all {
		b.hub.heard(n.queue, n.work, n.due.Int64)
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
	gone, others, err := w.store.crew.look(w.conn)
	if err == nil && len(gone) > 0 {
		err = w.store.crew.bury(gone)
	}
	if err != nil && w.store.ctx.Err() == nil {
		w.store.log.Warn("the jobs of processes that have ended come back when their leases expire", "error", err)
	}
	return others
}
