package redis

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

func newStore(t *testing.T, options redistest.Options) (*Backend, *goredis.Client) {
	t.Helper()
	client := redistest.Start(t, options).Client()
	t.Cleanup(func() { _ = client.Close() })
	store, err := New(client, Config{Logger: slog.New(slog.DiscardHandler), Timeout: 10 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store, client
}

func small(id string) backend.NewJob {
	return backend.NewJob{Job: backend.Job{ID: id, Queue: "mail", Kind: "welcome", Payload: []byte("{}")}, Fresh: true}
}

// together has all calls run at the same time, so that they share flights.
func together(n int, call func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { call(i) })
	}
	all.Wait()
}

func waiting(t *testing.T, store *Backend) int64 {
	t.Helper()
	info, err := store.Queue(context.Background(), "mail")
	require.NoError(t, err)
	return info.Counts[backend.StateWaiting]
}

func TestOnlyWhoIsRefusedAloneIsToldSo(t *testing.T) {
	t.Parallel()
	store, client := newStore(t, redistest.Options{})
	ctx := context.Background()
	require.NoError(t, client.Set(ctx, "caddis:{mail}:w1", "spoilt", 0).Err())
	errs := make([]error, 60)
	together(len(errs), func(i int) {
		job := small(fmt.Sprint("job-", i))
		if i%10 == 3 {
			job.Priority = 1 // whose list cannot be written
		}
		_, errs[i] = store.Enqueue(ctx, []backend.NewJob{job})
	})
	for i, err := range errs {
		if i%10 == 3 {
			require.ErrorIs(t, err, backend.ErrRejected, i)
		} else {
			require.NoError(t, err, i)
		}
	}
	require.NoError(t, client.Del(ctx, "caddis:{mail}:w1").Err())
	require.EqualValues(t, 54, waiting(t, store))
}

func TestALargeEnqueueThatTheServerRefusesFailsNoSmallOneBesideIt(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, redistest.Options{Args: []string{"--proto-max-bulk-len", "1mb"}})
	ctx := context.Background()
	errs := make([]error, 60)
	together(len(errs), func(i int) {
		job := small(fmt.Sprint("job-", i))
		if i%10 == 3 {
			job.Payload = []byte(strings.Repeat("x", 2<<20))
		}
		_, errs[i] = store.Enqueue(ctx, []backend.NewJob{job})
	})
	for i, err := range errs {
		if i%10 == 3 {
			require.Error(t, err, i)
		} else {
			require.NoError(t, err, i)
		}
	}
	require.EqualValues(t, 54, waiting(t, store))
}

func TestWhatAnEarlierFlightMayHaveStoredIsStoredOnceAndIsNew(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, redistest.Options{})
	ctx := context.Background()
	_, err := store.Enqueue(ctx, []backend.NewJob{small("first")}) // the clock is known
	require.NoError(t, err)
	jobs := []backend.NewJob{small("a"), small("b"), small("c")}
	mail := store.local("mail").tags[0]
	lane := &mail.lanes[0]
	load := func(jobs []backend.NewJob) []*cargo {
		return []*cargo{freightOf(split(len(jobs), func(int) *tag { return mail })[0], jobs, true)}
	}
	_, err = store.prepare(mail, lane, load(jobs[:2]), false).run(func(c *call) (any, error) {
		do(ctx, store.client, []*call{c})
		return c.result()
	})
	require.NoError(t, err)

	cargos := load(jobs)
	require.NoError(t, store.prepare(mail, lane, cargos, true).deliver())
	require.Equal(t, "www", cargos[0].letters)
	require.EqualValues(t, 4, waiting(t, store))
}

func TestWhoseContextEndsReturnsAtOnceAndFailsNobodyOnBoard(t *testing.T) {
	t.Parallel()
	store, client := newStore(t, redistest.Options{})
	ctx := context.Background()
	_, err := store.Enqueue(ctx, []backend.NewJob{small("first")})
	require.NoError(t, err)
	require.NoError(t, client.Do(ctx, "client", "pause", 60_000, "write").Err())

	hurried, cancel := context.WithCancel(ctx)
	left := make(chan error)
	go func() {
		_, err := store.Enqueue(hurried, []backend.NewJob{small("hurried")})
		left <- err
	}()
	tag := store.local("mail").tags[0]
	lane := &tag.lanes[0]
	inAir := func() bool {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		return lane.flying && len(lane.pending) == 0
	}
	require.Eventually(t, inAir, 10*time.Second, time.Millisecond)
	beside := make(chan error)
	go func() {
		_, err := store.Enqueue(ctx, []backend.NewJob{small("beside")})
		beside <- err
	}()
	require.Eventually(t, func() bool { return !inAir() }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-left, backend.ErrUnavailable)

	require.NoError(t, client.Do(ctx, "client", "unpause").Err())
	require.NoError(t, <-beside)
	require.Eventually(t, func() bool { return waiting(t, store) == 3 }, 10*time.Second, time.Millisecond,
		"what was on its way arrives, once")
}

func TestAProducerOfManyQueuesKeepsLittleOfEach(t *testing.T) {
	store, _ := newStore(t, redistest.Options{})
	ctx := context.Background()
	used := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	enqueue := func(from, n int) {
		for i := from; i < from+n; i++ {
			job := small("a")
			job.Queue = fmt.Sprint("user-", i)
			_, err := store.Enqueue(ctx, []backend.NewJob{job})
			require.NoError(t, err)
		}
	}
	enqueue(0, 100)
	before := used()
	const queues = 2000
	enqueue(100, queues)
	each := int64(used()-before) / queues
	t.Logf("%d bytes per queue", each)
	require.Less(t, each, int64(2500))

	// Those that nobody uses any more are forgotten.
	for _, q := range store.queues.queues {
		q.usedAt.Store(time.Now().Add(-2 * memory).UnixMilli())
	}
	store.queues.swept = time.Time{}
	enqueue(100+queues, 1)
	require.Len(t, store.queues.queues, 1)
	enqueue(0, 1)
}
