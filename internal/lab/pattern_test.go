//go:build unix

package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

// A worker that takes from 200 queues by a pattern is as quiet as one that names them,
// takes from one more as soon as it appears, and forgets one that is gone.
func TestAPatternOverManyQueuesCostsNothingWhileTheyAreIdle(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	client := server.Client()
	t.Cleanup(func() { _ = client.Close() })
	store, err := redis.New(client, redis.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	registry := jobs.NewRegistry()
	ran := make(chan string, 1000)
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[lab.Task]) error {
		ran <- job.Queue
		return nil
	})
	system, err := caddis.New(caddis.Config{
		Backend: store, Registry: registry, Queues: []string{"queue-*"}, Concurrency: 10,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	enqueue := func(queue string) {
		t.Helper()
		_, err := system.Client().Enqueue(t.Context(), lab.Task{}, jobs.Queue(queue))
		require.NoError(t, err)
	}
	const many = 200
	for i := range many {
		enqueue(fmt.Sprint("queue-", i))
	}
	require.NoError(t, system.Start(t.Context()))
	for range many {
		<-ran
	}
	pause(17 * time.Second) // until the leases that there were would have expired: all is quiet

	const window = 10 * time.Second
	perSecond := float64(commands(t, server.Addr, window)) / window.Seconds()
	t.Logf("%.1f commands a second", perSecond)
	require.Less(t, perSecond, 5.0)

	began := time.Now()
	enqueue("queue-new")
	require.Equal(t, "queue-new", <-ran)
	t.Logf("a job in a queue that was not there was picked up after %v", time.Since(began))

	gone := redis.DefaultNamespace + ":{*}:queues"
	require.NoError(t, client.HDel(t.Context(), gone, "queue-7").Err())
	require.Eventually(t, func() bool {
		workers, err := system.Client().Workers(t.Context())
		require.NoError(t, err)
		return !slices.Contains(workers[0].Queues, "queue-7") && slices.Contains(workers[0].Queues, "queue-8")
	}, 20*time.Second, 20*time.Millisecond)
	_, err = system.StopWith(actors.Stop{}).Wait(t.Context())
	require.NoError(t, err)
}

// commands counts the commands that clients send to a server in a time, by MONITOR, which
// tells them from those that scripts call.
func commands(t *testing.T, server string, d time.Duration) int {
	t.Helper()
	conn, err := net.Dial("tcp", server)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprint(conn, "MONITOR\r\n")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(d)))
	n := 0
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if _, from, ok := strings.Cut(lines.Text(), "["); ok && !strings.HasPrefix(from, "0 lua]") {
			n++
		}
	}
	return n
}
