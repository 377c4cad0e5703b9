package redis_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// verbs are calls that each need a connection.
func verbs(t *testing.T, store *redis.Backend) map[string]func() error {
	t.Helper()
	ctx := context.Background()
	one, err := store.Waiter([]string{"mail"})
	require.NoError(t, err)
	two, err := store.Waiter([]string{"mail", "other"})
	require.NoError(t, err)
	return map[string]func() error{
		"enqueue": func() error { _, err := store.Enqueue(ctx, ids("a-", 0, 1)); return err },
		"lease":   func() error { _, err := store.Lease(ctx, asking("mail")); return err },
		"check":   func() error { _, err := store.Check(ctx); return err },
		"workers": func() error { return ask(store) },
		"wait":    func() error { _, err := one.Lease(ctx, asking("mail"), time.Hour); return err },
		"waits":   func() error { _, err := two.Lease(ctx, asking("mail", "other"), time.Hour); return err },
	}
}

// listen takes connections on a free port and has serve deal with each.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var mu sync.Mutex
	var open []net.Conn
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			running.Go(func() { serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return listener.Addr().String()
}

func drain(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// greeting answers whatever comes in by a text.
func greeting(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = bufio.NewReader(conn).ReadByte()
		_, _ = io.WriteString(conn, text)
		drain(conn)
	}
}

func TestAPortOnWhichNoRedisSpeaksIsAnErrorOfEachCall(t *testing.T) {
	t.Parallel()
	id, err := redistest.NewIdentity(t.TempDir())
	require.NoError(t, err)
	peers := map[string]func(net.Conn){
		"says nothing":  drain,
		"hangs up":      func(conn net.Conn) { _ = conn.Close() },
		"hangs up late": func(conn net.Conn) { <-time.After(1500 * time.Millisecond); _ = conn.Close() },
		"HTTP":          greeting("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
		"SSH":           greeting("SSH-2.0-OpenSSH_9.2\r\n"),
		"SMTP":          greeting("220 mail.example.org ESMTP\r\n"),
		"rubbish":       greeting("*2147483647\r\n$-7\r\n\x00\xff"),
		"TLS": func(conn net.Conn) {
			secure := tls.Server(conn, id.Server)
			_ = secure.Handshake()
			drain(secure)
		},
		"hangs up after the handshake": func(conn net.Conn) {
			secure := tls.Server(conn, id.Server)
			_ = secure.Handshake()
			_ = secure.Close()
		},
		"HTTP over TLS": func(conn net.Conn) {
			secure := tls.Server(conn, id.Server)
			if secure.Handshake() == nil {
				greeting("HTTP/1.1 400 Bad Request\r\n\r\n")(secure)
			}
		},
	}
	for name, serve := range peers {
		for _, secure := range []*tls.Config{nil, id.Client, {ServerName: "localhost"}} {
			way := "plain"
			if secure != nil {
				way = fmt.Sprintf("over TLS, trusted %v", secure.RootCAs != nil)
			}
			t.Run(name+", "+way, func(t *testing.T) {
				t.Parallel()
				client := goredis.NewClient(&goredis.Options{Addr: listen(t, serve), TLSConfig: secure})
				t.Cleanup(func() { _ = client.Close() })
				store := open(t, client, redis.Config{})
				for verb, call := range verbs(t, store) {
					start := time.Now()
					require.ErrorIs(t, call(), backend.ErrUnavailable, verb)
					t.Logf("%s took %v", verb, time.Since(start).Round(time.Millisecond))
				}
			})
		}
	}
}

// fault is what is wrong with options, and who is named by the error.
type fault struct {
	who   string
	spoil func(o *goredis.Options)
}

const (
	dials  = "the dialer panicked: "
	knows  = "the provider of credentials panicked: "
	greets = "OnConnect panicked: "
)

// faults are options whose code panics where it is called.
var faults = map[string]fault{
	"the dialer": {dials, func(o *goredis.Options) {
		o.Dialer = func(context.Context, string, string) (net.Conn, error) { panic("boom") }
	}},
	"a dialer that returns nothing": {"", func(o *goredis.Options) {
		o.Dialer = func(context.Context, string, string) (net.Conn, error) { return nil, nil }
	}},
	"the certificates": {dials, func(o *goredis.Options) {
		o.TLSConfig = o.TLSConfig.Clone()
		o.TLSConfig.VerifyConnection = func(tls.ConnectionState) error { panic("boom") }
	}},
	"OnConnect": {greets, func(o *goredis.Options) {
		o.OnConnect = func(context.Context, *goredis.Conn) error { panic("boom") }
	}},
	"the credentials": {knows, func(o *goredis.Options) {
		o.CredentialsProvider = func() (string, string) { panic("boom") }
	}},
	"the credentials with a context": {knows, func(o *goredis.Options) {
		o.CredentialsProviderContext = func(context.Context) (string, string, error) { panic("boom") }
	}},
	"the stream of credentials":    {knows, func(o *goredis.Options) { o.StreamingCredentialsProvider = panicking{} }},
	"a stream without credentials": {knows, func(o *goredis.Options) { o.StreamingCredentialsProvider = without{} }},
}

type panicking struct{}

func (panicking) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	panic("boom")
}

type without struct{}

func (without) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	return nil, nil, nil
}

