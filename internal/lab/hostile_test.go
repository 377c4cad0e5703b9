//go:build unix

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

// keys are those of a queue that the store reads, with a type that each is not.
var keys = map[string]string{
	"jobs": "list", "w0": "hash", "scheduled": "list", "leases": "string", "running": "set", "history": "list",
	"blocked": "string", "blockedon": "list", "completed": "hash", "cancelled": "list", "dead": "string",
	"ghosts": "list", "meta": "list", "bell": "hash", "last:l:w": "list", "last:s:w": "hash",
}

func spoil(ctx context.Context, client *goredis.Client, key, kind string) {
	client.Del(ctx, key)
	switch kind {
	case "list":
		client.RPush(ctx, key, "\xff\x00hostile", "")
	case "hash":
		client.HSet(ctx, key, "\xff\x00field", "\x00", "", "-")
	case "set":
		client.SAdd(ctx, key, "\xff", "")
	case "zset":
		client.ZAdd(ctx, key, goredis.Z{Score: 1e300, Member: "\xff\x00"}, goredis.Z{Score: -1, Member: ""})
	case "string":
		client.Set(ctx, key, "\xff\x00\r\n*1", 0)
	}
}

// known reports whether an error of a verb is one that the contract knows.
func known(err error) bool {
	for _, sentinel := range []error{
		backend.ErrUnavailable, backend.ErrRejected, backend.ErrFull, backend.ErrNotFound, backend.ErrState, backend.ErrClosed,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return err == nil
}

func TestAKeyOfAWrongTypeEndsInAnErrorAndCuresWhenItIsRemoved(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	n := 0
	for name := range keys {
		for _, kind := range []string{"list", "hash", "set", "zset", "string"} {
			n++
			namespace := fmt.Sprint("n", n)
			store, err := backend.Open("redis://" + server.Addr + "?namespace=" + namespace)
			require.NoError(t, err)
			job := func(id string, delay time.Duration) backend.NewJob {
				return backend.NewJob{Delay: delay, Job: backend.Job{ID: id, Queue: "q", Kind: "k"}}
			}
			_, err = store.Enqueue(ctx, []backend.NewJob{job("a", 0), job("b", time.Hour), job("c", 0)})
			require.NoError(t, err)
			request := backend.LeaseRequest{Worker: "w", Token: "w.0", Queues: []string{"q"}, Max: 1, Duration: time.Second}
			reply, err := store.Lease(ctx, request)
			require.NoError(t, err)
			require.Len(t, reply.Leases, 1)

			key := namespace + ":{q}:" + name
			if kind == "hash" && strings.Contains("jobs running history blockedon ghosts meta", name) {
				// The right type with hostile content, beside what is there.
				client.HSet(ctx, key, "\xff\x00field", "\x00", "a", "\xff", "", "-", "paused", "\xff", "beat", "x", "grace", "-1e999")
			} else {
				spoil(ctx, client, key, kind)
			}
			held := backend.Held{Queue: "q", ID: "a", Token: "w.0", Progress: []byte("p")}
			calls := map[string]func() error{
				"enqueue": func() error { _, err := store.Enqueue(ctx, []backend.NewJob{job("d", 0)}); return err },
				"lease": func() error {
					_, err := store.Lease(ctx, backend.LeaseRequest{
						Worker: "w", Token: "w.1", Queues: []string{"q"}, Max: 5, Duration: time.Second, Unblock: []string{"x"},
					})
					return err
				},
				"lease again": func() error { _, err := store.Lease(ctx, request); return err },
				"renew": func() error {
					_, err := store.Renew(ctx, backend.RenewRequest{Worker: "w", Duration: time.Second, Leases: []backend.Held{held}})
					return err
				},
				"settle": func() error {
					_, err := store.Settle(ctx, backend.SettleRequest{Worker: "w", Call: 1, Settlements: []backend.Settlement{
						{Queue: "q", ID: "a", Token: "w.0", Outcome: backend.OutcomeRetry, History: &backend.History{Attempts: 1}},
					}})
					return err
				},
				"sweep": func() error {
					_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"q"}, Duration: time.Second})
					return err
				},
				"job":    func() error { _, err := store.Job(ctx, "q", "a"); return err },
				"queue":  func() error { _, err := store.Queue(ctx, "q"); return err },
				"cancel": func() error { _, err := store.Cancel(ctx, "q", []string{"a", "b"}); return err },
				"retry":  func() error { _, err := store.Retry(ctx, "q", []string{"a", "b"}); return err },
				"run":    func() error { _, err := store.RunNow(ctx, "q", []string{"b"}); return err },
				"delete": func() error { _, err := store.Delete(ctx, "q", []string{"b"}); return err },
				"pause":  func() error { return store.Pause(ctx, "q", 0) },
				"resume": func() error { return store.Resume(ctx, "q") },
			}
			for _, state := range backend.States {
				calls["jobs "+string(state)] = func() error {
					_, err := store.Jobs(ctx, backend.JobsQuery{Queue: "q", State: state})
					return err
				}
			}
			for verb, call := range calls {
				require.True(t, known(call()), "%s with a %s for %s: %v", verb, kind, name, call())
			}
			client.Del(ctx, key)
			_, err = store.Enqueue(ctx, []backend.NewJob{job("e", 0)})
			require.NoError(t, err, "after the %s at %s was removed", kind, name)
			require.NoError(t, store.Close())
		}
	}
	t.Logf("%d keys of wrong types or contents, each met by %d verbs", n, 14+len(backend.States))
}

