package caddis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

const helperVariable = "CADDIS_SIGNAL_TEST"

// helper is what a process that a signal test has started does; nil where there are
// no such tests.
var helper func(mode string) int

// TestMain checks that no test left a goroutine. In a process that a signal test
// has started it is that process.
func TestMain(m *testing.M) {
	if mode := os.Getenv(helperVariable); mode != "" && helper != nil {
		os.Exit(helper(mode))
	}
	// The runtime's part of Notify must not begin in a bubble.
	warm := make(chan os.Signal, 1)
	signal.Notify(warm, os.Interrupt)
	signal.Stop(warm)
	code := m.Run()
	var left error
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		if left = goleak.Find(goleak.IgnoreAnyFunction("os/signal.loop")); left == nil {
			os.Exit(code)
		}
	}
	fmt.Fprintln(os.Stderr, "goroutines are left:", left)
	os.Exit(max(code, 1))
}

type task struct {
	N int `json:"n"`
}

func (task) Kind() string { return "task" }

type handler = func(context.Context, *jobs.Job[task]) error

func noop(context.Context, *jobs.Job[task]) error { return nil }

func polite(ctx context.Context, _ *jobs.Job[task]) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { <-time.After(time.Hour) })
		f(t)
	})
}

func newSystem(t testing.TB, h handler, change ...func(*caddis.Config)) *caddis.System {
	t.Helper()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, h)
	config := caddis.Config{Registry: registry, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&config)
	}
	system, err := caddis.New(config)
	require.NoError(t, err)
	t.Cleanup(func() {
		system.StopWith(actors.Stop{Urgency: actors.HandBack})
		<-system.Stopped().Done()
	})
	return system
}

func start(t testing.TB, system *caddis.System) {
	t.Helper()
	require.NoError(t, system.Start(context.Background()))
}

func enqueue(t testing.TB, system *caddis.System, n int) {
	t.Helper()
	items := make([]jobs.Item, n)
	for i := range items {
		items[i] = jobs.New(task{N: i})
	}
	_, err := system.Client().EnqueueMany(context.Background(), items...)
	require.NoError(t, err)
}

// away is a store that can be cut off: then its calls fail, or hang until their
// contexts end.
type away struct {
	backend.Backend
	cut   atomic.Int32 // 0 is there, 1 fails, 2 hangs
	close atomic.Int32 // how often it was closed
}

func (a *away) gone(ctx context.Context) error {
	switch a.cut.Load() {
	case 1:
		return backend.ErrUnavailable
	case 2:
		<-ctx.Done()
		return errors.Join(backend.ErrUnavailable, ctx.Err())
	}
	return nil
}

func (a *away) Check(ctx context.Context) ([]backend.Warning, error) {
	if err := a.gone(ctx); err != nil {
		return nil, err
	}
	return a.Backend.Check(ctx)
}

func (a *away) Lease(ctx context.Context, r backend.LeaseRequest) (backend.LeaseReply, error) {
	if err := a.gone(ctx); err != nil {
		return backend.LeaseReply{}, err
	}
	return a.Backend.Lease(ctx, r)
}

func (a *away) Settle(ctx context.Context, r backend.SettleRequest) ([]backend.SettleResult, error) {
	if err := a.gone(ctx); err != nil {
		return nil, err
	}
	return a.Backend.Settle(ctx, r)
}

func (a *away) Renew(ctx context.Context, r backend.RenewRequest) ([]backend.RenewResult, error) {
	if err := a.gone(ctx); err != nil {
		return nil, err
	}
	return a.Backend.Renew(ctx, r)
}

func (a *away) Sweep(ctx context.Context, r backend.SweepRequest) (backend.SweepReply, error) {
	if err := a.gone(ctx); err != nil {
		return backend.SweepReply{}, err
	}
	return a.Backend.Sweep(ctx, r)
}

func (a *away) SignOff(ctx context.Context, worker string, queues []string) error {
	if err := a.gone(ctx); err != nil {
		return err
	}
	return a.Backend.SignOff(ctx, worker, queues)
}

func (a *away) Close() error {
	a.close.Add(1)
	return a.Backend.Close()
}

func newAway(t testing.TB) *away {
	t.Helper()
	m, err := memory.New(memory.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = m.Close() })
	return &away{Backend: m}
}

