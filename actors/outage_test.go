package actors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// outages are the ways in which a store can be away.
var outages = map[string]rule{"every call fails": down, "every call hangs": hangs}

// outage breaks a store for good, whatever it does.
func (r *rig) outage(how rule) { r.faulty.on(how, "") }

func TestAStopWhileTheStoreIsAwayEndsWithinItsGrace(t *testing.T) {
	for name, how := range outages {
		for _, grace := range []time.Duration{100 * time.Millisecond, time.Second, 25 * time.Second} {
			t.Run(name+", "+grace.String(), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newRig(t, noop)
					synctest.Wait()
					r.outage(how)
					report := r.stop(actors.Stop{Grace: grace})
					require.LessOrEqual(t, report.StopTook, grace)
					require.Equal(t, actors.StateStopped, report.State)
					require.Zero(t, report.Unconfirmed)
				})
			})
		}
	}
}

func TestAStopWhileTheStoreIsAwayFromTheStartEndsWithinItsGrace(t *testing.T) {
	for name, how := range outages {
		for _, urgency := range []actors.Urgency{actors.Drain, actors.Cancel, actors.HandBack} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := newStore(t)
					r.outage(how)
					r.start(noop)
					pause(7 * time.Second)
					report := r.stop(actors.Stop{Grace: 10 * time.Second, Urgency: urgency})
					require.LessOrEqual(t, report.StopTook, 10*time.Second)
				})
			})
		}
	}
}

func TestAStopInAnOutageListsWhatTheStoreDidNotConfirm(t *testing.T) {
	for name, how := range outages {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				defer close(gate)
				r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
					switch job.Args.N {
					case 0:
						<-gate
					case 1:
						return polite(ctx, job)
					}
					return nil
				})
				r.faulty.on(how, "settle") // what completes at once is kept
				r.enqueue(3)
				synctest.Wait()
				r.outage(how)

				report := r.stop(actors.Stop{Grace: 20 * time.Second})

				require.LessOrEqual(t, report.StopTook, 20*time.Second)
				require.Equal(t, 3, report.Unconfirmed)
				var ids []string
				for _, ref := range report.UnconfirmedJobs {
					require.Equal(t, "task", ref.Kind)
					ids = append(ids, ref.ID)
				}
				require.ElementsMatch(t, []string{"0", "1", "2"}, ids)
				require.Zero(t, report.Completed)
			})
		})
	}
}

func TestAStoreThatComesBackDuringTheStopConfirmsEverything(t *testing.T) {
	for name, how := range outages {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, noop, concurrency(3))
				r.faulty.on(how, "settle")
				r.enqueue(3)
				synctest.Wait()
				r.outage(how)
				r.worker.Stop(actors.Stop{})
				pause(9 * time.Second)
				r.faulty.on(nil, "", "settle")
				report := r.report()
				require.Equal(t, 3, report.Completed)
				require.Zero(t, report.Unconfirmed)
				require.Less(t, report.StopTook, 16*time.Second)
				require.EqualValues(t, 3, r.counts()[backend.StateCompleted])
			})
		})
	}
}

func TestALeaseThatTheStoreTookBeforeAnOutageIsHandedBackWhenItReturnsDuringTheStop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *jobs.Job[task]) error {
			<-time.After(8 * time.Second)
			return nil
		}, concurrency(2))
		r.enqueue(1)
		synctest.Wait()
		r.faulty.on(lostReply, "lease") // taken, and not known
		_, err := r.client.Enqueue(t.Context(), task{N: 1}, jobs.ID("taken"))
		require.NoError(t, err)
		synctest.Wait()
		r.faulty.on(down, "lease", "wait")

		r.worker.Stop(actors.Stop{})
		pause(5 * time.Second)
		r.faulty.on(nil, "lease", "wait")
		report := r.report()

		require.Equal(t, 1, report.Completed)
		require.Equal(t, 1, report.HandedBack)
		require.Equal(t, []string{"taken"}, r.ids(backend.StateWaiting))
		require.Zero(t, r.job("taken").Crashes)
	})
}

// stopsUnanswered starts a worker whose lease takes jobs and is not answered, and stops
// it: it has to learn what was taken.
func (r *rig) stopsUnanswered() *actors.Report {
	r.t.Helper()
	r.enqueue(3)
	r.start(noop)
	synctest.Wait()
	taken := r.counts()[backend.StateRunning]
	require.Positive(r.t, taken)
	report := r.stop(actors.Stop{})
	require.EqualValues(r.t, taken, report.HandedBack)
	require.Zero(r.t, r.counts()[backend.StateRunning], "nothing is stranded")
	return report
}

