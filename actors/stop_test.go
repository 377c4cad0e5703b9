package actors_test

import (
	"context"
	"errors"
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

func TestAStopWalksThroughItsStepsAtThePlannedInstants(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, obstinate(gate), times(20*time.Second, 4*time.Second, 2*time.Second))
		r.enqueue(1)
		synctest.Wait()

		begin := time.Now()
		report := r.stop(actors.Stop{})

		require.Equal(t, []actors.State{
			actors.StateRunning, actors.StateDraining, actors.StateCancelling, actors.StateHandingBack, actors.StateStopped,
		}, r.states.all())
		require.Zero(t, r.states.after(t, actors.StateDraining, begin))
		require.Equal(t, 14*time.Second, r.states.after(t, actors.StateCancelling, begin))
		require.Equal(t, 18*time.Second, r.states.after(t, actors.StateHandingBack, begin))
		require.Equal(t, 18*time.Second, r.states.after(t, actors.StateStopped, begin), "once all is confirmed nothing is waited for")
		require.Equal(t, 18*time.Second, report.StopTook)
		close(gate)
	})
}

func TestAWorkerWithNothingToDoStopsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.Zero(t, report.StopTook)
		require.Equal(t, actors.StateStopped, report.State)
		require.Nil(t, report.Err)
	})
}

func TestAStopBeforeTheActorsHaveStartedEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		report := r.stop(actors.Stop{}) // no wait: the tree may not even run
		require.Equal(t, actors.StateStopped, report.State)
	})
}

func TestAJobThatFinishesWhileDrainingIsCompleted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		r.enqueue(1)
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.Equal(t, 1, report.Completed)
		require.Equal(t, 10*time.Second, report.StopTook, "a stop takes as long as its longest job")
		require.Equal(t, []actors.State{actors.StateRunning, actors.StateDraining, actors.StateStopped}, r.states.all())
	})
}

func TestAJobInterruptedByAStopIsHandedBackToTheFrontAndNotCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite, concurrency(1))
		r.enqueue(3)
		synctest.Wait()

		report := r.stop(actors.Stop{})

		require.Equal(t, 1, report.Interrupted)
		require.Equal(t, 1, report.Leased)
		require.Equal(t, []string{"0", "1", "2"}, r.ids(backend.StateWaiting))
		job := r.job("0")
		require.Zero(t, job.Attempts)
		require.Zero(t, job.Crashes)
		require.Empty(t, job.Failures)
	})
}

func TestAJobThatIgnoresItsContextIsAbandonedListedAndHandedBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		returned := make(chan struct{})
		r := newRig(t, func(_ context.Context, job *jobs.Job[task]) error {
			defer close(returned)
			<-gate
			_ = job.SetResult("too late")
			return nil
		}, concurrency(1))
		r.enqueue(2)
		synctest.Wait()

		report := r.stop(actors.Stop{})
		require.Equal(t, 1, report.Abandoned)
		require.Equal(t, []actors.Ref{{Queue: jobs.DefaultQueue, ID: "0", Kind: "task"}}, report.AbandonedJobs)
		require.Equal(t, []string{"0", "1"}, r.ids(backend.StateWaiting))

		r.faulty.forget()
		close(gate)
		<-returned
		synctest.Wait()
		require.Empty(t, r.faulty.settles(), "a late result reaches nobody")
		require.Equal(t, []string{"0", "1"}, r.ids(backend.StateWaiting))
		require.Nil(t, r.job("0").Result)
	})
}

// Check the token on every transition: solid_queue's late finisher released a lock
// that it no longer owned.
func TestLessonALateFinisherChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, obstinate(gate))
		r.enqueue(1)
		synctest.Wait()
		r.stop(actors.Stop{Urgency: actors.HandBack})

		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		second.start(polite)
		synctest.Wait()
		require.Equal(t, second.worker.ID(), r.job("0").LeasedBy)

		close(gate) // the first handler returns, and says that all is well
		synctest.Wait()
		job := r.job("0")
		require.Equal(t, backend.StateRunning, job.State)
		require.Equal(t, second.worker.ID(), job.LeasedBy)
	})
}

func TestAResultThatComesWhileTheHandBackIsUnderWayIsNotSettledToo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		acknowledge, gate := make(chan struct{}), make(chan struct{})
		r := newRig(t, obstinate(gate))
		r.faulty.on(held(acknowledge), "settle")
		r.enqueue(1)
		synctest.Wait()
		r.worker.Stop(actors.Stop{Urgency: actors.HandBack})
		synctest.Wait()
		require.Len(t, r.faulty.settles(), 1)

		close(gate) // the handler returns, and its executor is still there
		synctest.Wait()
		close(acknowledge)

		report := r.report()
		require.Equal(t, 1, report.Abandoned)
		require.Len(t, r.faulty.settles(), 1)
		require.Equal(t, []string{"0"}, r.ids(backend.StateWaiting))
	})
}

