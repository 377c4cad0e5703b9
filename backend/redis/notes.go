package redis

import (
	"sync/atomic"
	"time"
)

// notes are what this process knows of a tag from what the server last said of it. Of
// many tags only those are asked that the notes give a reason to ask: what happens at
// the others is told by their bells, and by turns.
type notes struct {
	// left is how many jobs the last lease left behind; negative if that is not known.
	left atomic.Int64
	// asked and swept are when it was last asked for jobs, and swept; 0 if never.
	asked, swept atomic.Int64
	// due is when a job is due or a lease expires, and expires when the latter; 0 if
	// there is none.
	due, expires atomic.Int64
	paused       atomic.Bool
	// common is whether the next lease may take the common path.
	common atomic.Bool
	// schedules is how often schedules had changed when it was last swept.
	schedules atomic.Int64
	// spoiltAt is when the log last said that the tag cannot be read.
	spoiltAt atomic.Int64
}

const (
	// few is up to how many tags each call concerns them all.
	few = 16
	// fresh is how long what a lease saw of a tag is relied on under load.
	fresh = 100 * time.Millisecond
	// patrol is how long it takes to sweep many tags in turns.
	patrol = 2 * time.Minute
)

// start is where the instants of the notes count from: the clock of the machine may be
// set.
var start = time.Now()

// instant is now, as the notes have it: milliseconds, never 0.
func instant() int64 { return time.Since(start).Milliseconds() + 1 }

func in(ms int64) int64 { return instant() + ms }

// doubt makes the notes unknown: something was changed, or a bell may have been lost.
func (n *notes) doubt() { n.left.Store(-1) }

// leased notes what a lease has seen; next is in how many milliseconds something is
// due, negative if nothing is.
func (n *notes) leased(left, next int64, paused bool) {
	n.left.Store(left)
	n.asked.Store(instant())
	n.paused.Store(paused)
	store(&n.due, next)
}

// cleaned notes what a sweep has seen.
func (n *notes) cleaned(expires, next int64) {
	n.swept.Store(instant())
	store(&n.expires, expires)
	store(&n.due, next)
}

func store(at *atomic.Int64, ms int64) {
	if ms < 0 {
		at.Store(0)
		return
	}
	at.Store(in(ms))
}

func reached(at *atomic.Int64, now int64) bool {
	due := at.Load()
	return due != 0 && due <= now
}

// toAsk reports whether there is a reason to ask the tag for jobs. Who waits for bells
// hears of most; who does not looks from time to time.
func (n *notes) toAsk(waits bool, now int64) bool {
	left := n.left.Load()
	return left < 0 || waits && left > 0 || reached(&n.due, now) || !waits && now-n.asked.Load() > fresh.Milliseconds()
}

// toSweep reports whether there is a reason to sweep the tag before its turn.
func (n *notes) toSweep(now int64) bool {
	return n.swept.Load() == 0 || reached(&n.expires, now) || reached(&n.due, now)
}
