// Command actorapp runs jobs inside an app that is made of actors already: the
// worker is one more actor in the app's own actor system.
//
// The app has an actor of its own, the mailer, which owns the connection to the
// mail server. Handlers send it letters and wait for its answer. The handler of a
// sign-up enqueues a follow-up job, the reminder. At the end the app asks the
// worker to stop, awaits its report as a future, and then ends the rest.
//
//	go run ./examples/actorapp
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/lmittmann/tint"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	logger := slog.New(tint.NewTextHandler(os.Stderr, &tint.Options{Level: slog.LevelWarn}))
	if err := run(ctx, os.Stdout, logger); err != nil {
		logger.Error("actorapp", "error", err)
		os.Exit(1)
	}
}

// SignUp is a job: somebody has signed up.
type SignUp struct {
	Address string `json:"address"`
}

// Kind makes SignUp the args of jobs.
func (SignUp) Kind() string { return "sign-up" }

// Reminder is the job that follows a sign-up.
type Reminder struct {
	Address string `json:"address"`
}

// Kind makes Reminder the args of jobs.
func (Reminder) Kind() string { return "reminder" }

// newRegistry ties the kinds to their handlers.
func newRegistry(mail *mailbox) *jobs.Registry {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[SignUp]) error {
		if err := mail.send(ctx, "welcome", job.Args.Address); err != nil {
			return err
		}
		client, _ := jobs.ClientFrom(ctx)
		// The id makes it one reminder, even if this job should run twice.
		_, err := client.Enqueue(ctx, Reminder(job.Args), jobs.ID("reminder-"+job.ID), jobs.In(10*time.Millisecond))
		return err
	})
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Reminder]) error {
		return mail.send(ctx, "reminder", job.Args.Address)
	})
	return registry
}

func run(ctx context.Context, stdout io.Writer, logger *slog.Logger) error {
	// The app's own actor system, and its own actor.
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }))
	defer system.Shutdown()
	addresses := []string{"ada@example.org", "grace@example.org", "rob@example.org"}
	everything := make(chan struct{})
	mail := &mailbox{system: system}
	mail.pid = system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		return &mailer{stdout: stdout, missing: 2 * len(addresses), everything: everything}
	}))

	// The worker. In an app of several machines the store would be Redis.
	store, err := memory.New(memory.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	registry := newRegistry(mail)
	worker, err := caddis.Spawn(system, caddis.Config{
		Backend: store, Registry: registry, Concurrency: 4, Logger: logger,
	})
	if err != nil {
		return err
	}

	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if _, err := client.Enqueue(ctx, SignUp{Address: address}); err != nil {
			return err
		}
	}
	select {
	case <-everything:
	case <-ctx.Done():
	}

	// The stop: a message, and a future for its answer. The future waits longer
	// than the stop may take, which always ends within its grace.
	const grace = 5 * time.Second
	answer, err := system.Root.RequestFuture(worker, &actors.Stop{Grace: grace}, 2*grace).Result()
	if err != nil {
		return fmt.Errorf("await the stop of the worker: %w", err)
	}
	stopped, ok := answer.(*actors.Stopped)
	if !ok {
		return fmt.Errorf("await the stop of the worker: the answer is a %T", answer)
	}
	fmt.Fprintf(stdout, "the worker is %s: %d leased, %d completed, %d handed back\n",
		stopped.State, stopped.Leased, stopped.Completed, stopped.HandedBack)

	// No handler runs any more, so that nobody misses the mailer.
	return errors.Join(stopped.Err, system.Root.PoisonFuture(mail.pid).Wait())
}