func TestAnIdleWorkerThatStopsOnAFlakyStoreLearnsWhatItsLeaseHasTaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(first(8, lostReply), "lease")
		require.LessOrEqual(t, r.stopsUnanswered().StopTook, time.Second)
	})
}

func TestASlowStoreIsAskedSeveralTimesBeforeALeaseIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(first(4, func(ctx context.Context, call func() error) error {
			_ = call()
			select {
			case <-time.After(900 * time.Millisecond):
			case <-ctx.Done():
			}
			return errDown
		}), "lease")
		r.stopsUnanswered()
	})
}

// What is large takes its time on a slow line: to repeat it with the same patience for
// ever would never bring it over.
func TestACallThatTakesLongGetsMoreTimeWhenItIsRepeated(t *testing.T) {
	for _, verb := range []string{"lease", "settle"} {
		t.Run(verb, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, noop)
				r.faulty.on(func(ctx context.Context, call func() error) error {
					select {
					case <-time.After(18 * time.Second):
						return call()
					case <-ctx.Done():
						return ctx.Err()
					}
				}, verb)
				r.enqueue(1)
				pause(3 * time.Minute)
				require.EqualValues(t, 1, r.counts()[backend.StateCompleted])
				r.faulty.on(nil, verb)
			})
		})
	}
}

// asynq retried a failed acknowledgement with a cancelled context, so never.
func TestLessonSettlementsAreKeptUntilTheStoreConfirmsThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		r.faulty.on(down, "settle", "renew", "sweep")
		r.enqueue(5)
		synctest.Wait()
		pause(10 * time.Second) // less than a lease
		require.Equal(t, 5, r.worker.Status().Unconfirmed)

		r.faulty.on(nil, "settle", "renew", "sweep")
		pause(time.Second)

		require.EqualValues(t, 5, r.counts()[backend.StateCompleted])
		status := r.worker.Status()
		require.Zero(t, status.Unconfirmed)
		require.Equal(t, 5, status.Counts.Completed)
	})
}

// Workers that were alive and consumed nothing after Redis came back (celery, bull,
// bullmq).
func TestLessonWorkGoesOnWithinTwoSecondsOfTheStoresReturn(t *testing.T) {
	for name, how := range outages {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var c crowd
				r := newRig(t, func(context.Context, *jobs.Job[task]) error { c.enter()(); return nil })
				synctest.Wait()
				r.outage(how)
				r.enqueue(20)
				pause(time.Minute)
				require.Zero(t, c.runs())
				require.Contains(t, r.worker.Status().BackendError, "unavailable")

				r.faulty.on(nil, "")
				pause(2 * time.Second)
				if name == "every call hangs" { // what hangs ends by its own time
					pause(4 * time.Second)
				}
				require.Equal(t, 20, c.runs())
				require.Empty(t, r.worker.Status().BackendError)
			})
		})
	}
}

func TestRunningJobsGoOnDuringAnOutageAndAreNotRunTwice(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newRig(t, func(ctx context.Context, _ *jobs.Job[task]) error {
			defer c.enter()()
			select {
			case <-time.After(30 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		r.enqueue(3)
		synctest.Wait()
		r.outage(down)
		pause(10 * time.Second) // the store was away for less than a lease
		r.faulty.on(nil, "")
		pause(time.Minute)
		report := r.stop(actors.Stop{})
		require.Equal(t, 3, report.Completed)
		require.Equal(t, 3, c.runs())
	})
}

// A store that ignores contexts is broken, and still the stop ends.
func TestACallThatNeverEndsDoesNotHoldUpTheStop(t *testing.T) {
	for _, verb := range []string{"lease", "settle", "renew", "sweep", "sign off", "wait"} {
		t.Run(verb, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				r := newStore(t)
				r.start(noop)
				synctest.Wait()
				r.faulty.on(func(context.Context, func() error) error {
					<-gate
					return errDown
				}, verb)
				r.enqueue(1)
				pause(11 * time.Second)
				report := r.stop(actors.Stop{Grace: 10 * time.Second})
				require.LessOrEqual(t, report.StopTook, 12*time.Second)
				close(gate)
			})
		})
	}
}
