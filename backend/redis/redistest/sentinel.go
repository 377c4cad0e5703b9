package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// MasterName is the name by which the sentinel knows the master.
const MasterName = "caddis"

// Sentinel is a master with a replica, watched by one sentinel.
type Sentinel struct {
	// Master and Replica are what the servers were at the start.
	Master, Replica *Server
	// Watcher is the sentinel.
	Watcher *Server
}

// StartSentinel starts the three and waits until the sentinel knows the replica.
func StartSentinel(t testing.TB, options Options) *Sentinel {
	t.Helper()
	master := Start(t, options)
	options.Args = append([]string{
		"--replicaof", "127.0.0.1 " + portOf(master), "--repl-diskless-sync-delay", "0", "--replica-priority", "1",
	}, options.Args...)
	replica := Start(t, options)

	watcher := &Server{t: t, dir: t.TempDir(), port: freePort(false)}
	watcher.Addr = fmt.Sprintf("127.0.0.1:%d", watcher.port)
	config := write(t, watcher.dir, "sentinel.conf", strings.Join([]string{
		"bind 127.0.0.1",
		"port " + portOf(watcher),
		"dir " + watcher.dir,
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s 1", MasterName, portOf(master)),
		"sentinel down-after-milliseconds " + MasterName + " 1000",
		"sentinel failover-timeout " + MasterName + " 3000",
	}, "\n")+"\n")
	watcher.args = []string{config, "--sentinel"}
	if err := watcher.launch(); err != nil {
		t.Fatalf("the sentinel did not start: %v", err)
	}
	t.Cleanup(watcher.end)

	s := &Sentinel{Master: master, Replica: replica, Watcher: watcher}
	client := goredis.NewSentinelClient(&goredis.Options{Addr: watcher.Addr, Protocol: 2})
	defer func() { _ = client.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	err := poll(func() error {
		replicas, err := client.Replicas(ctx, MasterName).Result()
		if err != nil {
			return err
		}
		for _, r := range replicas {
			if r["master-link-status"] == "ok" {
				return nil
			}
		}
		return fmt.Errorf("the sentinel sees no replica that is in step: %v", replicas)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Failover makes the replica the master, and waits until it is.
func (s *Sentinel) Failover() {
	s.Watcher.t.Helper()
	ctx := context.Background()
	client := goredis.NewSentinelClient(&goredis.Options{Addr: s.Watcher.Addr, Protocol: 2})
	defer func() { _ = client.Close() }()
	err := poll(func() error { return client.Failover(ctx, MasterName).Err() })
	if err != nil {
		s.Watcher.t.Fatalf("the failover could not be started: %v", err)
	}
	err = poll(func() error {
		addr, err := client.GetMasterAddrByName(ctx, MasterName).Result()
		if err == nil && strings.Join(addr, ":") == s.Master.Addr {
			err = fmt.Errorf("%v is the master still", addr)
		}
		return err
	})
	if err != nil {
		s.Watcher.t.Fatal(err)
	}
}

// AwaitReplica waits until the replica is the master, and the sentinel says so.
func (s *Sentinel) AwaitReplica() {
	s.Watcher.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	sentinel := goredis.NewSentinelClient(&goredis.Options{Addr: s.Watcher.Addr, Protocol: 2})
	defer func() { _ = sentinel.Close() }()
	replica := s.Replica.Client()
	defer func() { _ = replica.Close() }()
	err := poll(func() error {
		addr, err := sentinel.GetMasterAddrByName(ctx, MasterName).Result()
		if err == nil && strings.Join(addr, ":") != s.Replica.Addr {
			err = fmt.Errorf("%v is the master still", addr)
		}
		if err == nil && !strings.Contains(replica.Info(ctx, "replication").Val(), "role:master") {
			err = errors.New("the replica does not know yet that it is the master")
		}
		return err
	})
	if err != nil {
		s.Watcher.t.Fatal(err)
	}
}

// Client makes a client that finds the master; the caller closes it.
func (s *Sentinel) Client() *goredis.Client {
	return goredis.NewFailoverClient(&goredis.FailoverOptions{
		MasterName: MasterName, SentinelAddrs: []string{s.Watcher.Addr}, DialTimeout: time.Second, Protocol: 2,
	})
}
