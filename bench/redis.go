package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// serverBinary is found in PATH.
const serverBinary = "redis-server"

// server is a redis-server process of our own.
type server struct {
	addr string
	// admin asks about the server's state, on connections of its own.
	admin *redis.Client

	cmd *exec.Cmd
	dir string
	out bytes.Buffer
	end chan struct{}
}

// startServer starts a server on a free port of the loopback.
func startServer(ctx context.Context, aof bool) (*server, error) {
	var err error
	for range 5 { // the port may be taken before the server gets it
		var s *server
		if s, err = launch(ctx, aof); err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func launch(ctx context.Context, aof bool) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "caddis-bench-")
	if err != nil {
		return nil, err
	}
	s := &server{addr: net.JoinHostPort("127.0.0.1", port), dir: dir, end: make(chan struct{})}
	args := []string{"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--daemonize", "no"}
	if aof {
		args = append(args, "--appendonly", "yes", "--appendfsync", "everysec")
	}
	s.cmd = exec.Command(serverBinary, args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	s.cmd.SysProcAttr = dieWithParent()
	if err := s.cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("%w; install Redis 6.2 or newer", err)
	}
	go func() {
		_ = s.cmd.Wait() // it is killed in the end
		close(s.end)
	}()
	s.admin = redis.NewClient(&redis.Options{Addr: s.addr, Protocol: 2})
	if err := s.answers(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s does not start: %w: %s", serverBinary, err, s.out.String())
	}
	return s, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// answers waits for the first answer.
func (s *server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		select {
		case <-s.end:
			return errors.New("it has ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		// The client library logs each failure to connect, so ask first.
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err != nil {
			continue
		}
		_ = conn.Close()
		return s.admin.Ping(ctx).Err()
	}
}

func (s *server) stop() {
	_ = s.admin.Close()
	_ = s.cmd.Process.Kill()
	<-s.end
	_ = os.RemoveAll(s.dir)
}

// redisVersion asks the program for its version.
func redisVersion(ctx context.Context) (string, error) {
	text, err := exec.CommandContext(ctx, serverBinary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%w; install Redis 6.2 or newer", err)
	}
	for word := range strings.FieldsSeq(string(text)) {
		if v, ok := strings.CutPrefix(word, "v="); ok {
			return v, nil
		}
	}
	return "of unknown version", nil
}
