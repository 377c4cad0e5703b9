package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// dialTimeout bounds the connecting to a server.
	dialTimeout = time.Second
	// reloadInterval is how old what a client knows of a Cluster may be when it
	// is used. Only a redirection makes the library look again before its time,
	// and a primary that is dead redirects nobody.
	reloadInterval = time.Second
	// socketTimeout is the longest that a socket may keep silent. Calls have
	// deadlines of their own, which are shorter.
	socketTimeout = 30 * time.Second
)

// deriver makes clients with the addresses and credentials of the user's, but
// with settings of our own: no repeats by the library, as the repeat is ours and
// carries the same numbers; failing fast; and nothing that pushes messages.
type deriver struct {
	single  *goredis.Options
	cluster *goredis.ClusterOptions
}

func derive(client goredis.UniversalClient) (*deriver, error) {
	switch c := client.(type) {
	case *goredis.Client:
		if c == nil {
			break
		}
		return &deriver{single: c.Options()}, nil
	case *goredis.ClusterClient:
		if c == nil {
			break
		}
		return &deriver{cluster: c.Options()}, nil
	case nil:
	default:
		return nil, fmt.Errorf("redis: a %T cannot be used, as jobs need scripts and blocking calls on one server per key; give a *redis.Client (also one made by NewFailoverClient) or a *redis.ClusterClient", client)
	}
	return nil, errors.New("redis: the client is nil")
}

func (d *deriver) clustered() bool { return d.cluster != nil }

// client makes a client. With a tracker its connections can be closed while
// calls are in flight.
func (d *deriver) client(size int, track *tracker) goredis.UniversalClient {
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if d.cluster != nil {
		o := *d.cluster
		o.Addrs = slices.Clone(o.Addrs) // the library appends to it
		o.MaxRetries = -1
		o.MaxRedirects = 3
		o.ClusterStateReloadInterval = reloadInterval
		o.DialTimeout, o.DialerRetries = dialTimeout, 1
		o.ReadTimeout, o.WriteTimeout = socketTimeout, socketTimeout
		o.ContextTimeoutEnabled = true
		o.PoolSize, o.PoolTimeout = size, dialTimeout
		o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns, o.MaxConcurrentDials = 0, 0, 0, 0
		o.PipelinePoolSize = -1
		o.PipelineReadBufferSize, o.PipelineWriteBufferSize = 0, 0
		o.AutoPipelineOptions = nil
		o.Protocol = 2
		o.MaintNotificationsConfig = quiet
		o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		if o.Dialer == nil {
			o.Dialer = goredis.NewDialer(&goredis.Options{DialTimeout: dialTimeout, TLSConfig: o.TLSConfig})
		}
		o.Dialer = prompt(o.Dialer, o.TLSConfig, track)
		return goredis.NewClusterClient(&o)
	}
	o := *d.single
	o.MaxRetries = -1
	o.DialTimeout, o.DialerRetries = dialTimeout, 1
	o.ReadTimeout, o.WriteTimeout = socketTimeout, socketTimeout
	o.ContextTimeoutEnabled = true
	o.PoolSize, o.PoolTimeout = size, dialTimeout
	o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns, o.MaxConcurrentDials = 0, 0, 0, size
	o.PipelinePoolSize = -1
	o.PipelineReadBufferSize, o.PipelineWriteBufferSize = 0, 0
	o.AutoPipelineOptions = nil
	o.Protocol = 2
	o.MaintNotificationsConfig = quiet
	o.ClientSideCacheConfig, o.ClientSideCache = nil, nil
	o.ClientSideCacheCoalesceMisses, o.ClientSideCacheRefreshOnInvalidate = false, false
	o.Dialer = prompt(o.Dialer, o.TLSConfig, track)
	return goredis.NewClient(&o)
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// prompt makes a dialer keep to its context, which the usual one does not over
// TLS, and tracks what it opens.
func prompt(dial dialer, secure *tls.Config, track *tracker) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := dialWithin(ctx, dial, secure != nil, network, addr)
		if err != nil || track == nil {
			return conn, err
		}
		return track.add(conn)
	}
}

func dialWithin(ctx context.Context, dial dialer, apart bool, network, addr string) (net.Conn, error) {
	if !apart {
		return dial(ctx, network, addr)
	}
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		conn, err := dial(ctx, network, addr)
		done <- dialed{conn, err}
	}()
	select {
	case d := <-done:
		return d.conn, d.err
	case <-ctx.Done():
		go func() {
			if d := <-done; d.conn != nil {
				_ = d.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// tracker knows the open connections of a client, to close them at once.
type tracker struct {
	mu     sync.Mutex
	conns  map[*trackedConn]struct{}
	closed bool
}

type trackedConn struct {
	net.Conn
	tracker *tracker
}

func (t *tracker) add(conn net.Conn) (net.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	if t.conns == nil {
		t.conns = map[*trackedConn]struct{}{}
	}
	c := &trackedConn{Conn: conn, tracker: t}
	t.conns[c] = struct{}{}
	return c, nil
}

// bow tells the servers that nothing more comes on the connections, and lets no
// new one open. A server that has seen it closes its end, and then gives no bell
// to it any more.
func (t *tracker) bow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for c := range t.conns {
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		} else {
			_ = c.Conn.Close()
		}
	}
}

// cut closes all connections and lets no new one open.
func (t *tracker) cut() {
	t.mu.Lock()
	conns := t.conns
	t.conns, t.closed = nil, true
	t.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
}

func (c *trackedConn) Close() error {
	c.tracker.mu.Lock()
	delete(c.tracker.conns, c)
	c.tracker.mu.Unlock()
	return c.Conn.Close()
}

// SyscallConn lets the client library see whether an idle connection was closed
// by the server.
func (c *trackedConn) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// limited is a context with a deadline but without a timer: the client library
// turns the deadline into one of the socket.
type limited struct {
	context.Context
	deadline time.Time
}

func (l limited) Deadline() (time.Time, bool) { return l.deadline, true }

// within bounds a context.
func within(ctx context.Context, d time.Duration) context.Context {
	deadline := time.Now().Add(d)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		return ctx
	}
	return limited{ctx, deadline}
}