// greet is a System that reports the ids of the jobs that it runs.
func greet(t *testing.T, url string, change func(*caddis.Config)) (system *caddis.System, ran chan string) {
	t.Helper()
	store, err := backend.Open(url)
	require.NoError(t, err)
	registry := jobs.NewRegistry()
	ran = make(chan string, 20_000)
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[ping]) error {
		ran <- job.ID
		return nil
	})
	config := caddis.Config{Backend: store, Registry: registry, Lease: time.Second, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&config)
	}
	system, err = caddis.New(config)
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	t.Cleanup(func() {
		<-system.Stop().Done()
		require.NoError(t, store.Close())
	})
	return system, ran
}

func next(t *testing.T, ran chan string) string {
	t.Helper()
	select {
	case id := <-ran:
		return id
	case <-time.After(hung):
		require.FailNow(t, "no job runs")
		return ""
	}
}

// lesson: one undecodable message stops the recovery of all queues.
func TestAQueueThatCannotBeReadDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"jobs", "w0", "scheduled", "leases", "running", "meta", "bell"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			server := redistest.Start(t, redistest.Options{})
			client := server.Client()
			defer func() { _ = client.Close() }()
			system, ran := greet(t, "redis://"+server.Addr, func(c *caddis.Config) {
				c.Queues, c.Grace = []string{"spoilt", "sound"}, time.Second
			})
			_, err := system.Client().Enqueue(ctx, ping{}, jobs.Queue("spoilt"))
			require.NoError(t, err)
			next(t, ran)
			spoil(ctx, client, "caddis:{spoilt}:"+key, keys[key])
			for i := range 20 {
				id := fmt.Sprint("job-", i)
				_, err := system.Client().Enqueue(ctx, ping{}, jobs.Queue("sound"), jobs.ID(id))
				require.NoError(t, err)
				require.Equal(t, id, next(t, ran))
			}
			require.Eventually(t, func() bool { return system.Status().Counts.Completed >= 20 }, hung, time.Millisecond,
				"the store hears of the ends")
		})
	}
}

func TestAJobWithAHostileBodyIsSetAsideAsDeadAndTheOthersRun(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	client := server.Client()
	defer func() { _ = client.Close() }()
	url := "redis://" + server.Addr
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	producer, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	good, err := producer.Enqueue(ctx, ping{}, jobs.ID("good"))
	require.NoError(t, err)
	body := client.HGet(ctx, "caddis:{default}:jobs", good.ID).Val()
	bodies := []string{
		"", "x", body[:6], body[:len(body)-1], strings.Repeat("\xff", 100), body + "\x12\xff\xff\xff\xff\x0f", "\xff" + body[1:],
		strings.Repeat("\x00", 50), body[:6] + strings.Repeat("\x0b", 1000),
	}
	for i, b := range bodies {
		_, err := producer.Enqueue(ctx, ping{}, jobs.ID(fmt.Sprint("bad-", i)))
		require.NoError(t, err)
		require.NoError(t, client.HSet(ctx, "caddis:{default}:jobs", fmt.Sprint("bad-", i), b).Err())
	}
	histories := []string{"", "short", "\x00\x00\x00\x00\x00\xff\xff\xff\xff", strings.Repeat("\xff", 9), "\x00\x00\x00\x00\x00\x00\x00\x00\x00{bad json"}
	for i, h := range histories {
		_, err := producer.Enqueue(ctx, ping{}, jobs.ID(fmt.Sprint("past-", i)))
		require.NoError(t, err)
		require.NoError(t, client.HSet(ctx, "caddis:{default}:history", fmt.Sprint("past-", i), h).Err())
	}
	_, err = producer.Enqueue(ctx, ping{}, jobs.ID("last"))
	require.NoError(t, err)
	_, ran := greet(t, url, nil)
	seen := map[string]bool{}
	for !seen["last"] || !seen["good"] {
		seen[next(t, ran)] = true
	}
	require.Eventually(t, func() bool {
		q, err := store.Queue(ctx, "default")
		return err == nil && q.Counts[backend.StateWaiting]+q.Counts[backend.StateRunning] == 0
	}, hung, 10*time.Millisecond)
	for i := range bodies {
		id := fmt.Sprint("bad-", i)
		if seen[id] {
			continue // it can be read after all
		}
		info, err := producer.Job(ctx, "default", id)
		require.NoError(t, err, id)
		require.Equal(t, backend.StateDead, info.State, id)
		require.NotEmpty(t, info.Failures, "it says why")
	}
	t.Logf("%d of %d ran, the others are dead and say why", len(seen), 2+len(bodies)+len(histories))
}

