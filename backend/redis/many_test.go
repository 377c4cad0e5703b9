package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// manyQueues are more than a worker asks each time.
var manyQueues = func() (names []string) {
	for i := range 200 {
		names = append(names, fmt.Sprint("queue-", i))
	}
	return names
}()

func jobIn(queue, id string) []backend.NewJob {
	return []backend.NewJob{{Job: backend.Job{ID: id, Queue: queue, Kind: "k"}}}
}

// scriptsRun is how many scripts a server has run.
func scriptsRun(t *testing.T, client *goredis.Client) (n int) {
	t.Helper()
	for verb, text := range client.InfoMap(context.Background(), "commandstats").Val()["Commandstats"] {
		if strings.HasPrefix(verb, "cmdstat_eval") {
			var calls int
			_, err := fmt.Sscanf(text, "calls=%d,", &calls)
			require.NoError(t, err)
			n += calls
		}
	}
	return n
}

// two stores of two processes, on one server.
func two(t *testing.T) (here, there *redis.Backend, server *redistest.Server, client *goredis.Client) {
	t.Helper()
	server, client = standalone(t, redistest.Options{})
	config := redis.Config{Namespace: "many", Timeout: unhurried.Timeout}
	return open(t, client, config), open(t, client, config), server, client
}

// settled is a waiter on many queues that has asked them all.
func settled(t *testing.T, store *redis.Backend) backend.Waiter {
	t.Helper()
	waiter, err := store.Waiter(manyQueues)
	require.NoError(t, err)
	for range 2 {
		reply, err := waiter.Lease(t.Context(), asking(manyQueues...), time.Millisecond)
		require.NoError(t, err)
		require.Empty(t, reply.Leases)
	}
	return waiter
}

func TestOfManyIdleQueuesAFewAreAskedAndSweptEachTime(t *testing.T) {
	t.Parallel()
	store, _, _, client := two(t)
	waiter := settled(t, store)
	sweep := backend.SweepRequest{Queues: manyQueues, Duration: time.Minute}
	_, err := store.Sweep(t.Context(), sweep)
	require.NoError(t, err)

	before := scriptsRun(t, client)
	for range 10 {
		reply, err := waiter.Lease(t.Context(), asking(manyQueues...), 10*time.Millisecond)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), reply.Now, time.Minute, "there is always an answer")
	}
	require.LessOrEqual(t, scriptsRun(t, client)-before, 10)

	before = scriptsRun(t, client)
	start := time.Now()
	for range 10 {
		_, err := store.Sweep(t.Context(), sweep)
		require.NoError(t, err)
	}
	turns := int(time.Since(start).Seconds()*float64(len(manyQueues))/60) + 10
	require.LessOrEqual(t, scriptsRun(t, client)-before, 10*4+turns)

	before = scriptsRun(t, client)
	sweep.First = manyQueues
	_, err = store.Sweep(t.Context(), sweep)
	require.NoError(t, err)
	require.GreaterOrEqual(t, scriptsRun(t, client)-before, len(manyQueues), "who asks for all gets all")
}

func TestAJobInAnyOfManyQueuesIsPickedUpByItsBell(t *testing.T) {
	t.Parallel()
	here, there, _, client := two(t)
	waiter := settled(t, here)
	before := scriptsRun(t, client)
	var slowest time.Duration
	for n := range 20 {
		queue := manyQueues[(n*67)%len(manyQueues)]
		leased := make(chan backend.LeaseReply, 1)
		request := asking(manyQueues...)
		go func() {
			reply, err := waiter.Lease(context.Background(), request, time.Hour)
			if err == nil {
				leased <- reply
			}
			close(leased)
		}()
		start := time.Now()
		_, err := there.Enqueue(t.Context(), jobIn(queue, fmt.Sprint(n)))
		require.NoError(t, err)
		reply := <-leased
		require.Len(t, reply.Leases, 1)
		require.Equal(t, queue, reply.Leases[0].Job.Queue)
		slowest = max(slowest, time.Since(start))
	}
	require.LessOrEqual(t, scriptsRun(t, client)-before, 20*3, "an enqueue and a lease each")
	t.Logf("the slowest of 20 jobs was leased %v after its enqueue", slowest)
}

