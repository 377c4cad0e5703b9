// Package examples_test compiles the Go code of the README and of the docs.
package examples_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"

	goredis "github.com/redis/go-redis/v9"
)

type Welcome struct {
	UserID int64 `json:"user_id"`
}

func (Welcome) Kind() string { return "welcome" }

type welcomer struct{ welcomed chan int64 }

func (m *welcomer) Welcome(_ context.Context, user int64) error {
	m.welcomed <- user
	return nil
}

func newRegistry(mailer *welcomer) *jobs.Registry {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		return mailer.Welcome(ctx, job.Args.UserID)
	}, jobs.MaxAttempts(10), jobs.Timeout(30*time.Second))
	return registry
}

func enqueue(ctx context.Context, store backend.Backend, registry *jobs.Registry) error {
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		return err
	}
	receipt, err := client.Enqueue(ctx, Welcome{UserID: 42},
		jobs.ID("welcome-42"), jobs.In(3*time.Minute))
	_ = receipt
	return err
}

func run(ctx context.Context, registry *jobs.Registry) error {
	store, err := backend.Open("redis://localhost:6379") // or "memory:"
	if err != nil {
		return err
	}
	defer store.Close()
	system, err := caddis.New(caddis.Config{
		Backend:     store, // left out: in memory
		Registry:    registry,
		Concurrency: 50,
		Grace:       25 * time.Second,
	})
	if err != nil {
		return err
	}
	report, err := system.Run(ctx)
	_ = report
	return err
}

func stop(ctx context.Context, system *caddis.System) error {
	future := system.Stop()
	report, err := future.Wait(ctx)
	fmt.Println(report.Completed, report.HandedBack, report.AbandonedJobs)
	return err
}

func embed(actorSystem *actor.ActorSystem, config caddis.Config) error {
	pid, err := caddis.Spawn(actorSystem, config)
	if err != nil {
		return err
	}
	future := actorSystem.Root.RequestFuture(pid, &actors.Stop{Grace: 25 * time.Second}, 40*time.Second)
	answer, err := future.Result()
	if err != nil {
		return err
	}
	report := answer.(*actors.Stopped)
	fmt.Println(report.State)
	return nil
}

func supervise(config *caddis.Config, isCorrupt func(*actors.JobPanic) bool) {
	config.Strategy = actors.
		OnPanic(isCorrupt, actors.Always(actor.EscalateDirective)).
		Otherwise(actors.Intensity(20, time.Minute, &actors.Backoff{}))
}

func openRedis() (*redis.Backend, error) {
	client := goredis.NewClient(&goredis.Options{Addr: "localhost:6379"})
	store, err := redis.New(client, redis.Config{
		Namespace: "shop",
		Shards:    map[string]int{"thumbnails": 8},
		Retention: backend.RetentionPolicy{
			Completed: backend.Retention{Count: 100_000, Age: time.Hour, Bytes: 256 << 20},
		},
	})
	return store, err
}

func signUp(ctx context.Context, client *jobs.Client) error {
	_, err := client.Enqueue(ctx, Welcome{UserID: 42}, jobs.In(3*time.Minute))
	return err
}

func TestWelcome(t *testing.T) {
	ctx, registry := t.Context(), newRegistry(&welcomer{welcomed: make(chan int64, 1)})
	store := jobstest.New(t, registry)
	require.NoError(t, signUp(ctx, store.Client())) // enqueues
	store.RequireEnqueued(t, Welcome{UserID: 42}, jobs.In(3*time.Minute))
	report := store.Drain(ctx) // three minutes later, at once; retries and follow-ups too
	report.RequireCompleted(t)
}

// What the documents show works, and is not only compiled.
func TestTheCodeOfTheReadmeWorks(t *testing.T) {
	t.Parallel()
	mailer := &welcomer{welcomed: make(chan int64, 1)}
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	registry := newRegistry(mailer)
	require.NoError(t, enqueue(t.Context(), store, registry))
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	_, err = client.RunNow(t.Context(), jobs.DefaultQueue, "welcome-42")
	require.NoError(t, err)

	config := caddis.Config{Backend: store, Registry: registry}
	supervise(&config, func(*actors.JobPanic) bool { return true })
	system, err := caddis.New(config)
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	require.EqualValues(t, 42, <-mailer.welcomed)
	require.NoError(t, stop(t.Context(), system))

	actorSystem := actor.NewActorSystem()
	defer actorSystem.Shutdown()
	require.NoError(t, embed(actorSystem, config))
	require.Error(t, run(t.Context(), jobs.NewRegistry()), "a registry without handlers is refused")
	shop, err := openRedis()
	require.NoError(t, err)
	require.NoError(t, shop.Close())
}

// All Go code of the documents is in this file, but for its indentation.
func TestTheDocumentsShowCodeThatCompiles(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("readme_test.go")
	require.NoError(t, err)
	compiled := flat(string(source))
	documents, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	blocks := 0
	for _, name := range append(documents, "../README.md") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, part := range strings.Split(string(text), "```go\n")[1:] {
			block, _, closed := strings.Cut(part, "```")
			require.True(t, closed, name)
			require.Contains(t, compiled, flat(block), "%s has code that readme_test.go has not", name)
			blocks++
		}
	}
	require.GreaterOrEqual(t, blocks, 7)
}

// flat takes the indentation off every line.
func flat(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}
