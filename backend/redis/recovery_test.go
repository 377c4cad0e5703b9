package redis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// patience is how long a test waits for what is bound to happen.
const patience = time.Minute

// pool is how many connections a store has for its calls.
const pool = 16

// lines is a dialer whose connections can be made silent: they stay open, and
// nothing passes in either direction any more.
type lines struct {
	kind   kind
	secure *tls.Config // of secured lines

	mu     sync.Mutex
	all    []*line
	silent bool   // those to come are
	hangs  bool   // those to come do not even open
	only   string // if not empty, the address that this concerns
	// next is set if the next connection that is written to falls silent.
	next atomic.Bool
}

// kind is what of a connection can be seen from its outside.
type kind string

const (
	plain   kind = "plain"
	secured kind = "over TLS"
	// opaque hides from the client library what the system knows of it.
	opaque kind = "opaque"
)

type line struct {
	net.Conn
	lines  *lines
	addr   string
	dead   atomic.Bool
	closes atomic.Int64
}

// rawLine is a line that the system can look at.
type rawLine struct{ *line }

func (l rawLine) SyscallConn() (syscall.RawConn, error) {
	return l.Conn.(syscall.Conn).SyscallConn()
}

func (s *lines) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	s.mu.Lock()
	hangs := s.hangs && (s.only == "" || s.only == addr)
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: network, Err: ctx.Err()}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l := &line{Conn: conn, lines: s, addr: addr}
	s.mu.Lock()
	l.dead.Store(s.silent && (s.only == "" || s.only == addr))
	s.all = append(s.all, l)
	s.mu.Unlock()
	switch s.kind {
	case opaque:
		return l, nil
	case secured:
		secure := tls.Client(rawLine{l}, s.secure)
		if err := secure.HandshakeContext(ctx); err != nil {
			if l.closes.Load() == 0 {
				_ = l.Close()
			}
			return nil, err
		}
		return secure, nil
	}
	return rawLine{l}, nil
}

func (l *line) Write(p []byte) (int, error) {
	if l.lines.next.CompareAndSwap(true, false) {
		l.dead.Store(true)
	}
	if l.dead.Load() && l.closes.Load() == 0 {
		return len(p), nil
	}
	return l.Conn.Write(p)
}

func (l *line) Read(p []byte) (int, error) {
	for {
		n, err := l.Conn.Read(p)
		if err != nil || !l.dead.Load() {
			return n, err
		}
	}
}

func (l *line) Close() error {
	l.closes.Add(1)
	return l.Conn.Close()
}

// set says what becomes of the connections to come. Those that are open fall
// silent.
func (s *lines) set(silent, hangs bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent, s.hangs = silent, hangs
	for _, l := range s.all {
		if s.only == "" || s.only == l.addr {
			l.dead.Store(true)
		}
	}
}

// heal lets the connections to come pass again.
func (s *lines) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent, s.hangs = false, false
}

// list returns the connections that are open, and how many there ever were.
func (s *lines) list() (open []*line, dialed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.all {
		if l.closes.Load() == 0 {
			open = append(open, l)
		}
	}
	return open, len(s.all)
}

// fallible is a store on such lines, and a client past them.
func fallible(t *testing.T, kind kind) (*redis.Backend, *lines, *redistest.Server) {
	t.Helper()
	server, client := standalone(t, redistest.Options{TLS: kind == secured})
	s := &lines{kind: kind, secure: server.TLS()}
	options := *client.Options()
	options.Dialer = s.dial
	broken := goredis.NewClient(&options)
	t.Cleanup(func() { _ = broken.Close() })
	t.Cleanup(func() { // after the store was closed
		s.mu.Lock()
		all := slices.Clone(s.all)
		s.mu.Unlock()
		for _, l := range all { // a dial that nobody waits for any more may still end
			require.Eventually(t, func() bool { return l.closes.Load() > 0 }, patience, time.Millisecond, "each connection is closed")
			require.EqualValues(t, 1, l.closes.Load(), "each connection is closed once")
		}
	})
	return open(t, broken, redis.Config{}), s, server
}

// ask is a short question to the store.
func ask(store backend.Backend) error {
	_, err := store.Workers(context.Background())
	return err
}

