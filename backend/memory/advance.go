package memory

import "time"

// Advance moves the store's clock on by d, for tests, and returns its time: jobs become
// due and records are forgotten as if d had passed, and whoever waits for work looks
// again. Leases do not end sooner, as who holds one had no time to renew it. A d that is
// not positive moves nothing.
func (b *Backend) Advance(d time.Duration) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d > 0 {
		b.moved = later(b.moved, d)
		for _, q := range b.queues {
			q.ring()
		}
	}
	return instant(b.now())
}

// now is the store's clock, in nanoseconds: what is due, and until when something is
// kept.
func (b *Backend) now() int64 { return later(time.Now().UnixNano(), b.moved) }
