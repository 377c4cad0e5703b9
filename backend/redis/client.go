package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// dialTimeout bounds the connecting to a server, if a call may not take longer:
	// over TLS a server that is busy takes its time to shake hands.
	dialTimeout = time.Second
	// reloadInterval is how old what a client knows of a Cluster may be when it
	// is used. Only a redirection makes the library look again before its time,
	// and a primary that is dead redirects nobody.
	reloadInterval = time.Second
	// socketTimeout is the longest that a socket may keep silent. Calls have
	// deadlines of their own, which are shorter.
	socketTimeout = 2 * time.Minute
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

// client makes a client, whose connections are tracked.
func (d *deriver) client(size int, track *tracker, h hook) goredis.UniversalClient {
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if d.cluster != nil {
		o := *d.cluster
		o.Addrs = slices.Clone(o.Addrs) // the library appends to it
		o.MaxRetries = -1
		o.MaxRedirects = 3
		o.ClusterStateReloadInterval = reloadInterval
		o.DialTimeout, o.DialerRetries = track.patience(), 1
		o.ReadTimeout, o.WriteTimeout = socketTimeout, socketTimeout
		o.ContextTimeoutEnabled = true
		o.PoolSize, o.PoolTimeout, o.PoolFIFO = size, dialTimeout, false
		o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns, o.MaxConcurrentDials = 0, 0, 0, 0
		o.PipelinePoolSize = -1
		o.PipelineReadBufferSize, o.PipelineWriteBufferSize = 0, 0
		o.AutoPipelineOptions = nil
		o.Protocol = 2
		o.MaintNotificationsConfig = quiet
		o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		guardClusterOptions(&o)
		if o.Dialer == nil {
			o.Dialer = goredis.NewDialer(&goredis.Options{DialTimeout: track.patience(), TLSConfig: o.TLSConfig})
		}
		o.Dialer = prompt(o.Dialer, track)
		client := goredis.NewClusterClient(&o)
		client.AddHook(h)
		track.onMiss = func() { client.ReloadState(context.Background()) }
		return client
	}
	o := *d.single
	o.MaxRetries = -1
	o.DialTimeout, o.DialerRetries = track.patience(), 1
	o.ReadTimeout, o.WriteTimeout = socketTimeout, socketTimeout
	o.ContextTimeoutEnabled = true
	o.PoolSize, o.PoolTimeout, o.PoolFIFO = size, dialTimeout, false
	o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns, o.MaxConcurrentDials = 0, 0, 0, size
	o.PipelinePoolSize = -1
	o.PipelineReadBufferSize, o.PipelineWriteBufferSize = 0, 0
	o.AutoPipelineOptions = nil
	o.Protocol = 2
	o.MaintNotificationsConfig = quiet
	o.ClientSideCacheConfig, o.ClientSideCache = nil, nil
	o.ClientSideCacheCoalesceMisses, o.ClientSideCacheRefreshOnInvalidate = false, false
	guardOptions(&o)
	o.Dialer = prompt(o.Dialer, track)
	client := goredis.NewClient(&o)
	client.AddHook(h)
	return client
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// prompt makes a dialer keep to its context, which the usual one does not over
// TLS, nor does the one that asks Sentinel; and it tracks what it opens.
func prompt(dial dialer, track *tracker) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, track.patience())
		defer cancel()
		conn, err := dialWithin(ctx, dial, network, addr)
		if err != nil {
			track.missed()
			return newUnborn(addr, err), nil
		}
		tracked, err := track.add(conn, addr)
		if err != nil {
			return newUnborn(addr, err), nil
		}
		return tracked, nil
	}
}

// unborn stands for a connection that could not be opened. Who uses it gets the
// error of the dialing. From a dialer that fails the client library would, after
// a number of failures, take no more orders and try by itself, once a second: too
// seldom for us.
type unborn struct{ err error }

func newUnborn(addr string, err error) unborn {
	if reply := goredis.Error(nil); errors.As(err, &reply) {
		err = errors.New(err.Error()) // what Sentinel replied is not the server's reply
	}
	err = fmt.Errorf("connecting to %s: %w", addr, err)
	return unborn{fmt.Errorf("%w", err)} // the library takes off one layer
}

func (u unborn) Read([]byte) (int, error)              { return 0, u.err }
func (u unborn) Write([]byte) (int, error)             { return 0, u.err }
func (u unborn) SyscallConn() (syscall.RawConn, error) { return nil, u.err }
func (unborn) Close() error                            { return nil }
func (unborn) LocalAddr() net.Addr                     { return &net.TCPAddr{} }
func (unborn) RemoteAddr() net.Addr                    { return &net.TCPAddr{} }
func (unborn) SetDeadline(time.Time) error             { return nil }
func (unborn) SetReadDeadline(time.Time) error         { return nil }
func (unborn) SetWriteDeadline(time.Time) error        { return nil }

// dialWithin dials until ctx ends. What a dialer returns beside an error is not looked
// at: from the usual one over TLS it is a connection that is nil and does not compare
// so.
func dialWithin(ctx context.Context, dial dialer, network, addr string) (net.Conn, error) {
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		d := dialed{err: errors.New("the dialer did not return")}
		defer func() { done <- d }()
		defer caught("the dialer", &d.err)
		d.conn, d.err = dial(ctx, network, addr)
		if d.conn == nil && d.err == nil {
			d.err = errors.New("the dialer returned neither a connection nor an error")
		}
	}()
	select {
	case d := <-done:
		if d.err != nil {
			return nil, d.err
		}
		return d.conn, nil
	case <-ctx.Done():
		go func() {
			if d := <-done; d.err == nil {
				hangUp(d.conn)
			}
		}()
		return nil, ctx.Err()
	}
}

// hangUp closes a connection, over TLS without a farewell, for which it might wait.
func hangUp(conn net.Conn) {
	defer func() { _ = recover() }() // it may be the user's
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

// limited is a context with a deadline but without a timer: the client library
// turns the deadline into one of the socket. Nobody is woken when it passes, but
// who looks afterwards sees that it has: so the library makes no further attempt.
type limited struct {
	context.Context
	deadline time.Time
}

// passed is the Done of every deadline that has.
var passed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (l limited) Deadline() (time.Time, bool) { return l.deadline, true }

func (l limited) Done() <-chan struct{} {
	if time.Until(l.deadline) <= 0 {
		return passed
	}
	return l.Context.Done()
}

func (l limited) Err() error {
	if err := l.Context.Err(); err != nil || time.Until(l.deadline) > 0 {
		return err
	}
	return context.DeadlineExceeded
}

// within bounds a context.
func within(ctx context.Context, d time.Duration) context.Context {
	return until(ctx, time.Now().Add(d))
}

// until bounds a context by an instant.
func until(ctx context.Context, deadline time.Time) context.Context {
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(deadline) {
		return ctx
	}
	return limited{ctx, deadline}
}