// fill opens n pooled connections: while the server is paused each call has one. On a
// slow machine that may take longer than a call may, and is tried again.
func fill(t *testing.T, store backend.Backend, s *lines, server *redistest.Server, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return ask(store) == nil }, patience, time.Millisecond)
	require.Eventually(t, func() bool {
		server.Pause()
		var calls sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			calls.Go(func() { errs[i] = ask(store) })
		}
		open := func() bool { open, _ := s.list(); return len(open) == n }
		for until := time.Now().Add(redis.DefaultTimeout / 2); !open() && time.Now().Before(until); {
			<-time.After(time.Millisecond)
		}
		server.Continue()
		calls.Wait()
		return errors.Join(errs...) == nil && open()
	}, patience, time.Millisecond)
}

// each runs a test with connections of each kind.
func each(t *testing.T, f func(t *testing.T, kind kind)) {
	t.Helper()
	t.Parallel()
	for _, kind := range []kind{plain, secured, opaque} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			f(t, kind)
		})
	}
}

// lesson: after a network fault each dead connection of the pool cost a time-out of
// its own.
func TestConnectionsThatFellSilentAreGivenUpTogether(t *testing.T) {
	each(t, func(t *testing.T, kind kind) {
		store, s, server := fallible(t, kind)
		fill(t, store, s, server, pool)
		s.set(true, false)
		start := begin()
		err := ask(store)
		require.ErrorIs(t, err, backend.ErrUnavailable)
		start.within(t, redis.DefaultTimeout+500*time.Millisecond, "until the first call hears of it")
		left, _ := s.list()
		require.Empty(t, left)

		s.heal()
		start = begin()
		for range 2 * pool {
			require.NoError(t, ask(store))
		}
		start.within(t, redis.DefaultTimeout, "calls on new connections")
	})
}

func TestAConnectionThatIsAliveIsNotClosedByAnothersTimeout(t *testing.T) {
	each(t, func(t *testing.T, kind kind) {
		store, s, server := fallible(t, kind)
		fill(t, store, s, server, 2)
		s.next.Store(true)
		failed := make(chan error, 1)
		go func() { failed <- ask(store) }()
		require.Eventually(t, func() bool { return !s.next.Load() }, patience, time.Millisecond)
		for asked := 0; ; asked++ {
			select {
			case err := <-failed:
				require.ErrorIs(t, err, backend.ErrUnavailable)
				require.Greater(t, asked, 10)
				for range 10 {
					require.NoError(t, ask(store))
				}
				left, dialed := s.list()
				require.Len(t, left, 1)
				require.Equal(t, 2, dialed, "the one that was alive served on")
				return
			case <-time.After(10 * time.Millisecond):
				require.NoError(t, ask(store))
			}
		}
	})
}

// A wait would be the last to find out that its connection is dead: it has nothing
// to expect for seconds.
func TestWhoWaitsIsToldThatItsConnectionFellSilent(t *testing.T) {
	for _, queues := range [][]string{{"mail"}, {"mail", "other"}} {
		t.Run(fmt.Sprint(len(queues), " queues"), func(t *testing.T) {
			each(t, func(t *testing.T, kind kind) {
				ctx := context.Background()
				store, s, _ := fallible(t, kind)
				waiter, err := store.Waiter(queues)
				require.NoError(t, err)
				told := make(chan error, 1)
				request := asking(queues...)
				go func() {
					_, err := waiter.Lease(ctx, request, time.Hour)
					told <- err
				}()
				var cancels, orders atomic.Int64
				go func() {
					_ = store.Listen(ctx, func(c backend.Command) {
						switch c.Verb {
						case backend.CommandCancel:
							cancels.Add(1)
						case backend.CommandControl:
							orders.Add(1)
						}
					})
				}()
				require.NoError(t, ask(store))
				require.Eventually(t, func() bool { open, _ := s.list(); return len(open) >= 3 }, patience, time.Millisecond)
				<-time.After(100 * time.Millisecond)

				heard := orders.Load()
				s.set(false, false)
				start := begin()
				require.ErrorIs(t, ask(store), backend.ErrUnavailable)
				require.ErrorIs(t, <-told, backend.ErrUnavailable)
				start.within(t, redis.DefaultTimeout+500*time.Millisecond, "until who waits hears of it")

				_, err = store.Enqueue(ctx, ids("a-", 0, 1))
				require.NoError(t, err)
				reply, err := waiter.Lease(ctx, request, time.Hour) // the repetition
				require.NoError(t, err)
				require.Len(t, reply.Leases, 1)
				require.Eventually(t, func() bool {
					_, err := store.Cancel(ctx, "mail", []string{reply.Leases[0].Job.ID})
					return err == nil && cancels.Load() > 0
				}, patience, 20*time.Millisecond, "commands are heard again")
				require.Greater(t, orders.Load(), heard, "what workers are told may have changed meanwhile")
			})
		})
	}
}

