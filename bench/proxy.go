package main

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// proxy carries TCP connections to a server and delays all that passes, in each
// direction, by the same time. It limits no throughput: what is under way is
// kept without bound, and what came together goes on together.
type proxy struct {
	addr   string
	target string
	delay  time.Duration
	listen net.Listener

	mu      sync.Mutex
	conns   []net.Conn
	closed  bool
	running sync.WaitGroup
}

func startProxy(target string, delay time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{addr: l.Addr().String(), target: target, delay: delay, listen: l}
	p.running.Go(p.accept)
	return p, nil
}

func (p *proxy) accept() {
	for {
		near, err := p.listen.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		if !p.keep(near, far) {
			return
		}
		p.carry(near, far)
		p.carry(far, near)
	}
}

// keep remembers connections for stop; it closes them if that has been.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conns...)
	if p.closed {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	return !p.closed
}

// parcel is what was read at once.
type parcel struct {
	data []byte
	due  time.Time
}

// carry carries one direction.
func (p *proxy) carry(from, to net.Conn) {
	road := &road{ready: make(chan struct{}, 1)}
	p.running.Go(func() {
		defer road.end()
		for {
			b := make([]byte, 64<<10)
			n, err := from.Read(b)
			if n > 0 {
				road.put(parcel{b[:n], time.Now().Add(p.delay)})
			}
			if err != nil {
				return
			}
		}
	})
	p.running.Go(func() {
		defer func() { _ = to.Close() }()
		for {
			next, err := road.take()
			if err != nil {
				return
			}
			pause(time.Until(next.due))
			if _, err := to.Write(next.data); err != nil {
				_ = from.Close()
				return
			}
		}
	})
}

// road is what is under way in one direction.
type road struct {
	mu      sync.Mutex
	parcels []parcel
	ended   bool
	ready   chan struct{}
}

func (r *road) put(one parcel) {
	r.mu.Lock()
	r.parcels = append(r.parcels, one)
	r.mu.Unlock()
	r.wake()
}

func (r *road) end() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.wake()
}

func (r *road) wake() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// take waits for the next parcel.
func (r *road) take() (parcel, error) {
	for {
		r.mu.Lock()
		if len(r.parcels) > 0 {
			next := r.parcels[0]
			r.parcels[0] = parcel{}
			r.parcels = r.parcels[1:]
			r.mu.Unlock()
			return next, nil
		}
		ended := r.ended
		r.mu.Unlock()
		if ended {
			return parcel{}, io.EOF
		}
		<-r.ready
	}
}

func (p *proxy) stop() {
	_ = p.listen.Close()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// measure is the round trip that a client sees through the proxy, as the median
// of many: timers are not exact.
func (p *proxy) measure(ctx context.Context) (time.Duration, error) {
	client := redis.NewClient(&redis.Options{Addr: p.addr, Protocol: 2, PoolSize: 1})
	defer func() { _ = client.Close() }()
	var took []time.Duration
	for range 51 {
		began := time.Now()
		if err := client.Ping(ctx).Err(); err != nil {
			return 0, errors.Join(errors.New("the proxy does not carry"), err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
