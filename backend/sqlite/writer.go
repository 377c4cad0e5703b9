package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// writer is the one that writes in this process. It gathers the calls that have come
// while it was at work into one transaction. It is at work in one goroutine at a time:
// in that of a call that finds it idle, or else in its own. Who is at work owns the
// connection.
type writer struct {
	store *Backend
	// work has room for the one signal that there are calls.
	work chan struct{}
	// wrote has room for the one signal that a transaction was committed.
	wrote chan struct{}
	// fruitless and version belong to who is at work. Version is the data_version that
	// was last seen.
	fruitless fruitless
	version   int64
	// suspects are leases that have expired, and since when that is known. LockedSince
	// is since when the lock of the file is waited for, enteredAt when it was to be had
	// last, owed for how long nobody could renew a lease, which is not yet made good.
	suspects    map[suspect]time.Time
	lockedSince time.Time
	enteredAt   time.Time
	owed        time.Duration

	// working is held by who is at work.
	working sync.Mutex

	mu     sync.Mutex
	queued []*call
	// busy is set while somebody is at work, or is to be.
	busy   bool
	closed bool
}

// call is one call of a verb.
type call struct {
	weight int
	run    func(t *txn) error
	// beside is run outside of the transaction, in place of run.
	beside func(c *connection) error
	err    error
	done   chan struct{}
	// begun and withdrawn are guarded by the writer's mutex. Begun is set while a
	// transaction runs the call, which then cannot be withdrawn.
	begun, withdrawn bool
}

// maxGroup bounds the jobs in a transaction, so that no call waits long for others.
const maxGroup = backend.MaxBatch

func newWriter(b *Backend) *writer {
	return &writer{store: b, work: make(chan struct{}, 1), wrote: make(chan struct{}, 1), fruitless: fruitless{tokens: make(map[string]inVain)}, suspects: make(map[suspect]time.Time)}
}

// do runs a call and waits for it. A call whose ctx ends before it was begun has no
// effect.
func (w *writer) do(ctx context.Context, weight int, run func(t *txn) error) error {
	return w.await(ctx, &call{weight: weight, run: run})
}

// await runs a call. If nobody is at work that is done here and now, which spares two
// changes of goroutine; what has come meanwhile is left to the writer's own.
func (w *writer) await(ctx context.Context, c *call) error {
	c.done = make(chan struct{})
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return backend.ErrClosed
	}
	w.queued = append(w.queued, c)
	lead := !w.busy
	w.busy = true
	w.mu.Unlock()
	if lead {
		if w.turn(false) {
			return c.err
		}
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		if w.withdraw(c) {
			return ctx.Err()
		}
		// It works with what is the caller's. It has the lock and takes no long time.
		<-c.done
		return c.err
	}
}

// turn runs one group. It reports whether that was run: without patience it is not if
// another connection holds the lock. What is left is for the writer's own goroutine.
func (w *writer) turn(patient bool) (ran bool) {
	w.working.Lock()
	defer w.working.Unlock()
	group := w.runBeside(w.take())
	ran = len(group) == 0 || w.commit(group, patient)
	if !ran {
		w.putBack(group)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy = len(w.queued) > 0; w.busy {
		signal(w.work)
	}
	return ran
}

// withdraw takes a call back that is not running: it has no effect, now and later.
func (w *writer) withdraw(c *call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.withdrawn = !c.begun
	if i := slices.Index(w.queued, c); i >= 0 && c.withdrawn {
		w.queued = slices.Delete(w.queued, i, i+1)
	}
	return c.withdrawn
}

// begin marks those of some calls that are to be run now, and returns them.
func (w *writer) begin(group []*call) (present []*call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range group {
		if c.begun = !c.withdrawn; c.begun {
			present = append(present, c)
		}
	}
	return present
}

// pause undoes begin for calls that are to be run again.
func (w *writer) pause(group []*call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range group {
		c.begun = false
	}
}

// take returns the calls for one transaction.
func (w *writer) take() []*call {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, weight := 0, 0
	for n < len(w.queued) && (n == 0 || weight+w.queued[n].weight <= maxGroup) {
		weight += w.queued[n].weight
		n++
	}
	group := w.queued[:n:n]
	w.queued = w.queued[n:]
	if len(w.queued) == 0 {
		w.queued = nil
	}
	return group
}

// close ends the writer after the transaction that it is at.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	for _, c := range w.queued {
		c.err = backend.ErrClosed
		close(c.done)
	}
	w.queued = nil
	w.mu.Unlock()
	w.working.Lock()
	defer w.working.Unlock()
}