func on(b backend.Backend) func(*caddis.Config) {
	return func(c *caddis.Config) { c.Backend = b }
}

func TestASystemRunsJobsOnItsOwnStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ran := make(chan int, 1)
		system := newSystem(t, func(_ context.Context, job *jobs.Job[task]) error { ran <- job.Args.N; return nil })
		require.Equal(t, actors.StateStarting, system.State())
		require.Nil(t, system.PID())
		_, err := system.Client().Enqueue(t.Context(), task{N: 7}) // before the start
		require.NoError(t, err)
		start(t, system)
		require.Equal(t, 7, <-ran)
		synctest.Wait()
		require.Equal(t, actors.StateRunning, system.State())

		report, err := system.Stop().Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, report.Completed)
		require.Equal(t, actors.StateStopped, system.State())
	})
}

func TestAHundredCallersGetTheSameReport(t *testing.T) {
	t.Parallel()
	as := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	gate := make(chan struct{})
	system := newSystem(t, func(context.Context, *jobs.Job[task]) error { <-gate; return nil },
		func(c *caddis.Config) { c.ActorSystem = as })
	start(t, system)
	enqueue(t, system, 5)
	pid := system.PID()

	var mu sync.Mutex
	var reports []*caddis.Report
	var callers sync.WaitGroup
	ask := func(n int) {
		for i := range n {
			callers.Go(func() {
				var report *caddis.Report
				var err error
				if i%2 == 0 {
					report, err = system.Stop().Wait(context.Background())
				} else {
					var result any
					if result, err = as.Root.RequestFuture(pid, &actors.Stop{}, 30*time.Second).Result(); err == nil {
						report = &result.(*actors.Stopped).Report
					}
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				reports = append(reports, report)
			})
		}
	}
	ask(40) // at the same time as the stop begins
	draining := make(chan struct{})
	unsubscribe := system.Subscribe(func(c actors.StateChanged) {
		if c.To == actors.StateDraining {
			close(draining)
		}
	})
	defer unsubscribe()
	if !system.State().Stopping() {
		<-draining
	}
	ask(40) // while it goes on
	close(gate)
	<-system.Stopped().Done()
	ask(20) // afterwards
	callers.Wait()

	require.Len(t, reports, 100)
	for _, report := range reports {
		require.Equal(t, reports[0], report)
	}
}

// Mosquito forgot a stop before the start, after which waiting never ended.
func TestLessonAStopBeforeTheStartIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, noop)
		report, err := system.Stop().Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, actors.StateStopped, report.State)
		require.Equal(t, "stopped before it was started", report.Reason)

		require.ErrorIs(t, system.Start(t.Context()), caddis.ErrStopped)
		again, err := system.Run(t.Context())
		require.NoError(t, err, "whoever runs it gets what became of it")
		require.Same(t, report, again)
		require.Equal(t, actors.StateStopped, system.State())
		_, err = system.Client().Enqueue(t.Context(), task{})
		require.ErrorIs(t, err, backend.ErrClosed)
	})
}

func TestAStopDuringTheStartWins(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store := newAway(t)
		store.cut.Store(2)
		system := newSystem(t, noop, on(store))
		started := make(chan error, 1)
		go func() { started <- system.Start(t.Context()) }()
		synctest.Wait()
		require.ErrorContains(t, system.Start(t.Context()), "started already")
		report, err := system.Stop().Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, actors.StateStopped, report.State)
		store.cut.Store(0)
		require.Error(t, <-started)
		require.Nil(t, system.PID(), "nothing was started")
	})
}

func TestASecondStopIsTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, noop)
		start(t, system)
		first, second := system.Stop(), system.Stop()
		require.Same(t, first, second)
		a, _ := first.Wait(t.Context())
		b, _ := system.Stop().Wait(t.Context())
		require.Same(t, a, b)
		require.Same(t, a, system.Stopped().Report())
	})
}

func TestAStopWhileTheStoreIsAwayEndsAndSaysHow(t *testing.T) {
	for mode, name := range map[int32]string{1: "every call fails", 2: "every call hangs"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				store := newAway(t)
				system := newSystem(t, polite, on(store))
				start(t, system)
				enqueue(t, system, 3)
				synctest.Wait()
				store.cut.Store(mode)
				report, err := system.Stop().Wait(t.Context())
				require.NoError(t, err)
				require.LessOrEqual(t, report.StopTook, actors.DefaultGrace)
				require.Equal(t, 3, report.Unconfirmed)
				require.Len(t, report.UnconfirmedJobs, 3)
				require.Contains(t, report.String(), "3 unconfirmed")
			})
		})
	}
}