func TestASecondStopWithCancelSkipsTheDraining(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), times(20*time.Second, 4*time.Second, 2*time.Second))
		r.enqueue(1)
		synctest.Wait()
		begin := time.Now()
		r.worker.Stop(actors.Stop{})
		pause(3 * time.Second)

		r.worker.Stop(actors.Stop{Urgency: actors.Cancel})
		r.report()

		require.Equal(t, 3*time.Second, r.states.after(t, actors.StateCancelling, begin))
		require.Equal(t, 7*time.Second, r.states.after(t, actors.StateHandingBack, begin))
	})
}

func TestAThirdStopWithHandBackSkipsTheCancelling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), times(20*time.Second, 4*time.Second, 2*time.Second))
		r.enqueue(1)
		synctest.Wait()
		begin := time.Now()
		r.worker.Stop(actors.Stop{})
		pause(3 * time.Second)
		r.worker.Stop(actors.Stop{Urgency: actors.Cancel})
		pause(time.Second)

		r.worker.Stop(actors.Stop{Urgency: actors.HandBack})
		report := r.report()

		require.Equal(t, 3*time.Second, r.states.after(t, actors.StateCancelling, begin))
		require.Equal(t, 4*time.Second, r.states.after(t, actors.StateHandingBack, begin))
		require.Equal(t, 4*time.Second, report.StopTook)
		require.Equal(t, 1, report.Abandoned)
	})
}

func TestALaterStopMakesNothingSlower(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite, times(10*time.Second, 2*time.Second, time.Second))
		r.enqueue(1)
		synctest.Wait()
		r.worker.Stop(actors.Stop{})
		pause(time.Second)
		report := r.stop(actors.Stop{Grace: time.Hour})
		require.Equal(t, 7*time.Second, report.StopTook)
	})
}

func TestALaterStopWithAShorterGraceCounts(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite, times(time.Hour, 2*time.Second, time.Second))
		r.enqueue(1)
		synctest.Wait()
		r.worker.Stop(actors.Stop{})
		pause(time.Second)
		report := r.stop(actors.Stop{Grace: 5 * time.Second})
		require.Equal(t, 3*time.Second, report.StopTook)
	})
}

func TestAGraceShorterThanItsPartsStillHasAllSteps(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), times(time.Minute, 5*time.Second, 5*time.Second))
		r.enqueue(1)
		synctest.Wait()
		begin := time.Now()
		report := r.stop(actors.Stop{Grace: 4 * time.Second})
		require.Equal(t, 2*time.Second, r.states.after(t, actors.StateCancelling, begin))
		require.Equal(t, 3*time.Second, r.states.after(t, actors.StateHandingBack, begin))
		require.Equal(t, 1, report.Abandoned)
	})
}

// Sidekiq's pools re-ran each other's handed-back jobs during the stop.
func TestLessonEverythingIsQuietBeforeAnythingIsHandedBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
			defer c.enter()()
			return polite(ctx, job)
		}, concurrency(3))
		r.enqueue(3)
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.Equal(t, 3, report.Interrupted)
		require.Equal(t, 3, report.Leased)
		require.Equal(t, 3, c.runs(), "nothing that was handed back has run again")
	})
}

// Mosquito sent no heartbeat while it drained, and another worker took the job.
func TestLessonLeasesAreRenewedWhileTheWorkerDrains(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			<-time.After(time.Minute)
			return nil
		}, lease(3*time.Second), times(2*time.Minute, time.Second, time.Second))
		r.enqueue(1)
		synctest.Wait()
		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		var stolen crowd
		second.start(func(context.Context, *jobs.Job[task]) error { stolen.enter(); return nil }, lease(3*time.Second))

		report := r.stop(actors.Stop{})

		require.Equal(t, 1, report.Completed)
		require.Zero(t, report.Lost)
		require.Zero(t, stolen.runs())
	})
}

func TestExecutorsEndOnlyAfterTheStoreHasAcknowledgedTheirJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, noop, concurrency(2))
		r.faulty.on(held(gate), "settle")
		r.enqueue(1)
		synctest.Wait()
		pool := r.system.NewLocalPID(poolName)
		ended := ending(r.system, pool)

		r.worker.Stop(actors.Stop{})
		pause(3 * time.Second)
		select {
		case <-ended:
			require.FailNow(t, "the pool has ended before the acknowledgement")
		default:
		}
		require.Equal(t, actors.StateDraining, r.worker.Status().State)
		require.Equal(t, 1, r.worker.Status().Unconfirmed)

		close(gate)
		report := r.report()
		<-ended
		require.Equal(t, 1, report.Completed)
		require.Equal(t, 3*time.Second, report.StopTook)
	})
}

// ending is closed when an actor has ended.
func ending(system *actor.ActorSystem, pid *actor.PID) <-chan struct{} {
	ended := make(chan struct{})
	system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch c.Message().(type) {
		case *actor.Started:
			c.Watch(pid)
		case *actor.Terminated:
			close(ended)
		}
	}))
	return ended
}

