//go:build unix

package lab_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
)

func TestARedisThatIsKilledAndWritesAlwaysLosesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	s := play(t, "redis://"+server.Addr, 2, nil)
	for range 5 {
		s.flow(500 * time.Millisecond)
		began := time.Now()
		server.Kill()
		server.Restart()
		s.recovered(began, time.Now())
	}
	verdict := s.settle()
	require.Equal(t, len(verdict.Notes), verdict.Excuses[lab.EnqueuedAgain])
}

// A killed process loses nothing of what it has written, as the system keeps that.
// So this test plays the crash of the machine: it cuts the file to what it was a
// second and a half before, which is more than the system may owe the disk by then.
func TestARedisThatWritesEverySecondLosesNoMoreThanItsWindow(t *testing.T) {
	t.Parallel()
	const window = 1500 * time.Millisecond
	server := redistest.Start(t, redistest.Options{AppendFsync: "everysec"})
	s := play(t, "redis://"+server.Addr, 2, nil)
	size := func() (path string, n int64) {
		files, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*.incr.aof"))
		require.NoError(t, err)
		if len(files) == 0 { // Redis 6
			files = []string{filepath.Join(server.Dir(), "appendonly.aof")}
		}
		stat, err := os.Stat(files[len(files)-1])
		require.NoError(t, err)
		return files[len(files)-1], stat.Size()
	}
	for range 3 {
		s.flow(500 * time.Millisecond)
		kept := time.Now()
		path, n := size()
		pause(window)
		began := time.Now()
		server.Kill()
		require.NoError(t, os.Truncate(path, n))
		server.Restart()
		back := time.Now()
		s.books.Blame(lab.Fault{
			What: "what the machine of Redis owed its disk was lost with it",
			From: kept.Add(-settling), To: back, Repeats: true, Loses: true,
		})
		s.recovered(began, back)
	}
	s.settle()
}

func TestASentinelFailoverUnderLoadLosesNoMoreThanWhatWasNotReplicated(t *testing.T) {
	t.Parallel()
	group := redistest.StartSentinel(t, redistest.Options{})
	s := play(t, "redis+sentinel://"+group.Watcher.Addr+"/"+redistest.MasterName+"/0", 2, nil)
	began := time.Now()
	group.Master.Kill()
	group.AwaitReplica()
	back := time.Now()
	t.Logf("the failover took %v", back.Sub(began).Round(time.Millisecond))
	s.books.Blame(lab.Fault{What: "the master died before the replica had it", From: began.Add(-settling), To: began.Add(time.Second), Repeats: true, Loses: true})
	s.recovered(began, back)
	s.settle()
}

func TestASentinelFailoverThatIsOrderedLosesNoMoreThanWhatTheOldMasterTookAlone(t *testing.T) {
	t.Parallel()
	group := redistest.StartSentinel(t, redistest.Options{})
	s := play(t, "redis+sentinel://"+group.Watcher.Addr+"/"+redistest.MasterName+"/0", 2, nil)
	began := time.Now()
	group.Failover()
	back := time.Now()
	s.books.Blame(lab.Fault{What: "the old master went on answering for a moment", From: began.Add(-settling), To: back.Add(settling), Repeats: true, Loses: true})
	s.recovered(began, back)
	s.settle()
}

// replicaOf starts a replica of a server of a Cluster.
func replicaOf(t *testing.T, primary *redistest.Server) *redistest.Server {
	t.Helper()
	ctx := context.Background()
	replica := redistest.Start(t, redistest.Options{Args: []string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no",
		"--repl-diskless-sync-delay", "0",
	}})
	client, leader := replica.Client(), primary.Client()
	defer func() { _, _ = client.Close(), leader.Close() }()
	host, port, _ := strings.Cut(primary.Addr, ":")
	require.NoError(t, client.ClusterMeet(ctx, host, port).Err())
	id := leader.ClusterMyID(ctx).Val()
	require.Eventually(t, func() bool { return client.ClusterReplicate(ctx, id).Err() == nil }, hung, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		return strings.Contains(client.Info(ctx, "replication").Val(), "master_link_status:up")
	}, hung, 20*time.Millisecond)
	return replica
}

func TestAClusterFailoverUnderLoadLosesNoMoreThanWhatWasNotReplicated(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, redistest.Options{Args: []string{"--cluster-node-timeout", "2000"}})
	replica := replicaOf(t, cluster.Servers[0])
	s := play(t, "redis+cluster://"+strings.Join(cluster.Addrs(), ",")+"?shards=6", 2, func(s *scene) {
		s.settings.Lease = 10 * time.Second // longer than the failover, see docs/reliability.md
	})
	began := time.Now()
	cluster.Servers[0].Kill()
	client := replica.Client()
	defer func() { _ = client.Close() }()
	require.Eventually(t, func() bool {
		return strings.Contains(client.Info(context.Background(), "replication").Val(), "role:master")
	}, hung, 5*time.Millisecond)
	back := time.Now()
	t.Logf("the failover took %v", back.Sub(began).Round(time.Millisecond))
	s.books.Blame(lab.Fault{What: "the primary died before the replica had it", From: began.Add(-settling), To: began.Add(time.Second), Repeats: true, Loses: true})
	s.recovered(began, back)
	s.settle()
}