func TestHandlersUseTheStoreUntilTheLastOfThemHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		late := errors.New("not called")
		system := newSystem(t, func(ctx context.Context, job *jobs.Job[task]) error {
			if job.Args.N == 1 {
				return nil
			}
			<-time.After(10 * time.Second)
			c, _ := jobs.ClientFrom(ctx)
			_, late = c.Enqueue(ctx, task{N: 1})
			return nil
		})
		start(t, system)
		enqueue(t, system, 1)
		synctest.Wait()
		report, err := system.Stop().Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, late)
		require.Equal(t, 1, report.Completed)
		_, err = system.Client().Enqueue(t.Context(), task{})
		require.ErrorIs(t, err, backend.ErrClosed, "its own store is closed, after all else")
	})
}

func TestAStoreThatWasGivenIsNotClosed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store := newAway(t)
		system := newSystem(t, noop, on(store))
		start(t, system)
		_, err := system.Stop().Wait(t.Context())
		require.NoError(t, err)
		require.Zero(t, store.close.Load())
		enqueue(t, system, 1)
	})
}

func TestTwoSystemsShareOneStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store := newAway(t)
		work := func(context.Context, *jobs.Job[task]) error { <-time.After(time.Second); return nil }
		a, b := newSystem(t, work, on(store)), newSystem(t, work, on(store))
		start(t, a)
		start(t, b)
		enqueue(t, a, 40)
		<-time.After(2*time.Second + time.Millisecond)
		ra, err := a.Stop().Wait(t.Context())
		require.NoError(t, err)
		rb, err := b.Stop().Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 40, ra.Completed+rb.Completed)
		require.Equal(t, 20, ra.Completed)
	})
}

func TestAStartThatFailedMayBeTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store := newAway(t)
		system := newSystem(t, noop, on(store))
		for _, how := range []int32{1, 2} {
			store.cut.Store(how)
			began := time.Now()
			err := system.Start(t.Context())
			require.ErrorIs(t, err, backend.ErrUnavailable)
			require.ErrorContains(t, err, "the job store cannot be used")
			require.Equal(t, 5*time.Second, time.Since(began), "it does not wait for ever")
		}
		store.cut.Store(0)
		require.NoError(t, system.Start(t.Context()))
		require.ErrorContains(t, system.Start(t.Context()), "started already")
	})
}

func TestAStartWaitsForAStoreThatComesABitLater(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log bytes.Buffer
		store := newAway(t)
		system := newSystem(t, noop, on(store), func(c *caddis.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		store.cut.Store(1)
		time.AfterFunc(3*time.Second+time.Millisecond, func() { store.cut.Store(0) })
		began := time.Now()
		require.NoError(t, system.Start(t.Context()))
		require.Equal(t, 3250*time.Millisecond, time.Since(began))
		require.Equal(t, 1, strings.Count(log.String(), "not available yet"))
	})
}

func TestRunStopsWhenItsContextEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, func(context.Context, *jobs.Job[task]) error { <-time.After(3 * time.Second); return nil })
		enqueue(t, system, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		report, err := system.Run(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, report.Completed, "it drains")
		require.Equal(t, 2*time.Second, report.StopTook)
	})
}

// Mosquito ended with exit code 0 and no error after a crash.
func TestLessonRunReturnsTheErrorOfACrash(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		bug := errors.New("a bug")
		system := newSystem(t, func(context.Context, *jobs.Job[task]) error { panic(bug) },
			func(c *caddis.Config) { c.Strategy = actors.Always(actor.EscalateDirective) })
		enqueue(t, system, 1)
		report, err := system.Run(t.Context())
		require.ErrorIs(t, err, bug)
		require.Equal(t, actors.StateCrashed, report.State)
		_, err = system.Stopped().Wait(t.Context())
		require.ErrorIs(t, err, bug)
	})
}