func TestWhoeverAsksForTheStopGetsTheSameReport(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(context.Context, *jobs.Job[task]) error {
		pause(10 * time.Millisecond)
		return nil
	})
	r.enqueue(200)
	pid := r.worker.PID()
	reports := make(chan *actors.Report, 1000)
	failures := make(chan error, 1000)
	ask := func() {
		result, err := r.system.Root.RequestFuture(pid, &actors.Stop{}, 30*time.Second).Result()
		if err != nil {
			failures <- err
			return
		}
		reports <- &result.(*actors.Stopped).Report
	}
	var callers sync.WaitGroup
	for range 100 { // before and during
		callers.Go(ask)
	}
	over := make(chan struct{})
	for range 4 { // all the time, and so at every moment of the end too
		callers.Go(func() {
			for range 100 {
				ask()
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	awaitDone(t, r.worker)
	for range 100 { // after
		callers.Go(ask)
	}
	close(over)
	callers.Wait()
	close(reports)
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	want := r.report()
	for report := range reports {
		require.Equal(t, want, report)
	}
}

func TestAPillIsAStop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *jobs.Job[task]) error {
			<-time.After(time.Second)
			return nil
		})
		r.enqueue(1)
		synctest.Wait()
		future := r.system.Root.PoisonFuture(r.worker.PID())
		require.NoError(t, future.Wait(), "the library's future of the pill ends")
		report := r.report()
		require.Equal(t, 1, report.Completed)
		require.Equal(t, time.Second, report.StopTook)
	})
}

func TestWhoWatchesTheWorkerIsToldOfItsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		during := ending(r.system, r.worker.PID())
		synctest.Wait()
		r.stop(actors.Stop{})
		<-during
		after := ending(r.system, r.worker.PID())
		<-after
	})
}

func TestAHardStopHandsEverythingBackFromTheLedger(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), concurrency(2))
		r.enqueue(5)
		synctest.Wait()
		r.system.Root.Stop(r.worker.PID())
		report := r.report()
		require.Equal(t, 2, report.Abandoned)
		require.Equal(t, actors.StateStopped, report.State)
		require.Equal(t, "stopped without draining", report.Reason)
		require.EqualValues(t, 5, r.counts()[backend.StateWaiting])
	})
}

func TestAHardStopRepeatsWhatTheStoreDidNotAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), concurrency(2))
		r.enqueue(5)
		synctest.Wait()
		r.faulty.on(first(2, lostReply), "settle")
		r.system.Root.Stop(r.worker.PID())
		report := r.report()
		require.Equal(t, 2, report.Abandoned)
		require.Zero(t, report.Unconfirmed)
	})
}

func TestAHardStopLearnsWhatAnUnansweredLeaseHasTaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(func(ctx context.Context, call func() error) error {
			_ = call()
			return hangs(ctx, call)
		}, "lease")
		r.enqueue(5)
		r.start(noop)
		synctest.Wait()
		taken := r.counts()[backend.StateRunning]
		require.Positive(t, taken)
		r.faulty.on(nil, "lease")
		r.system.Root.Stop(r.worker.PID())
		report := r.report()
		require.EqualValues(t, taken, report.HandedBack)
		require.EqualValues(t, 5, r.counts()[backend.StateWaiting])
	})
}

func TestAHardStopOfAPartEndsTheWorkerAsCrashedAndLosesNothing(t *testing.T) {
	for _, part := range []string{"settler", "fetcher", "keeper", "pool"} {
		t.Run(part, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
					if job.Args.N == 0 {
						return polite(ctx, job)
					}
					return nil
				}, concurrency(2))
				r.faulty.on(held(gate), "settle") // so that the settler has something in hand
				r.enqueue(5)
				synctest.Wait()
				begin := time.Now()
				r.system.Root.Stop(r.system.NewLocalPID(partName(part)))
				pause(time.Second)
				close(gate)
				report := r.report()
				require.Equal(t, actors.StateCrashed, report.State)
				require.ErrorContains(t, report.Err, part)
				require.Zero(t, report.Unconfirmed, "%v", report)
				require.Zero(t, r.counts()[backend.StateRunning])
				require.LessOrEqual(t, time.Since(begin), actors.DefaultGrace)
			})
		})
	}
}

func TestASupervisorThatFailsEndsAsCrashed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		_, err := r.system.Root.SpawnNamed(actor.PropsFromFunc(func(actor.Context) {}), partName("pool"))
		require.NoError(t, err)
		r.start(noop) // its pool cannot be spawned
		report := r.report()
		require.Equal(t, actors.StateCrashed, report.State, "%v", report)
		require.ErrorIs(t, report.Err, actor.ErrNameExists)
	})
}

func TestHandlersEnqueueWhileTheWorkerDrains(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		enqueued := errors.New("not called")
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			<-time.After(time.Second)
			c, ok := jobs.ClientFrom(ctx)
			if !ok {
				return errors.New("no client")
			}
			_, enqueued = c.Enqueue(ctx, task{N: 1}, jobs.ID("next"))
			return enqueued
		})
		r.enqueue(1)
		synctest.Wait()
		report := r.stop(actors.Stop{})
		require.NoError(t, enqueued)
		require.Equal(t, 1, report.Completed)
		require.Equal(t, []string{"next"}, r.ids(backend.StateWaiting))
	})
}
