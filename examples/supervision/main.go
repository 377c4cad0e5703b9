// Command supervision composes supervision strategies, one of them its own, and
// shows what each does when handlers panic.
//
// The job is settled before the strategy is asked: a panic is a failed attempt,
// and whether there is another one is up to the job's retry policy. The strategy
// decides about the executor that ran it, and so about the worker.
//
//	go run ./examples/supervision
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/lmittmann/tint"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

func main() {
	logger := slog.New(tint.NewTextHandler(os.Stderr, &tint.Options{Level: slog.LevelError}))
	if err := run(context.Background(), os.Stdout, logger); err != nil {
		logger.Error("supervision", "error", err)
		os.Exit(1)
	}
}

var (
	errInput  = errors.New("the input is not valid")
	errBroken = errors.New("the index is corrupt")
)

// strategy says what becomes of an executor whose handler panicked:
//
//   - bad input says nothing about the executor: it goes on;
//   - a corrupt index concerns all jobs: the worker stops, in good order, and ends
//     as crashed, so that its process is replaced;
//   - anything else may be the executor's state: a fresh one takes over, after a
//     pause that grows; more than 20 of these in a minute end the worker too.
func strategy(stdout io.Writer) actor.SupervisorStrategy {
	return actors.
		OnPanic(because(errInput), &announce{stdout, "go on", actors.Always(actor.ResumeDirective)}).
		OnPanic(because(errBroken), &announce{stdout, "escalate", actors.Always(actor.EscalateDirective)}).
		Otherwise(&announce{stdout, "restart after a pause",
			actors.Intensity(20, time.Minute, &actors.Backoff{
				Delay: jobs.Exponential{Initial: 10 * time.Millisecond, Max: time.Second},
			})})
}

// because matches panics whose value is, or wraps, an error.
func because(target error) func(*actors.JobPanic) bool {
	return func(p *actors.JobPanic) bool { return errors.Is(p, target) }
}

// announce is a strategy of our own: it tells somebody, and leaves the decision to
// another strategy. It must be quick, as it runs in the pool's actor.
type announce struct {
	to       io.Writer
	decision string
	next     actor.SupervisorStrategy
}

// HandleFailure makes announce an actor.SupervisorStrategy.
func (a *announce) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	statistics *actor.RestartStatistics, reason, message any) {
	if p, ok := reason.(*actors.JobPanic); ok {
		fmt.Fprintf(a.to, "%s, attempt %d of %d: %v: %s\n", p.Job.Kind, p.Job.Attempt, p.Job.MaxAttempts, p.Value, a.decision)
	}
	a.next.HandleFailure(system, supervisor, child, statistics, reason, message)
}

// Import has input that is not valid.
type Import struct{}

// Flaky fails twice before it succeeds.
type Flaky struct{}

// Lookup finds that the index is corrupt.
type Lookup struct{}

// Kind makes Import the args of jobs.
func (Import) Kind() string { return "import" }

// Kind makes Flaky the args of jobs.
func (Flaky) Kind() string { return "flaky" }

// Kind makes Lookup the args of jobs.
func (Lookup) Kind() string { return "lookup" }

func newRegistry(stdout io.Writer) *jobs.Registry {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(context.Context, *jobs.Job[Import]) error {
		panic(fmt.Errorf("line 7: %w", errInput))
	}, jobs.MaxAttempts(1))
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Flaky]) error {
		if job.Attempt < 3 {
			panic("the connection is in a strange state")
		}
		fmt.Fprintf(stdout, "flaky, attempt %d of %d: done\n", job.Attempt, job.MaxAttempts)
		client, _ := jobs.ClientFrom(ctx)
		_, err := client.Enqueue(ctx, Lookup{})
		return err
	}, jobs.MaxAttempts(5), jobs.Backoff(jobs.Exponential{Initial: time.Millisecond}))
	jobs.Handle(registry, func(context.Context, *jobs.Job[Lookup]) error {
		panic(errBroken)
	})
	return registry
}

// run returns nil if the worker ended as it is meant to here: crashed.
func run(ctx context.Context, stdout io.Writer, logger *slog.Logger) error {
	system, err := caddis.New(caddis.Config{
		Registry:    newRegistry(stdout),
		Strategy:    strategy(stdout),
		Concurrency: 1, // so that the story has one line at a time
		Logger:      logger,
	})
	if err != nil {
		return err
	}
	for _, args := range []jobs.Args{Import{}, Flaky{}} {
		if _, err := system.Client().Enqueue(ctx, args); err != nil {
			return err
		}
	}
	report, err := system.Run(ctx)
	var p *actors.JobPanic
	if !errors.As(err, &p) {
		return errors.Join(errors.New("the worker did not crash"), err)
	}
	fmt.Fprintf(stdout, "the worker is %s: %v\n", report.State, p.Value)
	fmt.Fprintf(stdout, "%d completed, %d retried, %d dead\n", report.Completed, report.Retried, report.Dead)
	return nil
}
