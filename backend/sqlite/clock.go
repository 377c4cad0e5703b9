package sqlite

import (
	"time"
)

// The store's clock is one for all processes of the machine. It follows the wall
// clock, but for what people and time servers do to that:
//
//   - it goes by the machine's clock that is never set, from an instant that is
//     written in the file, so that it goes on when the wall clock is set back: then
//     at nine tenths of the rate, until the two agree again;
//   - when the wall clock is set forward it follows at once, so that what is to run
//     at a time of day does, and all leases are prolonged by as much, so that none
//     expires that its worker has had no time to renew.
//
// Where there is no such clock it is the wall clock, kept from running back by the
// last second that was written.
type anchor struct {
	boot         string
	steady, time int64
	// rate is in thousandths.
	rate int64
}

// reading is what the clocks of the machine show, in milliseconds.
type reading struct {
	boot         string
	steady, wall int64
}

const (
	// tolerance is by how much the wall clock may differ before that counts as set.
	tolerance = 50
	normal    = 1000
	slow      = 900
)

// read tells the store's time.
func (a anchor) read(r reading) int64 {
	if a.boot == r.boot && r.boot != "" && r.steady >= a.steady {
		return a.time + (r.steady-a.steady)*a.rate/normal
	}
	return max(a.time, r.wall)
}

// adjust returns the anchor to be written after a reading, and by how much the store's
// clock leaps by it. It reports whether the anchor changes at all.
func (a anchor) adjust(r reading) (next anchor, leap int64, changed bool) {
	now := a.read(r)
	next = anchor{boot: r.boot, steady: r.steady, time: now, rate: normal}
	ahead := now - r.wall
	switch {
	case r.boot == "":
		return next, 0, a.boot != "" || now-a.time >= normal
	case a.boot != r.boot || r.steady < a.steady:
		// The machine was started anew.
	case ahead < -tolerance:
		next.time = r.wall
		return next, -ahead, true
	case a.rate == normal && ahead <= tolerance, a.rate != normal && ahead > 0:
		return a, 0, false
	case a.rate == normal:
		next.rate = slow
	}
	return next, 0, true
}

func readClocks() reading {
	boot, steady := steadyClock()
	return reading{boot: boot, steady: steady, wall: time.Now().UnixMilli()}
}

// readAnchor reads the anchor; the zero one if there is none.
func readAnchor(x executor) (a anchor, err error) {
	_, err = one(x, `SELECT boot, steady, time, rate FROM caddis_clock`, nil, &a.boot, &a.steady, &a.time, &a.rate)
	return a, err
}

// readNow tells the time to who does not write.
func (b *Backend) readNow(x executor) (int64, error) {
	a, err := readAnchor(x)
	return a.read(b.clocks()), err
}

// tick reads the clock for a transaction that may write.
func (t *txn) tick() error {
	a, err := readAnchor(t)
	if err != nil {
		return err
	}
	now := t.store.clocks()
	next, leap, changed := a.adjust(now)
	t.now = next.read(now)
	if !changed {
		return nil
	}
	t.anchor = &next
	if t.before, err = t.changes(); leap == 0 || err != nil {
		return err
	}
	if leap > normal && a.time != 0 {
		t.store.log.Warn("the wall clock was set forward; all leases are prolonged by as much", "by", time.Duration(leap)*time.Millisecond)
	}
	return t.prolongAll(leap)
}

// saveClock writes the anchor, if it has changed and something else is written too.
func (t *txn) saveClock() error {
	if t.anchor == nil {
		return nil
	}
	if changes, err := t.changes(); err != nil || changes == t.before {
		return err
	}
	a := t.anchor
	_, err := t.exec(`INSERT OR REPLACE INTO caddis_clock (one, boot, steady, time, rate) VALUES (1, ?, ?, ?, ?)`, a.boot, a.steady, a.time, a.rate)
	return err
}

// changes counts the rows that the connection has ever written.
func (t *txn) changes() (n int64, err error) {
	_, err = one(t, `SELECT total_changes()`, nil, &n)
	return n, err
}

// instant is the time of a reading of the clock; that of 0 is the zero time.
func instant(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.UnixMilli(at).UTC()
}

// millis rounds a duration up to milliseconds, the unit of the store.
func millis(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d%time.Millisecond > 0 {
		ms++
	}
	return ms
}

// ceilMilli rounds an instant up to milliseconds.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}

// later is when something delayed from now is due.
func (t *txn) later(d time.Duration) int64 { return t.now + millis(d) }
