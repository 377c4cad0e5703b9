//go:build unix

package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Weather is what a proxy does to what passes through. The zero value lets all
// pass.
type Weather struct {
	// Delay is added in each direction. It does not lessen how much passes.
	Delay time.Duration
	// BytesPerSecond throttles each direction of each connection; 0 does not.
	BytesPerSecond int
	// HalfOpen swallows all in both directions and keeps the connection open. A
	// connection that it met stays dead when the weather is fine again.
	HalfOpen bool
	// Refuse resets connections that are opened, and no older ones.
	Refuse bool
}

// Proxy stands between clients and one Redis server, on the loopback. It knows
// where a request and its reply end. All its methods may be called concurrently.
type Proxy struct {
	// Addr is where it listens.
	Addr string

	secure *tls.Config // nil if it does not take connections over TLS
	target string
	verbs  Verbs

	mu      sync.Mutex
	weather Weather
	links   map[*Link]struct{}
	traps   []*Trap
	closed  bool
	running sync.WaitGroup
}

// Trap cuts a connection at requests of one verb.
type Trap struct {
	// Sprung is closed when it has cut as often as it was told to.
	Sprung chan struct{}

	verb  string
	after bool
	left  int
}

// StartProxy starts a proxy in front of a server. It ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	return startProxy(t, target, nil)
}

// StartSecureProxy starts a proxy that takes connections over TLS, and sends plain
// ones to the server. The programs of the laboratory trust it.
func StartSecureProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	return startProxy(t, target, trusted(t).Server)
}

// URL is that of a store behind the proxy.
func (p *Proxy) URL() string {
	if p.secure != nil {
		return "rediss://" + p.Addr
	}
	return "redis://" + p.Addr
}

func startProxy(t testing.TB, target string, secure *tls.Config) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{
		Addr: listener.Addr().String(), secure: secure, target: target, verbs: ReadVerbs(t), links: map[*Link]struct{}{},
	}
	p.running.Add(1)
	go p.accept(listener)
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Set changes the weather of all connections, also of those to come.
func (p *Proxy) Set(w Weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
	for l := range p.links {
		l.set(w)
	}
}

// Cut closes all connections.
func (p *Proxy) Cut() {
	for _, l := range p.Links() {
		l.Cut()
	}
}

// Links are the open connections.
func (p *Proxy) Links() []*Link {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := make([]*Link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	return links
}

// CutBefore cuts the connection instead of handing on a request of a verb, n
// times.
func (p *Proxy) CutBefore(verb string, n int) *Trap { return p.trap(verb, false, n) }

// CutAfter hands on a request of a verb, waits for the server's reply, and cuts
// the connection instead of handing on the reply, n times.
func (p *Proxy) CutAfter(verb string, n int) *Trap { return p.trap(verb, true, n) }

func (p *Proxy) trap(verb string, after bool, n int) *Trap {
	t := &Trap{Sprung: make(chan struct{}), verb: verb, after: after, left: n}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, t)
	return t
}

// Disarm takes back traps that have not sprung.
func (p *Proxy) Disarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = nil
}

// caught says whether a request is to be cut, before it or after it.
func (p *Proxy) caught(verb string) (before, after bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, t := range p.traps {
		if t.verb != verb {
			continue
		}
		if t.left--; t.left == 0 {
			close(t.Sprung)
			p.traps = slices.Delete(p.traps, i, i+1)
		}
		return !t.after, t.after
	}
	return false, false
}

func (p *Proxy) accept(listener net.Listener) {
	defer p.running.Done()
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		w, closed := p.weather, p.closed
		if closed || w.Refuse {
			p.mu.Unlock()
			_ = client.(*net.TCPConn).SetLinger(0)
			_ = client.Close()
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		spoken := client
		if p.secure != nil {
			spoken = tls.Server(client, p.secure)
		}
		l := &Link{proxy: p, client: spoken, raw: client, ctx: ctx, cancel: cancel, weather: w, dead: w.HalfOpen, lastReply: -1}
		p.links[l] = struct{}{}
		p.running.Add(1)
		p.mu.Unlock()
		go l.run()
	}
}

// Link is one connection through a proxy.
type Link struct {
	proxy  *Proxy
	client net.Conn
	raw    net.Conn // what client is over TLS
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	server  net.Conn
	weather Weather
	dead    bool
	// lastReply is the number of the reply that is not handed on any more, from
	// 0; -1 if all are.
	lastReply int
}

// Set changes the weather of this connection.
func (l *Link) Set(w Weather) { l.set(w) }

