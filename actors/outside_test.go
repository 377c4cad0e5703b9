package actors_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

// panics is a store, or what it calls, with a fault.
func panics(context.Context, func() error) error { panic("the dialer has a fault") }

// exits ends the goroutine that it is called by.
func exits(context.Context, func() error) error {
	runtime.Goexit()
	return nil
}

func TestAPanicInACallToTheStoreIsAnErrorOfThatCall(t *testing.T) {
	for name, how := range map[string]rule{"a panic": panics, "an exit": exits} {
		for _, verb := range []string{"lease", "settle", "renew", "sweep", "announce", "sign off", "wait", "waiter", "listen"} {
			t.Run(name+", "+verb, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newStore(t)
					r.faulty.on(first(3, how), verb)
					r.enqueue(3)
					r.start(noop)
					pause(time.Minute)
					r.enqueueMore(3, 5) // by a wait, if there was none yet
					pause(time.Minute)
					report := r.stop(actors.Stop{})
					require.Equal(t, 5, report.Completed, "%v", report)
					require.Equal(t, actors.StateStopped, report.State)
				})
			})
		}
	}
}

func TestAStoreThatPanicsForEverDoesNotKeepAStopFromItsReport(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		synctest.Wait()
		r.faulty.on(panics, "", "lease", "settle", "renew", "sweep", "sign off")
		r.system.Root.Stop(r.worker.PID())
		require.LessOrEqual(t, r.report().StopTook, 10*time.Second)
	})
}

// faultyHandler is a handler of the log with a fault.
type faultyHandler struct{ fault func() }

func (h *faultyHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *faultyHandler) Handle(context.Context, slog.Record) error {
	h.fault()
	return nil
}
func (h *faultyHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *faultyHandler) WithGroup(string) slog.Handler      { return h }

func logger(fault func()) func(*actors.Config) {
	return func(c *actors.Config) { c.Logger = slog.New(&faultyHandler{fault}) }
}

func TestALogHandlerThatPanicsDoesNotEndTheWorker(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { panic("so that there is something to log") },
			logger(func() { panic("at the log") }))
		r.faulty.on(first(3, down), "settle", "lease")
		r.enqueue(3)
		pause(time.Minute)
		report := r.stop(actors.Stop{})
		require.Equal(t, actors.StateStopped, report.State)
		require.GreaterOrEqual(t, report.Failed(), 3)
	})
}

func TestASubscriberThatPanicsKeepsNothingFromTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		actors.Subscribe(r.system, actors.DefaultName, func(actors.StateChanged) { panic("at the news") })
		r.system.EventStream.Subscribe(func(any) { panic("at all events") })
		r.start(noop)
		r.enqueue(1)
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.Equal(t, 1, report.Completed)
		require.Equal(t, actors.StateStopped, report.State)
	})
}

// blocking is a strategy that never decides.
func blocking(gate <-chan struct{}) actor.SupervisorStrategy {
	return strategyFunc(func(actor.Supervisor, *actor.PID, any, any) { <-gate })
}

func panicking(context.Context, *jobs.Job[task]) error { panic("for the strategy") }

// The grace is a promise, whatever the code of others does.
func TestWhoeverBlocksTheReportComesInTimeAndNamesHim(t *testing.T) {
	const grace = 5 * time.Second
	type story struct {
		who     string
		handler handler
		block   func(r *rig, gate chan struct{}) []func(*actors.Config)
		most    time.Duration
	}
	for name, s := range map[string]story{
		"the strategy": {who: "the supervision strategy", handler: panicking, most: grace,
			block: func(_ *rig, gate chan struct{}) []func(*actors.Config) {
				return []func(*actors.Config){strategy(blocking(gate))}
			}},
		"a subscriber": {who: "a subscriber to the worker's state", handler: noop, most: grace,
			block: func(r *rig, gate chan struct{}) []func(*actors.Config) {
				actors.Subscribe(r.system, actors.DefaultName, func(actors.StateChanged) { <-gate })
				return nil
			}},
		"the hook": {who: "the hook OnEvent", handler: noop, most: grace,
			block: func(_ *rig, gate chan struct{}) []func(*actors.Config) {
				return []func(*actors.Config){func(c *actors.Config) { c.OnEvent = func(jobs.Event) { <-gate } }}
			}},
		"the making of a waiter": {who: "the job store, wait", handler: noop, most: grace,
			block: func(r *rig, gate chan struct{}) []func(*actors.Config) {
				r.faulty.on(func(context.Context, func() error) error { <-gate; return errDown }, "waiter")
				return nil
			}},
		"a call": {who: "the job store, sign off", handler: noop, most: grace,
			block: func(r *rig, gate chan struct{}) []func(*actors.Config) {
				r.faulty.on(func(context.Context, func() error) error { <-gate; return errDown }, "sign off")
				return nil
			}},
		"the log": {who: "the handler of the log", handler: panicking, most: grace + 2*time.Second,
			block: func(_ *rig, gate chan struct{}) []func(*actors.Config) {
				return []func(*actors.Config){logger(func() { <-gate })}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				defer close(gate)
				r := newStore(t)
				change := s.block(r, gate)
				r.enqueue(1)
				r.start(s.handler, change...)
				pause(20 * time.Second)
				began := time.Now()
				r.worker.Stop(actors.Stop{Grace: grace})
				report := awaitDone(t, r.worker)
				require.LessOrEqual(t, time.Since(began), s.most)
				require.Contains(t, report.Stuck, s.who)
				t.Logf("the stop took %v: %v", report.StopTook, report)
			})
		})
	}
}

