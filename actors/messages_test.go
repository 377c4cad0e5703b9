package actors_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func TestInspectIsAnsweredWithTheStatusDuringAndAfterTheWorkersLife(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite, concurrency(3))
		r.enqueue(5)
		synctest.Wait()
		inspect := func() actors.Status {
			answer, err := r.system.Root.RequestFuture(r.worker.PID(), &actors.Inspect{}, time.Second).Result()
			require.NoError(t, err)
			return *answer.(*actors.Status)
		}
		status := inspect()
		require.Equal(t, actors.StateRunning, status.State)
		require.Equal(t, 3, status.Concurrency)
		require.Equal(t, 3, status.Running)
		require.Equal(t, 3, status.Counts.Leased)
		require.Equal(t, r.worker.ID(), status.Worker)
		require.True(t, status.StopBy.IsZero())

		r.worker.Stop(actors.Stop{Grace: 10 * time.Second})
		status = inspect()
		require.Equal(t, actors.StateDraining, status.State)
		require.Equal(t, 10*time.Second, time.Until(status.StopBy))

		r.report()
		status = inspect()
		require.Equal(t, actors.StateStopped, status.State)
		require.Equal(t, 3, status.Counts.Interrupted)
		require.Zero(t, status.Running)
	})
}

func TestUnknownMessagesAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		synctest.Wait()
		for _, name := range []string{"caddis", "caddis/supervisor", partName("fetcher"), partName("settler"), partName("keeper"), poolName, poolName + "/exec-0"} {
			pid := r.system.NewLocalPID(name)
			for _, message := range []any{"what?", 7, struct{}{}, &actors.Stopped{}, actors.Stop{}, &actor.Restart{}, (*int)(nil)} {
				r.system.Root.Send(pid, message)
				r.system.Root.RequestWithCustomSender(pid, message, pid)
			}
		}
		synctest.Wait()
		r.enqueue(3)
		synctest.Wait()
		require.EqualValues(t, 3, r.counts()[backend.StateCompleted])
		require.Equal(t, actors.StateRunning, r.worker.Status().State)
	})
}

func TestOrdersWithoutASenderAreCarriedOutAndNotAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		root := r.system.Root
		root.Send(r.worker.PID(), &actors.Resize{Concurrency: 3})
		root.Send(r.worker.PID(), &actors.Inspect{})
		synctest.Wait()
		require.Equal(t, 3, r.worker.Status().Concurrency)
		root.Send(r.worker.PID(), &actors.Stop{})
		r.report()
		for _, m := range []any{&actors.Resize{}, &actors.Inspect{}, &actors.Stop{}, &actors.Quiet{}, &actor.PoisonPill{}} {
			root.Send(r.worker.PID(), m)
		}
		root.Stop(r.worker.PID())
		_, err := root.RequestFuture(r.worker.PID(), "what?", time.Minute).Result()
		require.ErrorIs(t, err, actor.ErrDeadLetter)
	})
}

func TestSubscribersHearEveryStateInOrderEvenIfOneOfThemPanics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		actors.Subscribe(r.system, actors.DefaultName, func(actors.StateChanged) { panic("a bad subscriber") })
		var froms []actors.State
		r.start(noop)
		unsubscribe := actors.Subscribe(r.system, actors.DefaultName, func(c actors.StateChanged) {
			froms = append(froms, c.From)
			require.Equal(t, actors.DefaultName, c.PID.Id)
		})
		actors.Subscribe(r.system, "another", func(actors.StateChanged) { t.Error("not about this worker") })
		synctest.Wait()
		r.worker.Quiet()
		r.worker.Resume()
		synctest.Wait()
		froms = froms[max(0, len(froms)-2):] // it may have subscribed before the start
		require.Equal(t, []actors.State{actors.StateRunning, actors.StateQuiet}, froms)
		unsubscribe()
		unsubscribe()
		r.stop(actors.Stop{Urgency: actors.HandBack})
		require.Len(t, froms, 2)
		require.Equal(t, []actors.State{
			actors.StateRunning, actors.StateQuiet, actors.StateRunning,
			actors.StateDraining, actors.StateCancelling, actors.StateHandingBack, actors.StateStopped,
		}, r.states.all())
	})
}

func TestASubscriberMayBeginTheStop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		actors.Subscribe(r.system, actors.DefaultName, func(c actors.StateChanged) {
			if c.To == actors.StateRunning {
				r.system.Root.Send(c.PID, &actors.Stop{})
			}
		})
		r.start(noop)
		require.Equal(t, actors.StateStopped, r.report().State)
	})
}