// putBack undoes take.
func (w *writer) putBack(group []*call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		for _, c := range group {
			c.err = backend.ErrClosed
			close(c.done)
		}
		return
	}
	group = slices.DeleteFunc(group, func(c *call) bool { return c.withdrawn })
	w.queued = append(group, w.queued...)
}

func (w *writer) run() {
	for {
		select {
		case <-w.work:
			w.turn(true)
		case <-w.store.ctx.Done():
			return
		}
	}
}

// runBeside runs the calls that need no transaction, and returns the others.
func (w *writer) runBeside(group []*call) []*call {
	return slices.DeleteFunc(group, func(c *call) bool {
		if c.beside == nil {
			return false
		}
		if len(w.begin([]*call{c})) > 0 {
			c.err = c.beside(w.store.file.conn)
		}
		close(c.done)
		return true
	})
}

// foreign reports whether another connection has changed the file since it was asked
// last. Only this connection can tell its own changes from those of others.
func (w *writer) foreign() (changed bool) {
	err := w.beside(func(c *connection) error {
		var version int64
		_, err := one(c, `PRAGMA data_version`, nil, &version)
		changed = version != w.version
		w.version = version
		return err
	})
	return changed && err == nil
}

// beside runs something on the connection of the writer, outside of a transaction.
func (w *writer) beside(run func(c *connection) error) error {
	return w.await(w.store.ctx, &call{beside: run})
}

// signal sends a signal that is not under way already.
func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// commit runs calls in one transaction, and reports whether it did. If that fails each
// gets one of its own, so that none suffers from another.
func (w *writer) commit(group []*call, patient bool) (ran bool) {
	f, ended := w.store.file, w.store.ctx.Done()
	var t *txn
	attempt := func() (err error) {
		t, err = w.transact(group)
		return err
	}
	var err error
	if patient {
		w.waits()
		err = patiently(f.config.BusyTimeout, ended, attempt)
	} else if err = attempt(); busy(err) {
		return false
	}
	switch {
	case err == nil:
		w.left()
		t.publish()
		signal(w.wrote)
	case busy(err):
		err = held(f, err)
	case len(group) > 1 && w.store.ctx.Err() == nil:
		for _, c := range group {
			w.commit([]*call{c}, true)
		}
		return true
	}
	for _, c := range group {
		c.err = err
		close(c.done)
	}
	return true
}

func (w *writer) transact(group []*call) (t *txn, err error) {
	b, c := w.store, w.store.file.conn
	defer func() {
		if value := recover(); value != nil {
			b.log.Error("a call of the job store panicked", "panic", value, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: it panicked: %v", backend.ErrUnavailable, value)
			w.rollback()
		}
	}()
	if _, err = c.exec("BEGIN IMMEDIATE"); busy(err) {
		return nil, err
	}
	w.entered()
	if err != nil {
		return nil, err
	}
	present := w.begin(group)
	defer func() {
		if err != nil {
			w.pause(present)
		}
	}()
	t, err = newTxn(b, c)
	if err == nil {
		err = t.excuse()
	}
	for i := 0; i < len(present) && err == nil; i++ {
		err = present[i].run(t)
	}
	if err == nil {
		err = t.flush()
	}
	if err == nil {
		err = b.file.check()
	}
	if err == nil {
		// Without a write-ahead log readers hold up a commit.
		err = patiently(b.config.BusyTimeout, nil, func() error {
			_, err := c.exec("COMMIT")
			return err
		})
	}
	if err != nil {
		w.rollback()
	}
	return t, err
}

func (w *writer) rollback() {
	if _, err := w.store.file.conn.exec("ROLLBACK"); err != nil {
		w.store.log.Debug("a transaction had ended already", "error", err)
	}
}

// begin takes the lock of the file.
func begin(f *file, done <-chan struct{}) error {
	err := patiently(f.config.BusyTimeout, done, func() error {
		_, err := f.conn.exec("BEGIN IMMEDIATE")
		return err
	})
	if busy(err) {
		return held(f, err)
	}
	return err
}

// held is the error of who did not get the lock.
func held(f *file, err error) error {
	return fmt.Errorf("%w: another program has held the lock of %s for %v: %w", backend.ErrUnavailable, f.path, f.config.BusyTimeout, err)
}

// patiently repeats what another connection keeps from happening. A transaction takes
// about a millisecond, so the pauses are short.
func patiently(limit time.Duration, done <-chan struct{}, do func() error) error {
	pause := 50 * time.Microsecond
	var start time.Time
	for {
		err := do()
		if !busy(err) {
			return err
		}
		now := time.Now()
		if start.IsZero() {
			start = now
		}
		if now.Sub(start) >= limit {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-done:
			timer.Stop()
			return errors.Join(backend.ErrClosed, err)
		}
		pause = min(2*pause, 2*time.Millisecond)
	}
}
