package sqlite

import "time"

// While a process holds the lock of the file, nobody can renew a lease. So that none
// is taken from a worker that only had to wait:
//
//   - a process that has waited long, or held the lock long itself as it was stopped or
//     the disk stood still, prolongs its own leases before anything else;
//   - who finds the lease of another process expired that lives gives it a second more
//     to be renewed. A process that has ended is known by its lock, and needs none.
const (
	longWait = 500 * time.Millisecond
	mercy    = time.Second
)

// suspect is a lease of another process that has expired.
type suspect struct{ seq, at int64 }

// overdue returns those of some expired leases that are to be taken back now.
func (w *writer) overdue(expired []*job, self int64) (due []*job) {
	now := time.Now()
	for s, since := range w.suspects {
		if now.Sub(since) > 10*mercy {
			delete(w.suspects, s)
		}
	}
	for _, j := range expired {
		s := suspect{j.seq, j.at}
		since, known := w.suspects[s]
		switch {
		case j.process == 0 || j.process == self:
			due = append(due, j)
		case !known:
			w.suspects[s] = now
		case now.Sub(since) >= mercy:
			delete(w.suspects, s)
			due = append(due, j)
		}
	}
	return due
}

// waits notes that the lock of the file is to be waited for.
func (w *writer) waits() {
	if w.lockedSince.IsZero() {
		w.lockedSince = time.Now()
	}
}

// entered notes that the lock of the file was to be had.
func (w *writer) entered() {
	now := time.Now()
	if !w.lockedSince.IsZero() {
		w.owed = max(w.owed, now.Sub(w.lockedSince))
	}
	w.lockedSince, w.enteredAt = time.Time{}, now
}

// left notes that the lock of the file was given back with a commit.
func (w *writer) left() { w.owed = time.Since(w.enteredAt) }

// excuse prolongs the leases of this process by as long as none could be renewed.
func (t *txn) excuse() error {
	owed, self := t.store.writer.owed, t.store.crew.self()
	if owed <= longWait || self == 0 {
		return nil
	}
	_, err := t.exec(`UPDATE caddis_job SET at = max(at, ?) WHERE state = 3 AND process = ?`, t.now+millis(owed), self)
	return err
}
