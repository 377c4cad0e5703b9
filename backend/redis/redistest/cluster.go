package redistest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// primaries is the size of a Cluster.
const primaries = 3

// slots is the number of hash slots of every Cluster.
const slots = 16384

// Cluster is a Redis Cluster of three primaries without replicas.
type Cluster struct {
	Servers []*Server
}

// StartCluster starts a Cluster and waits until all its slots are served. A server
// that a busy machine keeps from answering the others is not taken for dead within 30
// seconds; a test of that sets "--cluster-node-timeout".
func StartCluster(t testing.TB, options Options) *Cluster {
	t.Helper()
	find(t)
	ctx := context.Background()
	c := &Cluster{}
	args := append([]string{
		"--save", "", "--appendonly", "no", "--cluster-enabled", "yes", "--cluster-node-timeout", "30000",
		"--cluster-require-full-coverage", "no",
	}, options.Args...)
	if options.AppendFsync != "" {
		args = append(args, "--appendonly", "yes", "--appendfsync", options.AppendFsync)
	}
	id := options.identify(t)
	if id != nil {
		args = append(args, "--tls-cluster", "yes", "--tls-replication", "yes")
	}
	for i := range primaries {
		s := start(t, id, true, args)
		c.Servers = append(c.Servers, s)
		client := s.Client()
		first, last := i*slots/primaries, (i+1)*slots/primaries-1
		if err := client.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
			t.Fatalf("slots %d to %d could not be given out: %v", first, last, err)
		}
		// Configuration epochs must differ; without this they collide first and
		// are then settled, which takes a while.
		if err := client.Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			t.Fatalf("the epoch could not be set: %v", err)
		}
		_ = client.Close()
	}
	client := c.Servers[0].Client()
	defer func() { _ = client.Close() }()
	for _, s := range c.Servers[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		if err := client.ClusterMeet(ctx, host, port).Err(); err != nil {
			t.Fatalf("the servers did not meet: %v", err)
		}
	}
	if err := poll(func() error { return c.whole(ctx) }); err != nil {
		t.Fatalf("the cluster did not form: %v", err)
	}
	return c
}

// whole says what is missing until each server sees all the slots served.
func (c *Cluster) whole(ctx context.Context) error {
	for _, s := range c.Servers {
		client := s.Client()
		info, err := client.ClusterInfo(ctx).Result()
		_ = client.Close()
		if err != nil {
			return err
		}
		for _, want := range []string{
			"cluster_state:ok", fmt.Sprint("cluster_slots_ok:", slots), fmt.Sprint("cluster_known_nodes:", primaries),
		} {
			if !strings.Contains(info, want+"\r") {
				return fmt.Errorf("%s lacks %s: %s", s.Addr, want, info)
			}
		}
	}
	return nil
}

// Addrs are the addresses of all servers.
func (c *Cluster) Addrs() []string {
	var addrs []string
	for _, s := range c.Servers {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// Client makes a client; the caller closes it.
func (c *Cluster) Client() *goredis.ClusterClient {
	return goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: c.Addrs(), Protocol: 2, TLSConfig: c.Servers[0].TLS()})
}

func portOf(s *Server) string { return strconv.Itoa(s.port) }