func TestALeaseOfManyQueuesIsRepeatedAtThoseThatItAsked(t *testing.T) {
	t.Parallel()
	here, there, _, _ := two(t)
	waiter := settled(t, here)
	for _, queue := range []string{"queue-7", "queue-150"} {
		_, err := there.Enqueue(t.Context(), jobIn(queue, "in "+queue))
		require.NoError(t, err)
	}
	request := asking(manyQueues...)
	request.Max = 5
	reply, err := waiter.Lease(t.Context(), request, time.Hour)
	require.NoError(t, err)
	require.NotEmpty(t, reply.Leases)
	for range 3 {
		again, err := here.Lease(t.Context(), request)
		require.NoError(t, err)
		require.Equal(t, idsOf(reply.Leases), idsOf(again.Leases))
	}
}

func idsOf(leases []backend.Lease) (ids []string) {
	for _, l := range leases {
		ids = append(ids, l.Job.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestUnderLoadAnEarlierQueueIsNoticedAndTheIdleOnesAreNotAskedEachTime(t *testing.T) {
	t.Parallel()
	here, there, _, client := two(t)
	const backlog = 20_000
	for from := 0; from < backlog; from += 5000 {
		jobs := ids("a-", from, 5000)
		for i := range jobs {
			jobs[i].Job.Queue = "queue-150"
		}
		_, err := there.Enqueue(t.Context(), jobs)
		require.NoError(t, err)
	}
	settle := func(n int, leases []backend.Lease) {
		request := backend.SettleRequest{Worker: "w", Call: uint64(n)}
		for _, l := range leases {
			request.Settlements = append(request.Settlements, backend.Settlement{
				Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeCompleted,
			})
		}
		_, err := here.Settle(t.Context(), request)
		require.NoError(t, err)
	}
	before, start := scriptsRun(t, client), time.Now()
	calls := 0
	for early := false; !early; {
		calls++
		if calls == 20 {
			_, err := there.Enqueue(t.Context(), jobIn("queue-3", "early"))
			require.NoError(t, err)
		}
		reply, err := here.Lease(t.Context(), asking(manyQueues...))
		require.NoError(t, err)
		require.NotEmpty(t, reply.Leases)
		early = reply.Leases[0].Job.ID == "early"
		settle(calls, reply.Leases)
	}
	info, err := here.Queue(t.Context(), "queue-150")
	require.NoError(t, err)
	require.Positive(t, info.Counts[backend.StateWaiting], "it did not wait until the later queue was empty")
	looks := int(time.Since(start)/(100*time.Millisecond)) + 2
	require.LessOrEqual(t, scriptsRun(t, client)-before, 4*calls+looks*len(manyQueues))
	t.Logf("noticed after %v and %d leases", time.Since(start), calls-20)
}

// A bell that was taken by one who then vanished is rung again by whoever sweeps.
func TestASweepWakesAWaiterWhereABellWasLost(t *testing.T) {
	t.Parallel()
	here, there, _, client := two(t)
	waiter := settled(t, here)
	_, err := there.Enqueue(t.Context(), jobIn("queue-9", "a"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { // a listener that heard it between two waits rings it again
		return client.Del(t.Context(), "many:{queue-9}:bell").Val() == 1
	}, 10*time.Second, time.Millisecond)
	leased := make(chan backend.LeaseReply, 1)
	request := asking(manyQueues...)
	go func() {
		reply, _ := waiter.Lease(context.Background(), request, time.Hour)
		leased <- reply
	}()
	_, err = there.Sweep(t.Context(), backend.SweepRequest{Queues: manyQueues, First: []string{"queue-9"}, Duration: time.Minute})
	require.NoError(t, err)
	reply := <-leased
	require.Equal(t, []string{"a"}, idsOf(reply.Leases))
}
