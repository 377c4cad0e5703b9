package memory

import (
	"math"
	"time"
)

// instant is the time of a reading of the clock; that of 0 is the zero time.
func instant(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at).UTC()
}

// millis cuts a reading of the clock to the millisecond.
func millis(at int64) int64 { return at - at%int64(time.Millisecond) }

// dueAt is when something delayed from now is due: not before the delay has
// passed, to the millisecond. What lies beyond the clock is its end.
func dueAt(now int64, delay time.Duration) int64 {
	return millis(later(later(now, delay), time.Millisecond-1))
}

// later adds to a reading of a clock. What lies beyond it is its end.
func later[Reading int64 | time.Duration](at Reading, d time.Duration) Reading {
	if sum := at + Reading(d); d < 0 || sum >= at {
		return sum
	}
	return math.MaxInt64
}

// leaseClock measures the leases. Who holds one lives in this process, so it
// counts only the time in which the process could run: while a laptop's lid is
// closed, or the process is stopped, nobody could renew. It does not heed when the
// clock of the machine is set.
//
// How long the process stood still it sees by a timer. While leases run it is to be
// read in every interval, an eighth of the shortest lease; what passes from one
// interval after a reading that was due until the reading that came was no time to
// run in. A pause so takes an eighth of a lease at most, and a worker renews every
// third.
type leaseClock struct {
	start time.Time
	// last is the last reading, and due when the timer rings, both since start;
	// due is 0 while no timer is set.
	last, due time.Duration
	// stood is how much of the time since start does not count.
	stood time.Duration
	// interval and until say how often the clock is to be read, and for how long.
	interval, until time.Duration
}

// read returns the time that counts, since the start of the clock.
func (c *leaseClock) read() time.Duration { return c.advance(time.Since(c.start)) }

func (c *leaseClock) advance(since time.Duration) time.Duration {
	if c.due != 0 && since > c.due+c.interval {
		c.stood += since - max(c.due, c.last)
		c.due = 0
	}
	c.last = max(c.last, since)
	return c.last - c.stood
}

// runs tells that leases of a duration begin now. It returns in how long the clock is
// to be read, for which a timer is to be set; 0 if one is set.
func (c *leaseClock) runs(lease time.Duration) time.Duration {
	c.until = max(c.until, c.last-c.stood+lease)
	if interval := lease / 8; c.interval == 0 || interval < c.interval {
		c.interval = interval
	}
	return c.next()
}

// next is the same once a timer has rung; 0 too if no lease runs any more.
func (c *leaseClock) next() time.Duration {
	switch {
	case c.due > c.last && c.due <= c.last+c.interval:
		return 0
	case c.last-c.stood >= c.until:
		c.due, c.interval = 0, 0
		return 0
	}
	c.due = c.last + c.interval
	return c.interval
}