func TestWaitingForTheStopEndsWithItsContextAndSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, noop)
		start(t, system)
		why := errors.New("no more patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		_, err := system.Stopped().Wait(ctx)
		require.ErrorIs(t, err, why)
		require.Nil(t, system.Stopped().Report())

		system.Stop()
		<-system.Stopped().Done()
		report, err := system.Stopped().Wait(ctx)
		require.NoError(t, err, "a report that is there is given even if ctx has ended")
		require.NotNil(t, report)
	})
}

func TestOrdersBeforeTheStartDoNoHarm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, noop)
		system.Quiet()
		system.Resume()
		require.ErrorContains(t, system.Resize(3), "has not been started")
		var heard []actors.State
		defer system.Subscribe(func(c actors.StateChanged) { heard = append(heard, c.To) })()
		start(t, system)
		synctest.Wait()
		require.NoError(t, system.Resize(3))
		synctest.Wait()
		require.Equal(t, 3, system.Status().Concurrency)
		system.Quiet()
		synctest.Wait()
		require.Equal(t, actors.StateQuiet, system.State())
		system.Resume()
		synctest.Wait()
		require.Equal(t, []actors.State{actors.StateRunning, actors.StateQuiet, actors.StateRunning}, heard)
	})
}

func TestASubscriberMayStopTheSystem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, noop)
		defer system.Subscribe(func(c actors.StateChanged) {
			if c.To == actors.StateRunning {
				system.Stop()
				_ = system.Status()
			}
		})()
		report, err := system.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, actors.StateStopped, report.State)
	})
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := caddis.New(caddis.Config{Concurrency: -1})
	require.ErrorContains(t, err, "Registry is missing")
	require.ErrorContains(t, err, "Concurrency is -1")
}

func TestSpawnNeedsAStore(t *testing.T) {
	t.Parallel()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, noop)
	as := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	_, err := caddis.Spawn(as, caddis.Config{Registry: registry})
	require.ErrorContains(t, err, "Backend is missing")

	pid, err := caddis.Spawn(as, caddis.Config{Registry: registry, Backend: newAway(t), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	result, err := as.Root.RequestFuture(pid, &actors.Stop{Grace: 25 * time.Second}, 40*time.Second).Result()
	require.NoError(t, err)
	require.Equal(t, actors.StateStopped, result.(*actors.Stopped).State)
}

func TestTheSystemAnswersProbesBeforeItsStartAndAfterItsStop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := newSystem(t, noop)
		probe := func(path string) int {
			w := httptest.NewRecorder()
			system.Health().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			return w.Code
		}
		require.Equal(t, 200, probe("/livez"))
		require.Equal(t, 503, probe("/readyz"))
		start(t, system)
		synctest.Wait()
		require.Equal(t, 200, probe("/livez"))
		require.Equal(t, 200, probe("/readyz"))
		_, _ = system.Stop().Wait(t.Context())
		require.Equal(t, 200, probe("/livez"))
		require.Equal(t, 503, probe("/readyz"))
	})
}

func TestTheStartTellsWhatIsNotSafe(t *testing.T) {
	var log strings.Builder
	t.Setenv("CADDIS_TERMINATION_GRACE", "10s")
	system := newSystem(t, noop, on(&unsafeStore{newAway(t)}), func(c *caddis.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	start(t, system)
	_, err := system.Stop().Wait(t.Context())
	require.NoError(t, err)
	require.Contains(t, log.String(), "it may forget")
	require.Contains(t, log.String(), "the grace of 25s is longer than the 10s")
	require.Equal(t, 2, strings.Count(log.String(), "\n"), "and nothing else: %s", log.String())
}

type unsafeStore struct{ backend.Backend }

func (unsafeStore) Check(context.Context) ([]backend.Warning, error) {
	return []backend.Warning{{Setting: "memory", Problem: "it may forget", Remedy: "notes"}}, nil
}

func TestTheActorLibraryIsNotHeardAtInfo(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	registry := jobs.NewRegistry()
	jobs.Handle(registry, noop)
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	_, err := caddis.New(caddis.Config{Registry: registry, Logger: logger})
	require.NoError(t, err)
	require.Empty(t, log.String())

	logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	_, err = caddis.New(caddis.Config{Registry: registry, Logger: logger})
	require.NoError(t, err)
	require.Contains(t, log.String(), "level=DEBUG")
	require.Contains(t, log.String(), "lib=protoactor")
}
