package redis

import (
	"sync/atomic"
	"time"
)

// serverClock tells a server's time from what it said last and the time that has
// passed since, by the monotonic clock: right to within the time of a call.
type serverClock struct{ last atomic.Pointer[reading] }

type reading struct {
	server int64 // Unix ms
	local  time.Time
}

// clockAge is how old a reading may be before it is replaced.
const clockAge = time.Second

// recentAge is up to which age a reading needs no other one.
const recentAge = 10 * time.Second

// recent reports whether the clock can do without a new reading.
func (c *serverClock) recent() bool {
	last := c.last.Load()
	return last != nil && time.Since(last.local) < recentAge
}

// set takes what a server has said.
func (c *serverClock) set(server int64) {
	if last := c.last.Load(); last == nil || time.Since(last.local) > clockAge {
		c.last.Store(&reading{server, time.Now()})
	}
}

// now returns the server's time in Unix milliseconds, or 0 if it never said any or
// said it long ago.
func (c *serverClock) now() int64 {
	last := c.last.Load()
	if last == nil {
		return 0
	}
	passed := time.Since(last.local)
	if passed > time.Minute {
		return 0
	}
	return last.server + passed.Milliseconds()
}