// It is not run beside others: the race detector takes seconds to watch over such
// buffers, in which the proxies and clients of other tests would stand still.
func TestPayloadsOfAMegabyteAndBatchesOfTenThousandGoThrough(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	store, err := backend.Open("redis://" + server.Addr)
	require.NoError(t, err)
	registry := jobs.NewRegistry()
	ran := make(chan int, backend.MaxBatch)
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[letter]) error {
		ran <- len(job.Args.Text)
		return nil
	})
	system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, Concurrency: 20, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, system.Start(ctx))
	text := bytes.Repeat([]byte("x"), 700_000) // a megabyte in JSON
	var items []jobs.Item
	for range 40 {
		items = append(items, jobs.New(letter{Text: text}))
	}
	for range 2 {
		_, err = system.Client().EnqueueMany(ctx, items...)
		require.NoError(t, err)
	}
	for range 80 {
		require.Equal(t, len(text), <-ran)
	}
	items = nil
	for range backend.MaxBatch {
		items = append(items, jobs.New(letter{}))
	}
	_, err = system.Client().EnqueueMany(ctx, items...)
	require.NoError(t, err)
	for range backend.MaxBatch {
		require.Zero(t, <-ran)
	}
	report, err := system.Stop().Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 80+backend.MaxBatch, report.Completed)
	require.Equal(t, report.Completed, report.Leased-report.Returned, "nothing was handed out twice")
	require.NoError(t, store.Close())
}

type letter struct {
	Text []byte `json:"text,omitempty"`
}

func (letter) Kind() string { return "letter" }

// In a bubble of package synctest the clock of the process stands at the year
// 2000. That is how a worker is tested whose clock is wrong by a quarter of a
// century: it and one whose clock is right share the jobs of a store.
func TestAWorkerWhoseClockIsYearsBehindDecidesNothingByIt(t *testing.T) {
	server := redistest.Start(t, redistest.Options{})
	url := "redis://" + server.Addr
	right, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, right.Close()) }()
	lease := func(store backend.Backend, worker string, call int) []backend.Lease {
		reply, err := store.Lease(context.Background(), backend.LeaseRequest{
			Worker: worker, Token: fmt.Sprintf("%s.%d", worker, call), Queues: []string{"q"}, Max: 10, Duration: 400 * time.Millisecond,
		})
		require.NoError(t, err)
		return reply.Leases
	}
	job := func(id string, delay time.Duration) []backend.NewJob {
		return []backend.NewJob{{Delay: delay, Job: backend.Job{ID: id, Queue: "q", Kind: "k"}}}
	}
	ctx := context.Background()
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, 2000, time.Now().Year())
		wrong, err := backend.Open(url)
		require.NoError(t, err)
		_, err = wrong.Enqueue(ctx, append(job("now", 0), job("soon", 300*time.Millisecond)...))
		require.NoError(t, err)
		leases := lease(wrong, "wrong", 1)
		require.Len(t, leases, 1, "what is due is decided by the store")
		require.Equal(t, "now", leases[0].Job.ID)
		require.WithinDuration(t, begin, leases[0].Job.EnqueuedAt, time.Minute)
		results, err := wrong.Renew(ctx, backend.RenewRequest{
			Worker: "wrong", Duration: 400 * time.Millisecond, Leases: []backend.Held{{Queue: "q", ID: "now", Token: leases[0].Token}},
		})
		require.NoError(t, err)
		require.False(t, results[0].Lost)
		swept, err := wrong.Sweep(ctx, backend.SweepRequest{Queues: []string{"q"}, Duration: 400 * time.Millisecond})
		require.NoError(t, err)
		require.Zero(t, swept.Reclaimed)
		_, err = wrong.Announce(ctx, backend.WorkerInfo{ID: "wrong"}, time.Minute)
		require.NoError(t, err)
		require.NoError(t, wrong.Close())
	})
	require.Empty(t, lease(right, "right", 1), "neither is the lease over nor the other job due")
	workers, err := right.Workers(ctx)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), workers[0].SeenAt, time.Minute)
	got := map[string]int{}
	for call := 2; len(got) < 2; call++ {
		require.Less(t, time.Since(begin), hung)
		for _, l := range lease(right, "right", call) {
			if _, seen := got[l.Job.ID]; !seen {
				got[l.Job.ID] = l.Crashes
			}
		}
		pause(20 * time.Millisecond)
	}
	require.Equal(t, map[string]int{"now": 1, "soon": 0}, got)
}