// lesson: in a goroutine of a library a panic of the user's code ends the process.
func TestAPanicOfTheUsersCodeIsAnErrorOfTheCall(t *testing.T) {
	t.Parallel()
	server, _ := standalone(t, redistest.Options{TLS: true})
	cluster := redistest.StartCluster(t, redistest.Options{TLS: true})
	for name, fault := range faults {
		options := server.Options()
		options.Dialer = nil
		fault.spoil(options)
		clusterOptions := &goredis.ClusterOptions{
			Addrs: cluster.Addrs(), TLSConfig: options.TLSConfig, Dialer: options.Dialer, OnConnect: options.OnConnect,
			CredentialsProvider: options.CredentialsProvider, CredentialsProviderContext: options.CredentialsProviderContext,
			StreamingCredentialsProvider: options.StreamingCredentialsProvider,
		}
		if options.TLSConfig == server.TLS() {
			clusterOptions.TLSConfig = cluster.Servers[0].TLS()
		}
		for where, client := range map[string]goredis.UniversalClient{
			"one server": goredis.NewClient(options), "a Cluster": goredis.NewClusterClient(clusterOptions),
		} {
			t.Run(name+" of "+where, func(t *testing.T) {
				t.Parallel()
				t.Cleanup(func() { _ = client.Close() })
				store := open(t, client, redis.Config{DefaultShards: 4})
				for verb, call := range verbs(t, store) {
					err := call()
					require.ErrorIs(t, err, backend.ErrUnavailable, verb)
					if where == "one server" && fault.who != "" {
						require.ErrorContains(t, err, fault.who, verb)
						require.ErrorContains(t, err, ".go:", "it says where")
					}
				}
			})
		}
	}
}

func TestAPanicInWhatAClusterClientIsMadeOfIsAnErrorOfTheCall(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, redistest.Options{})
	for says, options := range map[string]*goredis.ClusterOptions{
		"NewClient panicked: boom":     {NewClient: func(*goredis.Options) *goredis.Client { panic("boom") }},
		"NewClient returned no client": {NewClient: func(*goredis.Options) *goredis.Client { return nil }},
		"ClusterSlots panicked: boom":  {ClusterSlots: func(context.Context) ([]goredis.ClusterSlot, error) { panic("boom") }},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			options.Addrs = cluster.Addrs()
			honest := *options
			honest.NewClient, honest.ClusterSlots = nil, nil
			client := goredis.NewClusterClient(&honest)
			t.Cleanup(func() { _ = client.Close() })
			made := client.Options()
			made.NewClient, made.ClusterSlots = options.NewClient, options.ClusterSlots
			for verb, call := range verbs(t, open(t, client, redis.Config{})) {
				err := call()
				require.ErrorIs(t, err, backend.ErrUnavailable, verb)
				require.ErrorContains(t, err, says, verb)
			}
		})
	}
}

// brittle is a handler of logs that panics.
type brittle struct{ handled chan string }

func (brittle) Enabled(context.Context, slog.Level) bool { return true }
func (h brittle) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h brittle) WithGroup(string) slog.Handler          { return h }
func (h brittle) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.handled <- r.Message:
	default:
	}
	panic("boom")
}

func TestAHandlerOfLogsThatPanicsHarmsNobody(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	handled := make(chan string, 1)
	store := open(t, client, redis.Config{Namespace: "brittle", Logger: slog.New(brittle{handled})})
	require.NoError(t, client.HSet(ctx, "brittle:{*}:queues", "mail", "not a number").Err())
	_, err := store.Queues(ctx)
	require.NoError(t, err)
	require.Contains(t, <-handled, "cannot be read")
}
