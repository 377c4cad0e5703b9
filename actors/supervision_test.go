package actors_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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

// strategyFunc is a strategy of the user's own.
type strategyFunc func(supervisor actor.Supervisor, child *actor.PID, reason, message any)

func (f strategyFunc) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID,
	_ *actor.RestartStatistics, reason, message any) {
	f(supervisor, child, reason, message)
}

// faultyJob panics for odd numbers.
func faultyJob(_ context.Context, job *jobs.Job[task]) error {
	if job.Args.N%2 == 1 {
		panic(fmt.Sprintf("job %d", job.Args.N))
	}
	return nil
}

func TestAPanicReachesTheStrategyWithItsStackAndOnlyAfterTheAcknowledgement(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		reasons := make(chan any, 1)
		r := newStore(t)
		r.faulty.on(held(gate), "settle")
		_, err := r.client.Enqueue(t.Context(), task{N: 1}, jobs.ID("x"))
		require.NoError(t, err)
		r.start(faultyJob, strategy(strategyFunc(func(s actor.Supervisor, child *actor.PID, reason, message any) {
			reasons <- reason
			s.RestartChildren(child)
		})))
		pause(3 * time.Second)
		require.Empty(t, reasons, "the store has not answered yet")

		close(gate)
		synctest.Wait()
		p := (<-reasons).(*actors.JobPanic)
		require.Equal(t, "job 1", p.Value)
		require.Equal(t, "x", p.Job.ID)
		require.Contains(t, string(p.Stack), "faultyJob")
		job := r.job("x")
		require.Equal(t, backend.StateScheduled, job.State, "it follows the retry policy")
		require.Equal(t, 1, job.Attempts)
		require.Contains(t, job.Failures[0].Stack, "faultyJob")
	})
}

func TestGoexitIsAPanicToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		reasons := make(chan any, 1)
		r := newStore(t)
		r.enqueue(1)
		r.start(func(context.Context, *jobs.Job[task]) error { runtime.Goexit(); return nil },
			strategy(strategyFunc(func(s actor.Supervisor, child *actor.PID, reason, _ any) {
				reasons <- reason
				s.ResumeChildren(child)
			})))
		synctest.Wait()
		require.ErrorContains(t, (<-reasons).(*actors.JobPanic), "Goexit")
		require.Equal(t, backend.StateScheduled, r.job("0").State)
	})
}

func TestAStrategySeesNoPayload(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		messages := make(chan any, 1)
		r := newStore(t)
		_, err := r.client.Enqueue(t.Context(), task{N: 1})
		require.NoError(t, err)
		r.start(faultyJob, strategy(strategyFunc(func(s actor.Supervisor, child *actor.PID, _, message any) {
			messages <- message
			s.RestartChildren(child)
		})))
		require.IsType(t, "", <-messages)
	})
}

// every strategy keeps the pool at its size.
func TestThePoolKeepsItsSizeUnderEveryDirective(t *testing.T) {
	for name, s := range map[string]func() actor.SupervisorStrategy{
		"restart": func() actor.SupervisorStrategy { return actors.Always(actor.RestartDirective) },
		"resume":  func() actor.SupervisorStrategy { return actors.Always(actor.ResumeDirective) },
		"stop":    func() actor.SupervisorStrategy { return actors.Always(actor.StopDirective) },
		"all":     func() actor.SupervisorStrategy { return actors.OneForAll(0, 0) },
		"backoff": func() actor.SupervisorStrategy { return quickBackoff() },
		"library's, which stops above its limit": func() actor.SupervisorStrategy {
			return actor.NewOneForOneStrategy(2, time.Hour, actor.DefaultDecider)
		},
		"library's, which stops all above its limit": func() actor.SupervisorStrategy {
			return actor.NewAllForOneStrategy(2, time.Hour, actor.DefaultDecider)
		},
		"one that panics": func() actor.SupervisorStrategy { return panickingStrategy{} },
		"two directives": func() actor.SupervisorStrategy {
			return strategyFunc(func(s actor.Supervisor, child *actor.PID, _, _ any) {
				s.RestartChildren(child)
				s.StopChildren(child)
			})
		},
		"stops everybody": func() actor.SupervisorStrategy {
			return strategyFunc(func(s actor.Supervisor, _ *actor.PID, _, _ any) { s.StopChildren(s.Children()...) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				const size = 4
				gate := make(chan struct{})
				var c crowd
				r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
					if job.Args.N >= 100 {
						defer c.enter()()
						<-gate
						return nil
					}
					return faultyJob(ctx, job)
				}, concurrency(size), strategy(s()))
				r.enqueue(40, jobs.MaxAttempts(1))
				pause(time.Minute)
				require.EqualValues(t, 20, r.counts()[backend.StateDead])
				require.EqualValues(t, 20, r.counts()[backend.StateCompleted])

				for n := range size {
					_, err := r.client.Enqueue(t.Context(), task{N: 100 + n})
					require.NoError(t, err)
				}
				synctest.Wait()
				require.Equal(t, size, c.peak(), "all executors are there")
				close(gate)
				report := r.stop(actors.Stop{})
				require.Equal(t, actors.StateStopped, report.State)
				require.Equal(t, 24, report.Completed)
				require.Equal(t, 20, report.Dead)
			})
		})
	}
}