func TestAStrategyThatBlocksKeepsNoOtherExecutorFromItsWork(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, func(_ context.Context, job *jobs.Job[task]) error {
			if job.Args.N == 0 {
				panic("for the strategy")
			}
			return nil
		}, concurrency(2), strategy(blocking(gate)))
		r.enqueue(1)
		pause(20 * time.Second)
		require.Equal(t, []string{"the supervision strategy"}, r.worker.Status().Stuck)
		require.Zero(t, r.worker.Status().StuckCalls, "no reason to restart the process")
		r.enqueueMore(1, 50)
		require.NoError(t, r.worker.Resize(4))
		pause(time.Second)
		require.Equal(t, 49, r.worker.Status().Counts.Completed)
		require.Equal(t, 4, r.worker.Status().Concurrency)
	})
}

// A strategy that waits for the stop waits for itself.
func TestAStrategyMayWaitForTheStopThatItBegins(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var worker atomic.Pointer[actors.Worker]
		waits := strategyFunc(func(supervisor actor.Supervisor, child *actor.PID, _, _ any) {
			w := worker.Load()
			w.Stop(actors.Stop{})
			<-w.Done()
			supervisor.RestartChildren(child)
		})
		r := newStore(t)
		r.start(panicking, strategy(waits))
		worker.Store(r.worker)
		r.enqueue(1)
		report := r.report()
		require.LessOrEqual(t, report.StopTook, actors.DefaultGrace)
		require.Equal(t, []string{"the supervision strategy"}, report.Stuck)
		require.Equal(t, 1, report.Retried)
	})
}

// enqueueMore stores jobs from to to-1.
func (r *rig) enqueueMore(from, to int) {
	r.t.Helper()
	var items []jobs.Item
	for i := from; i < to; i++ {
		items = append(items, jobs.New(task{N: i}))
	}
	_, err := r.client.EnqueueMany(context.Background(), items...)
	require.NoError(r.t, err)
}

// badError is an error whose methods panic, as those of a typed nil do.
type badError struct{}

func (*badError) Error() string { panic("an error with a fault") }

func TestAnErrorWhoseMethodsPanicIsAnError(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		for _, verb := range []string{"lease", "settle", "renew", "sweep", "listen", "waiter"} {
			r.faulty.on(first(2, func(context.Context, func() error) error { return &badError{} }), verb)
		}
		r.enqueue(3)
		r.start(func(context.Context, *jobs.Job[task]) error { return &badError{} })
		pause(time.Minute)
		report := r.stop(actors.Stop{})
		require.Equal(t, actors.StateStopped, report.State)
		require.GreaterOrEqual(t, report.Retried, 3)
	})
}

func TestASubscriberToDeadLettersThatPanicsDoesNotEndTheProcess(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		synctest.Wait()
		r.system.EventStream.Subscribe(func(any) { panic("at a letter") })
		gone := actor.NewPID(r.system.Address(), "gone")
		r.system.Root.Send(r.worker.PID(), &actor.MessageEnvelope{Message: &actors.Stop{}, Sender: gone})
		require.Equal(t, actors.StateStopped, r.report().State)
	})
}
