package redis

import (
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
// server on which, for half of its wait, nothing was asked and nothing answered are
// closed with it, and the next calls dial anew. One that was alive after all, as it merely had nothing to say,
// is not missed.
//
// A server that closes connections which are idle closes the one that was idle longest
// first. Where the system shows that, the client library looks before it uses one.
// Where it cannot be seen, the first end that is found speaks for all that were idle as
// long.
//
// To open a connection takes several questions and answers, for which a call that finds none
// has no time on a slow line; nor would the next one have. When that is seen, calls have more
// time for a while.
type hub struct {
	// timeout is how long a call may take.
	timeout time.Duration
	begun   time.Time

	// slow is until when calls have more time, as a time of the hub.
	slow atomic.Int64

	mu    sync.Mutex
	conns map[*trackedConn]struct{}
}

const (
	// slowFactor is how many times as long a call has on a slow line: one that opens a
	// connection asks up to three times before.
	slowFactor = 4
	// slowFor is how long a line counts as slow.
	slowFor = time.Minute
)

// patience is how long a call may take now.
func (h *hub) patience() time.Duration {
	if h.now() < h.slow.Load() {
		return slowFactor * h.timeout
	}
	return h.timeout
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
	waited := h.now() - asked
	if time.Duration(waited) < h.timeout*9/10 {
		return // its caller had less time than a slow network may need
	}
	// An answer that was on its way when the line broke may still have come after
	// the question, so only the second half of the wait counts. What was asked in it
	// may still be answered, and so may a large request that takes its time.
	since := asked + waited/2
	for _, silent := range h.pick(func(o *trackedConn) bool {
		return o == c || o.server == c.server && o.heard.Load() < since && o.due() < since
	}) {
		silent.sever()
	}
	c.tracker.missed()
}

// mourn is called with a connection that its server has closed.
func (h *hub) mourn(c *trackedConn) {
	idle := c.heard.Load()
	for _, sibling := range h.pick(func(o *trackedConn) bool {
		return o.server == c.server && o.hidden && !o.reading.Load() &&
			o.heard.Load() <= idle && o.heard.Load() >= o.asked.Load()
	}) {
		sibling.mourned.Store(true)
		sibling.sever()
	}
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

// patience is how long a server may take to open a connection or to say its first word.
func (t *tracker) patience() time.Duration { return max(t.hub.timeout, dialTimeout) }

func (t *tracker) missed() {
	if t.onMiss != nil {
		t.onMiss()
	}
}

// add tracks a connection to a server, which is named as it was dialed.
func (t *tracker) add(conn net.Conn, server string) (net.Conn, error) {
	h := t.hub
	c := &trackedConn{Conn: conn, tracker: t, server: server, opened: h.now(), near: newNear(conn)}
	c.heard.Store(c.opened)
	c.hidden = c.socket() == nil
	h.mu.Lock()
	closed := t.closed
	if !closed {
		h.conns[c] = struct{}{}
	}
	h.mu.Unlock()
	if closed {
		c.sever()
		return nil, net.ErrClosed
	}
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
	hidden  bool // whether it was closed is seen by nobody who does not read
	reading atomic.Bool
	asked   atomic.Int64
	heard   atomic.Int64 // at first when it was opened
	sent    atomic.Int64 // bytes, since it was last read from
	closed  atomic.Bool
	mourned atomic.Bool // it was closed for a sibling's end; who had just begun to use it may ask again
	near    *near       // the reader's; nil where it is of no use
}

var errSevered = errors.New("the connection was given up, as its server was silent or had closed others")

// lostError is what ended a connection on which nothing more will be answered. What
// was asked may have been carried out.
type lostError struct{ err error }

func (l lostError) Error() string { return "the connection was lost: " + l.err.Error() }
func (l lostError) Unwrap() error { return l.err }

func wasLost(err error) bool {
	var lost lostError
	return errors.As(err, &lost)
}

// writeSize is how much is written at once. A large request on a slow line is seen
// to go on between the pieces.
const writeSize = 64 << 10

func (c *trackedConn) Write(p []byte) (n int, err error) {
	if c.closed.Load() {
		return 0, lostError{errSevered} // nothing of this was asked
	}
	for err == nil && n < len(p) {
		c.asked.Store(c.tracker.hub.now())
		var m int
		m, err = c.Conn.Write(p[n:min(n+writeSize, len(p))])
		n += m
		c.sent.Add(int64(m))
	}
	if err != nil {
		err = c.failed(err)
	}
	return n, err
}

// Read goes on after the deadline while an answer is on its way: it may be large,
// and the line slow.
func (c *trackedConn) Read(p []byte) (int, error) {
	c.reading.Store(true)
	defer c.reading.Store(false)
	sent := c.sent.Load()
	if c.near != nil && sent > 0 {
		if n := c.near.read(p, sent); n > 0 {
			c.answered(sent)
			return n, nil
		}
	}
	for {
		n, err := c.Conn.Read(p)
		switch {
		case n > 0:
			c.answered(sent)
			return n, err
		case isTimeout(err) && c.prolong():
		case err != nil:
			return n, c.failed(err)
		default:
			return n, nil
		}
	}
}

// answered notes that something arrived.
func (c *trackedConn) answered(sent int64) {
	now := c.tracker.hub.now()
	if c.near != nil && sent > 0 {
		c.near.answered(time.Duration(now - c.asked.Load()))
	}
	c.heard.Store(now)
	c.sent.Store(0)
}

// due is when what was asked is sent and worked off, as a time of the hub.
func (c *trackedConn) due() int64 {
	return c.asked.Load() + int64(allowance(0, c.sent.Load()))
}

// prolong moves the deadline to when the server will have been silent for as long
// as a call may take, if it has answered something since it was asked.
func (c *trackedConn) prolong() bool {
	h, heard := c.tracker.hub, c.heard.Load()
	limit := h.begun.Add(time.Duration(heard) + h.timeout)
	return heard > c.asked.Load() && !c.closed.Load() && time.Now().Before(limit) &&
		c.Conn.SetReadDeadline(limit) == nil
}

func (c *trackedConn) failed(err error) error {
	switch {
	case c.mourned.Load():
		return lostError{errSevered}
	case c.closed.Load():
		return errSevered
	case isTimeout(err):
		if h := c.tracker.hub; c.heard.Load() > c.opened && h.now()-c.opened <= int64(h.patience()) {
			h.slow.Store(h.now() + int64(slowFor)) // it was opened for this call, and the server answers
		}
		c.tracker.hub.accuse(c)
		return err
	}
	c.tracker.hub.mourn(c)
	return lostError{err}
}

// SetReadDeadline bounds the wait for the first word of a server, whatever the
// caller is ready to wait: a blocking call would wait for long, and what the client
// library asks by itself for longer.
func (c *trackedConn) SetReadDeadline(t time.Time) error {
	if h := c.tracker.hub; c.heard.Load() == c.opened {
		limit := h.begun.Add(time.Duration(c.due()) + c.tracker.patience())
		if t.IsZero() || t.After(limit) {
			t = limit
		}
	}
	return c.unsevered(c.Conn.SetReadDeadline(t))
}

// SetWriteDeadline implements net.Conn.
func (c *trackedConn) SetWriteDeadline(t time.Time) error {
	return c.unsevered(c.Conn.SetWriteDeadline(t))
}

// unsevered tells an error of a connection that was given up meanwhile from others:
// nothing was asked on it.
func (c *trackedConn) unsevered(err error) error {
	if err != nil && c.closed.Load() {
		return lostError{errSevered}
	}
	return err
}

// sever closes the connection under whoever uses it.
func (c *trackedConn) sever() { _ = c.Close() }

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	if c.forget() {
		hangUp(c.Conn)
	}
	return nil
}

// forget reports whether the connection was still open.
func (c *trackedConn) forget() bool {
	if c.closed.Swap(true) {
		return false
	}
	h := c.tracker.hub
	h.mu.Lock()
	delete(h.conns, c)
	h.mu.Unlock()
	return true
}

// SyscallConn lets the client library see whether an idle connection was closed,
// before it hands it out: by the server if the system can tell, or by us. Over TLS, too,
// nothing is to arrive on one that is idle but its end.
func (c *trackedConn) SyscallConn() (syscall.RawConn, error) {
	if c.closed.Load() {
		return nil, errSevered
	}
	if socket := c.socket(); socket != nil {
		return socket.SyscallConn()
	}
	return opaque{}, nil
}

// socket is what the connection is to the system; nil if that cannot be seen.
func (c *trackedConn) socket() syscall.Conn {
	conn := c.Conn
	for range 8 {
		if socket, ok := conn.(syscall.Conn); ok {
			return socket
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = wrapper.NetConn()
	}
	return nil
}

// opaque is what can be seen of a connection of a dialer of the user's: nothing.
type opaque struct{}

func (opaque) Control(func(fd uintptr)) error    { return nil }
func (opaque) Read(func(fd uintptr) bool) error  { return nil }
func (opaque) Write(func(fd uintptr) bool) error { return nil }
