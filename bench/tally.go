package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// tally counts round trips at the sockets of a client: each time that a
// connection is read from after it was written to. Calls that share a pipeline
// are one round trip, whatever their size.
type tally struct{ trips atomic.Int64 }

func (t *tally) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tallied{Conn: conn, tally: t}, nil
}

type tallied struct {
	net.Conn
	tally   *tally
	written atomic.Bool
}

func (c *tallied) Write(b []byte) (int, error) {
	c.written.Store(true)
	return c.Conn.Write(b)
}

func (c *tallied) Read(b []byte) (int, error) {
	if c.written.Swap(false) {
		c.tally.trips.Add(1)
	}
	return c.Conn.Read(b)
}

// SyscallConn lets the client library see whether an idle connection was closed
// by the server.
func (c *tallied) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