func TestAPrimaryThatIsKilledAndComesBackLosesNothing(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, redistest.Options{AppendFsync: "always"})
	s := play(t, "redis+cluster://"+strings.Join(cluster.Addrs(), ",")+"?shards=6", 2, func(s *scene) {
		s.settings.Lease = 10 * time.Second // longer than the failover, see docs/reliability.md
	})
	began := time.Now()
	cluster.Servers[1].Kill()
	pause(time.Second)
	cluster.Servers[1].Restart()
	// A primary that has started waits for two seconds before it takes writes, in
	// case that it was replaced meanwhile.
	client := cluster.Servers[1].Client()
	defer func() { _ = client.Close() }()
	require.Eventually(t, func() bool {
		return strings.Contains(client.ClusterInfo(context.Background()).Val(), "cluster_state:ok")
	}, hung, 5*time.Millisecond)
	back := time.Now()
	s.recovered(began, back)
	verdict := s.settle()
	require.Equal(t, len(verdict.Notes), verdict.Excuses[lab.EnqueuedAgain])
}

func TestASlotThatIsMovedUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster := redistest.StartCluster(t, redistest.Options{})
	s := play(t, "redis+cluster://"+strings.Join(cluster.Addrs(), ","), 2, nil)
	clients := make([]*goredis.Client, len(cluster.Servers))
	ids := make([]string, len(cluster.Servers))
	for i, server := range cluster.Servers {
		clients[i] = server.Client()
		defer func() { _ = clients[i].Close() }()
		ids[i] = clients[i].ClusterMyID(ctx).Val()
	}
	slot := int(clients[0].ClusterKeySlot(ctx, "caddis:{default}:jobs").Val())
	owner := slot * len(clients) / 16384
	for move := range 4 {
		began := time.Now()
		from, to := (owner+move)%len(clients), (owner+move+1)%len(clients)
		do := func(client *goredis.Client, args ...any) {
			require.NoError(t, client.Do(ctx, args...).Err(), "%v", args)
		}
		do(clients[to], "cluster", "setslot", slot, "importing", ids[from])
		do(clients[from], "cluster", "setslot", slot, "migrating", ids[to])
		host, port, _ := strings.Cut(cluster.Servers[to].Addr, ":")
		for {
			keys := clients[from].ClusterGetKeysInSlot(ctx, slot, 3).Val() // a few at a time: for a while the slot is in two places
			if len(keys) == 0 {
				break
			}
			args := []any{"migrate", host, port, "", 0, 5000, "keys"}
			for _, key := range keys {
				args = append(args, key)
			}
			do(clients[from], args...)
			pause(20 * time.Millisecond)
		}
		for _, i := range []int{to, from} {
			do(clients[i], "cluster", "setslot", slot, "node", ids[to])
		}
		for i := range clients {
			if i != to && i != from {
				do(clients[i], "cluster", "setslot", slot, "node", ids[to])
			}
		}
		s.recovered(began, time.Now())
		s.flow(300 * time.Millisecond)
	}
	verdict := s.settle()
	require.Equal(t, len(verdict.Notes), verdict.Excuses[lab.EnqueuedAgain])
}

func TestARedisThatIsPausedForLongerThanALeaseLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := play(t, "redis://"+server.Addr, 2, nil)
	for range 2 {
		s.flow(500 * time.Millisecond)
		began := time.Now()
		server.Pause()
		pause(leaseTime * 3 / 2)
		server.Continue()
		s.recovered(began, time.Now())
	}
	verdict := s.settle()
	require.Equal(t, len(verdict.Notes), verdict.Excuses[lab.EnqueuedAgain])
}

func TestAFlushedScriptCacheDisturbsNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := play(t, "redis://"+server.Addr, 2, nil)
	client := server.Client()
	defer func() { _ = client.Close() }()
	began := time.Now()
	for range 200 {
		require.NoError(t, client.ScriptFlush(context.Background()).Err())
		pause(10 * time.Millisecond)
	}
	s.recovered(began, time.Now())
	verdict := s.settle()
	require.Empty(t, verdict.Notes)
}

func TestAFullRedisRefusesJobsAndWorkGoesOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	url := "redis://" + server.Addr
	s := play(t, url, 1, func(s *scene) {
		s.load.GiveUp = true
		s.load.Task = func(i int) lab.Task { return lab.Task{Milliseconds: 5, Padding: make([]byte, 4000)} }
	})
	client := server.Client()
	defer func() { _ = client.Close() }()
	used := client.InfoMap(ctx, "memory").Val()["Memory"]["used_memory"]
	n, err := strconv.Atoi(used)
	require.NoError(t, err)
	for round := range 3 {
		// Below what is in use, the server is full whatever is taken away.
		limit := n / 2
		if round == 2 {
			limit = n + 200_000
		}
		began := time.Now()
		require.NoError(t, client.ConfigSet(ctx, "maxmemory", fmt.Sprint(limit)).Err())
		if round < 2 {
			lab.FillFails(t, url)
			pause(time.Second)
			s.quiet() // what is stored is worked off all the same
		} else {
			s.flow(time.Second)
		}
		require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
		s.recovered(began, time.Now())
	}
	verdict := s.settle()
	require.Positive(t, verdict.Refused)
	require.Empty(t, verdict.Notes)
}
