package redis

import (
	"context"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// carrier is a client of one connection, which can be cut under the call that uses
// it. So who calls talks to the socket itself, with no goroutine in between, and
// returns at once all the same when its context ends.
type carrier struct {
	client goredis.UniversalClient
	track  *tracker
}

// carriers are those of a Backend. A Cluster has none: each would have to know all
// its servers.
type carriers struct {
	mu     sync.Mutex
	idle   []*carrier
	busy   map[*carrier]struct{}
	closed bool
}

// hire returns a carrier for one call. There is none, nor is one needed, if ctx
// cannot end; in a Cluster; and after Close.
func (b *Backend) hire(ctx context.Context) *carrier {
	if ctx.Done() == nil || b.derive.clustered() {
		return nil
	}
	p := &b.carriers
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	if p.busy == nil {
		p.busy = map[*carrier]struct{}{}
	}
	var c *carrier
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	} else {
		track := b.hub.tracker()
		c = &carrier{b.derive.client(1, track, hook{repeats: true}), track}
	}
	p.busy[c] = struct{}{}
	return c
}

// runBy is run with a carrier.
func (b *Backend) runBy(ctx context.Context, c *carrier, size int, calls []*call) error {
	if err := b.begin(); err != nil {
		b.dismiss(c, false)
		return err
	}
	defer b.running.Done()
	if b.carry(ctx, c, func(client goredis.UniversalClient) {
		do(within(ctx, b.allowance(size)), client, calls)
	}) {
		return ended(ctx)
	}
	return nil
}

// carry runs f, which makes a call by the client that it is given, and reports
// whether ctx ended meanwhile.
func (b *Backend) carry(ctx context.Context, c *carrier, f func(client goredis.UniversalClient)) (interrupted bool) {
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.track.cut()
		close(cut)
	})
	f(c.client)
	interrupted = !stop()
	if interrupted {
		<-cut
	}
	b.dismiss(c, interrupted)
	return interrupted
}

// dismiss takes a carrier back.
func (b *Backend) dismiss(c *carrier, spent bool) {
	p := &b.carriers
	p.mu.Lock()
	delete(p.busy, c)
	spent = spent || p.closed || len(p.idle) == poolSize
	if !spent {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if spent {
		_ = c.client.Close()
	}
}

// close cuts the calls in flight and closes the rest.
func (p *carriers) close() {
	p.mu.Lock()
	idle, busy := p.idle, p.busy
	p.idle, p.closed = nil, true
	for c := range busy {
		c.track.cut()
	}
	p.mu.Unlock()
	for _, c := range idle {
		_ = c.client.Close()
	}
}
