package redis

import (
	"net"
	"runtime"
	"syscall"
	"time"
)

// near is the reading of answers that come within microseconds.
//
// A goroutine that waits for an answer is parked, and with nothing else to do its
// thread is too. To wake both takes longer than a server nearby needs for a small
// request: on the loopback half of a lone call is that. So who has asked something
// small of a server that mostly answers at once looks for the answer again and
// again, for about twice as long as one usually takes, and is parked only then.
// Others that have work come first at each look, and end it. Where answers take
// longer, over a network or because the server is busy, nobody looks.
type near struct {
	raw syscall.RawConn
	// usual is a moving average of how long an answer takes.
	usual time.Duration
	// look tries to read into buf until an instant; it is made once.
	look  func(fd uintptr) bool
	buf   []byte
	n     int
	until time.Time
}

const (
	// nearby is how long an answer may take at most to be looked for.
	nearby = 100 * time.Microsecond
	// nearBytes bounds the requests whose answers are looked for: a larger one
	// carries the work of many, who gain nothing by it.
	nearBytes = 1 << 10
	// busy is how long the others may take between two looks: if it is longer, this
	// process or the machine has enough to do, and nothing is to be gained.
	busy = 5 * time.Microsecond
)

// newNear returns nil where looking is of no use: with one CPU the server could be
// the one that has to wait for it.
func newNear(conn net.Conn) *near {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil // a dialer's own, or TLS: what is read there is not what arrives
	}
	if tryRead == nil || runtime.GOMAXPROCS(0) < 2 {
		return nil
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	r := &near{raw: raw}
	r.look = func(fd uintptr) bool {
		for now := time.Now(); now.Before(r.until); {
			n, again := tryRead(fd, r.buf)
			if !again {
				r.n = n
				break
			}
			runtime.Gosched()
			before := now
			if now = time.Now(); now.Sub(before) > busy {
				break
			}
		}
		return true
	}
	return r
}

// read returns what arrives soon, or 0: then the usual way of reading waits, or
// tells what is wrong.
func (r *near) read(p []byte, sent int64) int {
	if r.usual == 0 || r.usual > nearby || sent > nearBytes {
		return 0
	}
	r.buf, r.n, r.until = p, 0, time.Now().Add(2*r.usual)
	err := r.raw.Read(r.look)
	r.buf = nil
	if err != nil {
		return 0
	}
	return max(0, r.n)
}

// answered notes how long an answer took.
func (r *near) answered(took time.Duration) {
	if r.usual == 0 {
		r.usual = took
	}
	r.usual = max(1, r.usual+(took-r.usual)/8)
}