// Cut closes the connection.
func (l *Link) Cut() {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.raw.Close()
	if l.server != nil {
		_ = l.server.Close()
	}
}

func (l *Link) set(w Weather) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.weather, l.dead = w, l.dead || w.HalfOpen
}

func (l *Link) now() (w Weather, dead bool, lastReply int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.weather, l.dead, l.lastReply
}

func (l *Link) run() {
	defer l.proxy.running.Done()
	defer func() {
		l.Cut()
		l.proxy.mu.Lock()
		delete(l.proxy.links, l)
		l.proxy.mu.Unlock()
	}()
	server, err := net.DialTimeout("tcp", l.proxy.target, time.Second)
	if err != nil {
		return
	}
	l.mu.Lock()
	l.server = server
	l.mu.Unlock()
	if l.ctx.Err() != nil {
		_ = server.Close()
		return
	}
	var both sync.WaitGroup
	way := func(carry func(*bufio.Reader, *pipe), from, to net.Conn) {
		p := &pipe{link: l, conn: to, parcels: make(chan parcel, 1024)}
		both.Go(func() {
			defer close(p.parcels)
			carry(bufio.NewReaderSize(from, 64<<10), p)
		})
		both.Go(func() {
			defer l.Cut() // one end that closes closes the other
			p.run()
		})
	}
	way(l.up, l.client, server)
	way(l.down, server, l.client)
	both.Wait()
}

// up hands requests on to the server.
func (l *Link) up(from *bufio.Reader, to *pipe) {
	for n := 0; ; n++ {
		request, words, err := readRequest(from)
		if err != nil {
			return
		}
		before, after := l.proxy.caught(l.proxy.verbs.Of(words))
		if before {
			return
		}
		if after {
			l.mu.Lock()
			l.lastReply = n
			l.mu.Unlock()
		}
		if !to.send(request) {
			return
		}
	}
}

// down hands replies on to the client.
func (l *Link) down(from *bufio.Reader, to *pipe) {
	for n := 0; ; n++ {
		reply, err := readReply(from)
		if err != nil {
			return
		}
		if _, _, last := l.now(); last >= 0 && n >= last {
			return
		}
		if !to.send(reply) {
			return
		}
	}
}

// pipe carries one direction of a link: what is sent arrives after the delay, and
// in order.
type pipe struct {
	link    *Link
	conn    net.Conn
	parcels chan parcel
}

type parcel struct {
	bytes []byte
	due   time.Time
}

func (p *pipe) send(bytes []byte) bool {
	w, _, _ := p.link.now()
	select {
	case p.parcels <- parcel{bytes, time.Now().Add(w.Delay)}:
		return true
	case <-p.link.ctx.Done():
		return false
	}
}

func (p *pipe) run() {
	for {
		select {
		case next, ok := <-p.parcels:
			if !ok || p.deliver(next) != nil {
				return
			}
		case <-p.link.ctx.Done():
			return
		}
	}
}

var errCut = errors.New("the link was cut")

func (p *pipe) deliver(next parcel) error {
	if err := p.rest(time.Until(next.due)); err != nil {
		return err
	}
	for len(next.bytes) > 0 {
		w, dead, _ := p.link.now()
		if dead {
			return nil
		}
		n := len(next.bytes)
		if w.BytesPerSecond > 0 {
			n = min(n, max(1, w.BytesPerSecond/100))
		}
		if _, err := p.conn.Write(next.bytes[:n]); err != nil {
			return err
		}
		next.bytes = next.bytes[n:]
		if w.BytesPerSecond > 0 {
			if err := p.rest(time.Duration(n) * time.Second / time.Duration(w.BytesPerSecond)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest lets a delay pass, unless the link is cut.
func (p *pipe) rest(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.link.ctx.Done():
		return errCut
	}
}

// Exchange puts a proxy in front of each server that a client dials: for clients
// of a Cluster or of Sentinel, which learn addresses from the servers.
type Exchange struct {
	t       testing.TB
	mu      sync.Mutex
	proxies map[string]*Proxy
}

// NewExchange makes an exchange. Its proxies end with the test.
func NewExchange(t testing.TB) *Exchange { return &Exchange{t: t, proxies: map[string]*Proxy{}} }

// To is the proxy in front of a server.
func (x *Exchange) To(addr string) *Proxy {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.proxies[addr] == nil {
		x.proxies[addr] = StartProxy(x.t, addr)
	}
	return x.proxies[addr]
}

// Dial is for the Dialer of a client's options.
func (x *Exchange) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, x.To(addr).Addr)
}
