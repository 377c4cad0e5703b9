// Package redistest starts private Redis servers for tests: one alone, one with
// an append-only file, three primaries of a Cluster, or a master with a replica
// behind Sentinel. They listen on free ports of the loopback, keep their data in
// the test's folder, and end with the test.
package redistest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Binary is the program that is started.
const Binary = "redis-server"

// RequireEnv is the environment variable that, set to 1, makes tests fail rather
// than be skipped where no server is installed.
const RequireEnv = "CADDIS_REQUIRE_REDIS"

// patience is how long a server may take to do as it is told.
const patience = 20 * time.Second

// Options says how a server keeps its data.
type Options struct {
	// AppendFsync is "always" or "everysec"; empty keeps all in memory.
	AppendFsync string
	// TLS has the server take connections over TLS only, with a certificate made for
	// the test.
	TLS bool
	// Args are further settings, as on the server's command line:
	// "--maxmemory", "10mb".
	Args []string
}

// Server is one redis-server process.
type Server struct {
	// Addr is its host and port, the same over restarts.
	Addr string

	t    testing.TB
	dir  string
	port int
	args []string
	// identity is nil without TLS.
	identity *Identity

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	out  *bytes.Buffer
}

// Start starts a server and waits until it answers.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	find(t)
	args := []string{"--save", "", "--appendonly", "no"}
	if options.AppendFsync != "" {
		args = []string{"--save", "", "--appendonly", "yes", "--appendfsync", options.AppendFsync}
	}
	return start(t, options.identify(t), false, append(args, options.Args...))
}

// find skips or fails the test if there is no server to start.
func find(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath(Binary); err == nil {
		return
	}
	message := Binary + " is not in PATH: install Redis 6.2 or newer (apt-get install redis-server, brew install redis)"
	if os.Getenv(RequireEnv) == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// start tries ports until the server gets one.
func start(t testing.TB, id *Identity, cluster bool, args []string) *Server {
	t.Helper()
	var err error
	for range 10 {
		s := &Server{t: t, dir: t.TempDir(), port: freePort(cluster), identity: id}
		s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
		s.args = []string{"--bind", "127.0.0.1", "--dir", s.dir, "--daemonize", "no"}
		if id == nil {
			s.args = append(s.args, "--port", strconv.Itoa(s.port))
		} else {
			s.args = append(append(s.args, "--port", "0", "--tls-port", strconv.Itoa(s.port)), id.arguments()...)
		}
		s.args = append(s.args, args...)
		if err = s.launch(); err == nil {
			t.Cleanup(s.end)
			return s
		}
		s.end()
		if !strings.Contains(err.Error(), "in use") {
			break
		}
	}
	t.Fatalf("no server could be started: %v", err)
	return nil
}

// given are the ports that servers of this process have got. None is given twice, as a
// server that was ended may start again.
var given sync.Map

// freePort looks for a free port, and for a Cluster one whose bus port, 10000
// higher, is free as well.
func freePort(cluster bool) int {
	for {
		port := 12000 + rand.IntN(20000)
		if _, taken := given.LoadOrStore(port, true); !taken && listens(port) && (!cluster || listens(port+10000)) {
			return port
		}
	}
}

func listens(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// launch starts the process and waits until it answers.
func (s *Server) launch() error {
	s.mu.Lock()
	s.out = &bytes.Buffer{}
	s.cmd = exec.Command(Binary, s.args...)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = dieWithParent()
	s.done = make(chan struct{})
	cmd, done, out := s.cmd, s.done, s.out
	err := cmd.Start()
	s.mu.Unlock()
	if err != nil {
		close(done)
		return err
	}
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	client := s.Client()
	defer func() { _ = client.Close() }()
	err = poll(func() error {
		select {
		case <-done:
			return giveUp{fmt.Errorf("the server ended: %s", out.String())}
		default:
		}
		// The client library logs each failure to connect, so ask first.
		conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
		if err != nil {
			return err
		}
		_ = conn.Close()
		return answersAs(client, cmd.Process.Pid)
	})
	return err
}

// answersAs tells the server of this process from one of somebody else that was quicker to
// take the port: ours will end then.
func answersAs(client *goredis.Client, pid int) error {
	ctx := context.Background()
	if err := client.Ping(ctx).Err(); err != nil { // it may still read its data
		return err
	}
	info, err := client.Info(ctx, "server").Result()
	if err == nil && !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", pid)) {
		err = errors.New("another server answers")
	}
	return err
}

type giveUp struct{ error }

// poll repeats f until it succeeds, gives up or patience ends.
func poll(f func() error) error {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		var final giveUp
		if err == nil || errors.As(err, &final) || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}

// Options are client options for the server, which fail fast.
func (s *Server) Options() *goredis.Options {
	o := &goredis.Options{Addr: s.Addr, Protocol: 2, DialTimeout: time.Second, DialerRetries: 1}
	if s.identity != nil {
		o.TLSConfig, o.DialTimeout = s.identity.Client, patience // a busy server shakes hands late
	}
	return o
}

// Client makes a client; the caller closes it.
func (s *Server) Client() *goredis.Client { return goredis.NewClient(s.Options()) }

// TLS is what a client of the server trusts; nil if it does not listen over TLS.
func (s *Server) TLS() *tls.Config { return s.Options().TLSConfig }

// Dir is the folder of the server's data.
func (s *Server) Dir() string { return s.dir }

// Log is what the current process has written. It may be called when the
// process has ended.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return s.out.String()
	default:
		return ""
	}
}

// PID is the id of the current process.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Stop ends the server in good order and waits for its end.
func (s *Server) Stop() { s.signal(os.Interrupt) }

// Kill ends the server at once.
func (s *Server) Kill() { s.signal(os.Kill) }

func (s *Server) signal(sig os.Signal) {
	s.mu.Lock()
	process, done := s.cmd.Process, s.done
	s.mu.Unlock()
	if process == nil {
		return
	}
	if err := process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = process.Kill()
	}
	select {
	case <-done:
	case <-time.After(patience):
		_ = process.Kill()
		<-done
	}
}

// Restart starts the server again, on the same port and with the same data.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.launch(); err != nil {
		s.t.Fatalf("the server did not start again: %v", err)
	}
}

// Pause stops the process without ending it; connections stay open.
func (s *Server) Pause() {
	s.t.Helper()
	if err := pause(s.PID()); err != nil {
		s.t.Fatalf("the server could not be paused: %v", err)
	}
}

// Continue undoes Pause.
func (s *Server) Continue() {
	s.t.Helper()
	if err := resume(s.PID()); err != nil {
		s.t.Fatalf("the server could not be continued: %v", err)
	}
}

// end is what the test's end does.
func (s *Server) end() {
	s.mu.Lock()
	started := s.cmd != nil && s.cmd.Process != nil
	s.mu.Unlock()
	if started {
		s.Kill()
	}
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