func TestTwoWorkersOfOneNameCannotLiveInOneActorSystem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		registry := jobs.NewRegistry()
		jobs.Handle(registry, noop)
		config := actors.Config{Backend: r.store, Registry: registry, Logger: discard()}
		_, err := actors.Spawn(r.system, config)
		require.ErrorIs(t, err, actor.ErrNameExists)
		require.ErrorContains(t, err, `"caddis"`)

		config.Name = "second"
		second, err := actors.Spawn(r.system, config)
		require.NoError(t, err)
		r.enqueue(10)
		synctest.Wait()
		require.EqualValues(t, 10, r.counts()[backend.StateCompleted])
		second.Stop(actors.Stop{})
		awaitDone(t, second)
		require.Equal(t, actors.StateRunning, r.worker.Status().State)
	})
}

func TestANameIsFreeAgainWhenItsWorkerHasStopped(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		first := r.worker
		before := r.stop(actors.Stop{})
		r.start(noop)
		r.enqueue(1)
		synctest.Wait()
		require.EqualValues(t, 1, r.counts()[backend.StateCompleted])
		require.Equal(t, before, first.Report())
		require.Equal(t, 1, r.stop(actors.Stop{}).Completed)
	})
}

func TestANameThatSomethingElseHasIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		system := quietSystem()
		own, err := system.Root.SpawnNamed(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(string); ok {
				c.Respond("still me")
			}
		}), "caddis")
		require.NoError(t, err)
		registry := jobs.NewRegistry()
		jobs.Handle(registry, noop)
		_, err = actors.Spawn(system, actors.Config{Backend: store(t), Registry: registry, Logger: discard()})
		require.ErrorIs(t, err, actor.ErrNameExists)
		answer, err := system.Root.RequestFuture(own, "who?", time.Second).Result()
		require.NoError(t, err)
		require.Equal(t, "still me", answer)
	})
}

func TestTheUsersActorSystemSurvivesTheWorker(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		echo := r.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if s, ok := c.Message().(string); ok {
				c.Respond(s)
			}
		}))
		for range 3 {
			r.start(func(context.Context, *jobs.Job[task]) error { panic("at the disco") })
			r.enqueue(2, jobs.MaxAttempts(1), jobs.ReplaceFinished())
			synctest.Wait()
			r.stop(actors.Stop{})
			answer, err := r.system.Root.RequestFuture(echo, "alive", time.Second).Result()
			require.NoError(t, err)
			require.Equal(t, "alive", answer)
		}
	})
}

func TestWorkersOnOneStoreShareTheWork(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var all crowd
		work := func(context.Context, *jobs.Job[task]) error {
			defer all.enter()()
			<-time.After(time.Second)
			return nil
		}
		r := newRig(t, work, concurrency(5))
		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		second.start(work, concurrency(5))
		r.enqueue(100)
		pause(11 * time.Second)
		require.EqualValues(t, 100, r.counts()[backend.StateCompleted])
		require.Equal(t, 10, all.peak())
		a, b := r.stop(actors.Stop{}), second.stop(actors.Stop{})
		require.Equal(t, 100, a.Completed+b.Completed)
		require.Equal(t, 50, a.Completed)
	})
}

// lines is a log that can be looked at.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type secret struct {
	Card string `json:"card"`
}

func (secret) Kind() string { return "secret" }

// Payloads in logs: dead letters and panics print whole messages.
func TestLessonNoPayloadIsEverLogged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log lines
		logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		system := actor.NewActorSystem(
			actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return logger }),
			actor.WithDeveloperSupervisionLogging(false))
		for _, s := range []actor.SupervisorStrategy{
			actors.OneForOne(0, 0), actor.NewOneForOneStrategy(1, time.Hour, actor.DefaultDecider), panickingStrategy{},
			actors.Always(actor.EscalateDirective),
		} {
			r := newStore(t)
			r.system = system
			gate := make(chan struct{})
			_, err := r.client.EnqueueMany(t.Context(), jobs.New(secret{"4111"}), jobs.New(secret{"4111"}), jobs.New(secret{"4111"}), jobs.New(secret{"4111"}))
			require.NoError(t, err)
			r.faulty.on(first(3, lostReply), "lease", "settle")
			r.start(noop, strategy(s), func(c *actors.Config) {
				c.Logger = logger
				jobs.Handle(c.Registry, func(ctx context.Context, job *jobs.Job[secret]) error {
					if job.Attempt > 1 {
						<-gate
					}
					panic(job.Args)
				}, jobs.Backoff(jobs.Exponential{Initial: time.Second}))
			})
			pause(5 * time.Second)
			system.Root.Stop(r.worker.PID())
			r.report()
			close(gate)
			pause(3 * time.Second)
		}
		require.NotEmpty(t, log.String())
		require.NotContains(t, log.String(), "4111")
	})
}