func TestAnEscalationStopsTheWorkerInGoodOrderAsCrashed(t *testing.T) {
	for name, s := range map[string]func() actor.SupervisorStrategy{
		"always": func() actor.SupervisorStrategy { return actors.Always(actor.EscalateDirective) },
		"limit":  func() actor.SupervisorStrategy { return actors.Intensity(0, time.Hour, actors.OneForOne(0, 0)) },
		"library's": func() actor.SupervisorStrategy {
			return actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.EscalateDirective })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				bug := errors.New("a bug")
				r := newRig(t, func(_ context.Context, job *jobs.Job[task]) error {
					if job.Args.N == 1 {
						panic(bug)
					}
					<-time.After(5 * time.Second)
					return nil
				}, concurrency(2), strategy(s()))
				r.enqueue(10)
				report := r.report() // nobody asked for it
				require.Equal(t, actors.StateCrashed, report.State)
				require.ErrorIs(t, report.Err, bug)
				var p *actors.JobPanic
				require.ErrorAs(t, report.Err, &p)
				require.Equal(t, "1", p.Job.ID)
				require.Equal(t, 1, report.Completed, "the job that ran was finished")
				require.Equal(t, 1, report.Retried)
				require.Contains(t, report.Reason, "crashed: ")
				require.Equal(t, actors.StateCrashed, r.worker.Status().State)
			})
		})
	}
}

func TestAStrategyThatRestartsSiblingsLeavesTheirJobsAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
			if job.Args.N >= 3 {
				panic("again")
			}
			defer c.enter()()
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, concurrency(4), strategy(actors.OneForAll(0, 0)))
		r.enqueue(20, jobs.MaxAttempts(1))
		pause(2 * time.Minute)
		require.Equal(t, 3, c.runs())
		require.EqualValues(t, 3, r.counts()[backend.StateCompleted])
		require.EqualValues(t, 17, r.counts()[backend.StateDead])
	})
}

func TestAStrategyThatStopsSiblingsLetsThemFinishTheirJobs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var once sync.Once
		r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
			if job.Args.N == 3 {
				panic("once")
			}
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}, concurrency(4), strategy(strategyFunc(func(s actor.Supervisor, child *actor.PID, _, _ any) {
			once.Do(func() { s.StopChildren(s.Children()...) })
		})))
		r.enqueue(8, jobs.MaxAttempts(1))
		pause(3 * time.Minute)
		require.EqualValues(t, 7, r.counts()[backend.StateCompleted])
		require.Equal(t, 4, r.worker.Status().Concurrency)
	})
}

func TestADirectiveThatComesAfterTheStopIsIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { panic("always") },
			strategy(&actors.Backoff{Delay: jobs.Exponential{Initial: time.Minute}}), concurrency(3))
		r.enqueue(3)
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.Equal(t, 3, report.Retried)
		require.Zero(t, report.StopTook, "a stop waits for no directive")
		pause(time.Hour)
	})
}

func TestAnExecutorThatWaitsForItsDirectiveTakesNoJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newRig(t, func(_ context.Context, job *jobs.Job[task]) error {
			c.enter()()
			if job.Args.N == 0 {
				panic("first")
			}
			return nil
		}, strategy(&actors.Backoff{Delay: jobs.Exponential{Initial: time.Minute, Jitter: -1}}), concurrency(1))
		r.enqueue(3, jobs.MaxAttempts(1))
		pause(time.Minute - 1)
		require.Equal(t, 1, c.runs())
		pause(1)
		synctest.Wait()
		require.Equal(t, 3, c.runs())
	})
}