func TestAWaiterKeepsItsConnection(t *testing.T) {
	each(t, func(t *testing.T, kind kind) {
		ctx := context.Background()
		store, s, _ := fallible(t, kind)
		waiter, err := store.Waiter([]string{"mail"})
		require.NoError(t, err)
		for range 5 {
			_, err := waiter.Lease(ctx, asking("mail"), 10*time.Millisecond)
			require.NoError(t, err)
		}
		_, dialed := s.list()
		require.LessOrEqual(t, dialed, 3, "one waits; the pool has one for what is asked, and one for nudges")
	})
}

// A server that takes connections and says nothing is not waited for as long as a
// bell may be.
func TestTheFirstWordOfAServerIsNotAwaitedForLong(t *testing.T) {
	each(t, func(t *testing.T, kind kind) {
		ctx := context.Background()
		store, s, server := fallible(t, kind)
		waiter, err := store.Waiter([]string{"mail"})
		require.NoError(t, err)
		_, err = waiter.Lease(ctx, asking("mail"), 10*time.Millisecond)
		require.NoError(t, err)
		s.set(true, false)
		client := server.Client()
		defer func() { _ = client.Close() }()
		require.NoError(t, client.ClientKillByFilter(ctx, "type", "normal").Err())
		if kind == opaque { // who cannot see that it was closed learns it by an error
			_, err = waiter.Lease(ctx, asking("mail"), time.Hour)
			require.ErrorIs(t, err, backend.ErrUnavailable)
		}
		start := begin()
		_, err = waiter.Lease(ctx, asking("mail"), time.Hour)
		require.ErrorIs(t, err, backend.ErrUnavailable)
		start.within(t, redis.DefaultTimeout+500*time.Millisecond, "until the first word was missed")
	})
}

// lesson: after as many failed dials as the pool has connections the client library
// dials no more but once a second, and a dial that hangs takes another one.
func TestAServerThatCouldNotBeReachedIsUsedAsSoonAsItCan(t *testing.T) {
	each(t, func(t *testing.T, kind kind) {
		store, s, _ := fallible(t, kind)
		require.NoError(t, ask(store))
		s.set(true, true)
		require.ErrorIs(t, ask(store), backend.ErrUnavailable) // the connection is dead
		errs := make([]error, pool)
		var calls sync.WaitGroup
		for i := range errs {
			calls.Go(func() { errs[i] = ask(store) })
		}
		start := begin()
		calls.Wait()
		start.within(t, redis.DefaultTimeout+500*time.Millisecond, "calls that cannot connect")
		s.heal()
		start = begin()
		require.NoError(t, ask(store))
		start.within(t, 500*time.Millisecond, "the first call that can connect again")
		for _, err := range errs {
			require.ErrorIs(t, err, backend.ErrUnavailable)
			require.ErrorContains(t, err, "connecting to ")
		}
	})
}

// lesson: the client library repeats a pipeline whose dial failed, four times in all.
func TestACallToAClusterWithAServerThatCannotBeReachedEndsInTime(t *testing.T) {
	ctx := context.Background()
	cluster := redistest.StartCluster(t, redistest.Options{})
	s := &lines{only: cluster.Servers[0].Addr}
	broken := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: cluster.Addrs(), Dialer: s.dial})
	t.Cleanup(func() { _ = broken.Close() })
	store := open(t, broken, redis.Config{DefaultShards: 6})
	_, err := store.Lease(ctx, asking("mail"))
	require.NoError(t, err)
	s.set(true, true)
	for range 3 {
		start := begin()
		_, err = store.Lease(ctx, asking("mail"))
		require.ErrorIs(t, err, backend.ErrUnavailable)
		start.within(t, redis.DefaultTimeout+500*time.Millisecond, "a call to a Cluster of which a server is away")
	}
	s.heal()
	start := begin()
	require.Eventually(t, func() bool {
		_, err = store.Lease(ctx, asking("mail"))
		return err == nil
	}, patience, 50*time.Millisecond)
	start.within(t, 2*time.Second, "until the server is used again")
}
