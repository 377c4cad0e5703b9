package redis

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// hub knows the open connections of a Backend, of all its clients.
//
// A line that breaks without a word leaves connections behind on which nothing
// arrives any more. Each would be found out only by a call that waits in vain for
// its answer. So the first that finds one out speaks for all: those to the same
// server that were asked before it and have been silent since are closed with it,
// and the next calls dial anew. One that was alive after all, as it merely had nothing to say,
// is not missed.
type hub struct {
	// timeout is how long a call may take.
	timeout time.Duration
	begun   time.Time

	mu    sync.Mutex
	conns map[*trackedConn]struct{}
}

func newHub(timeout time.Duration) *hub {
	return &hub{timeout: timeout, begun: time.Now(), conns: map[*trackedConn]struct{}{}}
}

// now is cheaper than the time of day, and never goes back.
func (h *hub) now() int64 { return int64(time.Since(h.begun)) }

// tracker is for the connections of one client.
func (h *hub) tracker() *tracker { return &tracker{hub: h} }

// accuse is called with a connection on which a call has waited to its deadline.
func (h *hub) accuse(c *trackedConn) {
	asked := c.asked.Load()
	if c.heard.Load() >= asked {
		return // it owes no answer, such as one that listens; or the server was slow
	}
	if time.Duration(h.now()-asked) < h.timeout*9/10 {
		return // its caller had less time than a slow network may need
	}
	for _, silent := range h.pick(func(o *trackedConn) bool {
		// What was asked later may still be answered.
		return o.server == c.server && o.heard.Load() < asked && o.asked.Load() <= asked
	}) {
		silent.sever()
	}
	c.tracker.missed()
}

func (h *hub) pick(which func(c *trackedConn) bool) (picked []*trackedConn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		if which(c) {
			picked = append(picked, c)
		}
	}
	return picked
}

// tracker knows the open connections of a client, to close them while calls are in
// flight.
type tracker struct {
	hub *hub
	// onMiss is called, if it is there, when a server did not answer or could not
	// be reached: it may have been replaced.
	onMiss func()
	closed bool // under the lock of the hub
}

func (t *tracker) missed() {
	if t.onMiss != nil {
		t.onMiss()
	}
}

// add tracks a connection to a server, which is named as it was dialed.
func (t *tracker) add(conn net.Conn, server string) (net.Conn, error) {
	h := t.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	c := &trackedConn{Conn: conn, tracker: t, server: server, opened: h.now()}
	c.heard.Store(c.opened)
	h.conns[c] = struct{}{}
	return c, nil
}

// last lets no new connection open and returns those that are.
func (t *tracker) last() []*trackedConn {
	t.hub.mu.Lock()
	t.closed = true
	t.hub.mu.Unlock()
	return t.hub.pick(func(c *trackedConn) bool { return c.tracker == t })
}

// bow tells the servers that nothing more comes on the connections, and lets no
// new one open. A server that has seen it closes its end, and then gives no bell
// to it any more.
func (t *tracker) bow() {
	for _, c := range t.last() {
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		} else {
			c.sever()
		}
	}
}

// cut closes all connections and lets no new one open.
func (t *tracker) cut() {
	for _, c := range t.last() {
		c.sever()
	}
}

// trackedConn notes when it was last written to and read from, as times of the
// hub.
type trackedConn struct {
	net.Conn
	tracker *tracker
	server  string
	opened  int64
	asked   atomic.Int64
	heard   atomic.Int64 // at first when it was opened
	severed atomic.Bool
}

var errSevered = errors.New("the connection was given up: the server was silent")

func (c *trackedConn) Write(p []byte) (int, error) {
	c.asked.Store(c.tracker.hub.now())
	n, err := c.Conn.Write(p)
	if err != nil {
		err = c.failed(err)
	}
	return n, err
}

func (c *trackedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(c.tracker.hub.now())
	} else if err != nil {
		err = c.failed(err)
	}
	return n, err
}

func (c *trackedConn) failed(err error) error {
	switch {
	case c.severed.Load():
		return errSevered
	case isTimeout(err):
		c.tracker.hub.accuse(c)
	}
	return err
}

// SetReadDeadline bounds the wait for the first word of a server, whatever the
// caller is ready to wait: a blocking call would wait for long, and what the client
// library asks by itself for longer.
func (c *trackedConn) SetReadDeadline(t time.Time) error {
	if h := c.tracker.hub; c.heard.Load() == c.opened {
		limit := h.begun.Add(time.Duration(c.asked.Load()) + max(h.timeout, dialTimeout))
		if t.IsZero() || t.After(limit) {
			t = limit
		}
	}
	return c.Conn.SetReadDeadline(t)
}

// sever closes the connection under whoever uses it.
func (c *trackedConn) sever() {
	if !c.forget() {
		return
	}
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.NetConn().Close() // without a farewell, for which it might wait
	} else {
		_ = c.Conn.Close()
	}
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	if !c.forget() {
		return nil
	}
	return c.Conn.Close()
}

// forget reports whether the connection was still open.
func (c *trackedConn) forget() bool {
	if c.severed.Swap(true) {
		return false
	}
	h := c.tracker.hub
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	return true
}

// SyscallConn lets the client library see whether an idle connection was closed,
// before it hands it out: by the server if the system can tell, or by us.
func (c *trackedConn) SyscallConn() (syscall.RawConn, error) {
	if c.severed.Load() {
		return nil, errSevered
	}
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return opaque{}, nil
}

// opaque is what can be seen of a connection over TLS, or of a dialer of the
// user's: nothing.
type opaque struct{}

func (opaque) Control(func(fd uintptr)) error    { return nil }
func (opaque) Read(func(fd uintptr) bool) error  { return nil }
func (opaque) Write(func(fd uintptr) bool) error { return nil }
