package actors_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// figures sums up what the store has of the default queue.
func (r *rig) figures() backend.Figures {
	r.t.Helper()
	s, err := r.store.Figures(context.Background(), backend.FiguresQuery{Queue: jobs.DefaultQueue, Step: time.Hour})
	require.NoError(r.t, err)
	return s.Total()
}

// events reads a journal.
func (r *rig) events(queue string) []backend.Event {
	r.t.Helper()
	page, err := r.store.Events(context.Background(), backend.EventsQuery{Queue: queue, Limit: backend.MaxEvents})
	require.NoError(r.t, err)
	return page.Events
}

// typesOf lists the types of the events about a job, or of all if id is empty.
func typesOf(events []backend.Event, id string) (types []jobs.EventType) {
	for _, e := range events {
		if id == "" || e.ID == id {
			types = append(types, e.Type)
		}
	}
	return types
}

func TestFiguresAndJournalTellWhatBecameOfEachJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		outcomes := []error{
			nil, errors.New("fails\xff"), jobs.Snooze(time.Hour), jobs.Cancel(nil), jobs.Discard(errors.New(strings.Repeat("no use ", 100))),
		}
		last := len(outcomes)
		r := newStore(t)
		r.enqueue(last+3, jobs.In(10*time.Second))
		_, err := r.store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "new", Queue: jobs.DefaultQueue, Kind: "unknown", Payload: []byte("{}")}}})
		require.NoError(t, err)
		pause(12 * time.Second)
		registry := jobs.NewRegistry()
		jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[task]) error {
			switch {
			case job.Args.N == last:
				panic("at the disco")
			case job.Args.N > last:
				return polite(ctx, job)
			}
			<-time.After(3 * time.Second)
			return outcomes[job.Args.N]
		}, jobs.Backoff(jobs.Exponential{Initial: time.Hour}))
		r.start(nil, func(c *actors.Config) { c.Registry = registry })
		pause(5 * time.Second)
		_, err = r.client.Cancel(t.Context(), jobs.DefaultQueue, "7")
		require.NoError(t, err)
		synctest.Wait()
		pause(2 * time.Second)

		f := r.figures()
		require.EqualValues(t, last+3, f.Started, "the job that runs has started too")
		report := r.stop(actors.Stop{Urgency: actors.Cancel})
		require.Zero(t, report.Unrecorded)
		f = r.figures()
		want := backend.Figures{Started: int64(last + 3), Completed: 1, Retried: 2, Snoozed: 1, Cancelled: 2, Died: 1, Parked: 1}
		require.EqualValues(t, report.HandedBack+report.Interrupted, f.HandedBack)
		want.HandedBack = f.HandedBack
		want.Waiting, want.Running = f.Waiting, f.Running
		require.Equal(t, want, f)
		require.EqualValues(t, last+3, f.Waiting.Count())
		require.InDelta(t, 2, f.Waiting.Mean().Seconds(), 0.1, "from the time when they were due")
		require.EqualValues(t, last+3, f.Running.Count())
		require.InDelta(t, 3, f.Running.Quantile(0.5).Seconds(), 1)

		events := r.events(jobs.DefaultQueue)
		for id, want := range map[string]jobs.EventType{
			"0": jobs.EventCompleted, "1": jobs.EventRetried, "2": jobs.EventSnoozed, "3": jobs.EventCancelled,
			"4": jobs.EventDied, "5": jobs.EventRetried, "6": jobs.EventHandedBack, "7": jobs.EventCancelled,
		} {
			require.Equal(t, []jobs.EventType{jobs.EventStarted, want}, typesOf(events, id)[:2], "job %s", id)
		}
		require.Equal(t, []jobs.EventType{jobs.EventParked}, typesOf(events, "new"))
		for _, e := range events {
			require.Equal(t, r.worker.ID(), e.Worker)
			require.Equal(t, 1, e.Attempt)
			require.False(t, e.At.IsZero())
			switch {
			case e.Type == jobs.EventStarted:
				require.Zero(t, e.Took)
			case e.ID == "0":
				require.Equal(t, 3*time.Second, e.Took)
				require.Empty(t, e.Error)
				require.Equal(t, "task", e.Kind)
			case e.ID == "1":
				require.Equal(t, "fails\uFFFD", e.Error)
			case e.ID == "4":
				require.Contains(t, e.Error, "no use")
				require.LessOrEqual(t, len(e.Error), backend.MaxEventError)
				require.True(t, strings.HasSuffix(e.Error, "…"))
			case e.ID == "5":
				require.Contains(t, e.Error, "at the disco")
			}
		}
		require.Equal(t, []jobs.EventType{jobs.EventWorkerStarted, jobs.EventWorkerStopped}, typesOf(r.events(""), ""))
	})
}

func TestTheWorkersJournalTellsOfThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.enqueue(2)
		_, err := r.store.Lease(t.Context(), backend.LeaseRequest{
			Worker: "gone", Token: "gone.1", Queues: []string{jobs.DefaultQueue}, Max: 10, Duration: 15 * time.Second,
		})
		require.NoError(t, err)
		r.start(noop)
		pause(time.Minute)
		r.worker.Quiet()
		pause(time.Minute)
		r.worker.Resume()
		pause(time.Minute)
		r.stop(actors.Stop{})
		var types []jobs.EventType
		recovered := 0
		for _, e := range r.events("") {
			require.Equal(t, r.worker.ID(), e.Worker)
			if e.Type == jobs.EventRecovered {
				recovered += e.Jobs
				continue
			}
			types = append(types, e.Type)
		}
		require.Equal(t, []jobs.EventType{
			jobs.EventWorkerStarted, jobs.EventWorkerQuiet, jobs.EventWorkerResumed, jobs.EventWorkerStopped,
		}, types)
		require.Equal(t, 2, recovered)
	})
}

func TestTheJournalTellsWhatHandlersAndSchedulesEnqueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		registry := jobs.NewRegistry()
		jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[task]) error {
			client, _ := jobs.ClientFrom(ctx)
			for range 2 {
				if _, err := client.Enqueue(ctx, other{}, jobs.ID("later"), jobs.In(time.Hour)); err != nil {
					return err
				}
			}
			return nil
		})
		jobs.Handle(registry, func(context.Context, *jobs.Job[other]) error { return nil })
		jobs.Schedule(registry, "hourly", jobs.Every(time.Hour), other{})
		r.start(nil, func(c *actors.Config) { c.Registry = registry })
		r.enqueue(1)
		pause(90 * time.Minute)
		r.stop(actors.Stop{})
		events := r.events(jobs.DefaultQueue)
		require.Equal(t, []jobs.EventType{jobs.EventStarted, jobs.EventCompleted}, typesOf(events, "0"), "its client is not the worker's")
		require.Equal(t, []jobs.EventType{jobs.EventScheduled, jobs.EventStarted, jobs.EventCompleted}, typesOf(events, "later"),
			"what was there already is not told")
		ticked := 0
		for _, e := range events {
			if _, _, of := backend.ParseTickID(e.ID); of && e.Type == jobs.EventEnqueued {
				require.Equal(t, "other", e.Kind)
				ticked++
			}
		}
		require.Equal(t, 1, ticked)
	})
}

func TestAnIdleWorkerMakesNoCallToRecord(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		pause(10 * time.Second)
		require.Equal(t, 1, r.faulty.count("record"), "it has said that it has started")
		pause(time.Hour)
		require.Equal(t, 1, r.faulty.count("record"))
		r.enqueue(1000)
		pause(10 * time.Second)
		require.LessOrEqual(t, r.faulty.count("record"), 3)
	})
}

func TestAWorkerThatIsToRecordNothingMakesNoCallForIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop, func(c *actors.Config) { c.Record.Off = true })
		r.enqueue(10)
		pause(time.Minute)
		require.Zero(t, r.stop(actors.Stop{}).Unrecorded)
		require.Zero(t, r.faulty.count("record"))
	})
}

func TestAWorkerThatIsToKeepNoJournalKeepsFigures(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop, func(c *actors.Config) { c.Record.Events = -1 })
		r.enqueue(10)
		pause(time.Minute)
		r.stop(actors.Stop{})
		f := r.figures()
		require.EqualValues(t, 10, f.Completed)
		require.Empty(t, r.events(jobs.DefaultQueue))
		require.Empty(t, r.events(""))
	})
}

func TestEventsAreBoundedAndWhatIsNotInTheJournalIsCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.start(func(_ context.Context, job *jobs.Job[task]) error {
			if job.Args.N%100 == 0 {
				return jobs.Discard(errors.New("every hundredth"))
			}
			return nil
		}, func(c *actors.Config) { c.Record.Events = 50 })
		const many = 3000
		r.enqueue(many)
		pause(10 * time.Second)
		r.stop(actors.Stop{})
		for _, record := range r.faulty.records {
			require.LessOrEqual(t, len(record.Events), 50+2)
		}
		events := r.events(jobs.DefaultQueue)
		told, left, died := 0, 0, 0
		for _, e := range events {
			switch e.Type {
			case jobs.EventLeftOut:
				left += e.Jobs
				require.Equal(t, r.worker.ID(), e.Worker)
			case jobs.EventDied:
				died++
				told++
			default:
				told++
			}
		}
		require.Equal(t, 2*many, told+left)
		require.GreaterOrEqual(t, died, 24, "the deaths have room of their own")
		f := r.figures()
		require.EqualValues(t, many, f.Started, "the figures have all")
		require.EqualValues(t, many-many/100, f.Completed)
	})
}

func TestARecordWhoseReplyIsLostCountsOnceAlsoAtTheStop(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(first(2, lostReply), "record")
		r.start(noop)
		r.enqueue(10)
		pause(10 * time.Second)
		f := r.figures()
		require.EqualValues(t, 10, f.Completed)
		require.Equal(t, 3, r.faulty.count("record"))
		r.faulty.on(first(1, lostReply), "record")
		_, err := r.client.Enqueue(t.Context(), task{N: 1})
		require.NoError(t, err)
		pause(time.Millisecond)
		report := r.stop(actors.Stop{})
		f = r.figures()
		require.EqualValues(t, 11, f.Completed)
		require.Zero(t, report.Unrecorded)
		require.Less(t, report.StopTook, time.Second)
	})
}

func TestWhileTheStoreTakesNoRecordsTheJobsGoOn(t *testing.T) {
	for name, rule := range map[string]rule{
		"it fails":  down,
		"it hangs":  hangs,
		"it panics": func(context.Context, func() error) error { panic("in the store") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newStore(t)
				r.faulty.on(rule, "record")
				r.start(noop)
				for range 20 {
					_, err := r.client.Enqueue(t.Context(), task{})
					require.NoError(t, err)
					pause(5 * time.Second)
				}
				require.EqualValues(t, 20, r.counts()[backend.StateCompleted])
				require.Less(t, r.faulty.count("record"), 120, "it is not asked without pause")
				require.EqualValues(t, 40, r.worker.Status().Unrecorded)
				f := r.figures()
				require.Zero(t, f)
				r.faulty.on(nil, "record")
				pause(10 * time.Second)
				require.Zero(t, r.worker.Status().Unrecorded)
				s, err := r.store.Figures(t.Context(), backend.FiguresQuery{Queue: jobs.DefaultQueue})
				require.NoError(t, err)
				minutes := 0
				for _, p := range s.Points {
					if p.Completed > 0 {
						minutes++
					}
				}
				require.GreaterOrEqual(t, minutes, 2, "each is counted in its minute")
				total := s.Total()
				require.EqualValues(t, 20, total.Completed)
			})
		})
	}
}

func TestWhatTheStoreHasNotTakenForTooLongIsDroppedCountedAndSaidInTheLog(t *testing.T) {
	for name, rule := range map[string]rule{
		"it is full":    func(context.Context, func() error) error { return backend.ErrFull },
		"it refuses":    func(context.Context, func() error) error { return backend.ErrRejected },
		"it takes long": hangs,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var log journal
				r := newStore(t)
				r.faulty.on(rule, "record")
				r.start(noop, log.config)
				for range 30 {
					_, err := r.client.Enqueue(t.Context(), task{})
					require.NoError(t, err)
					pause(time.Minute)
				}
				require.NotEmpty(t, log.about("figures were dropped"))
				report := r.stop(actors.Stop{})
				require.EqualValues(t, 60, report.Unrecorded)
				require.Less(t, report.StopTook, time.Second, "the stop does not wait for figures")
				require.Equal(t, 30, report.Completed)
			})
		})
	}
}

func TestAWorkerThatIsCutShortRecordsWhatItCan(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite)
		r.enqueue(3)
		pause(100 * time.Millisecond)
		r.system.Root.Stop(r.worker.PID())
		report := r.report()
		require.Zero(t, report.Unrecorded)
		f := r.figures()
		require.EqualValues(t, 3, f.Started)
		require.EqualValues(t, 3, f.HandedBack)
		require.Contains(t, typesOf(r.events(""), ""), jobs.EventWorkerStopped)
	})
}

func TestARecorderThatIsStoppedIsACrashThatSaysSo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		r.enqueue(3)
		pause(100 * time.Millisecond)
		r.system.Root.Stop(r.system.NewLocalPID(partName("recorder")))
		report := r.report()
		require.Equal(t, actors.StateCrashed, report.State)
		require.ErrorContains(t, report.Err, "the recorder ended")
		f := r.figures()
		require.EqualValues(t, 3, f.Completed)
		events := r.events("")
		require.Equal(t, "the recorder ended", events[len(events)-1].Error)
	})
}

func TestARecordingThatCannotBeMeantIsRefused(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*actors.Recording){
		"Record: Every is 1ms: it goes from 100ms to 1m0s": func(c *actors.Recording) { c.Every = time.Millisecond },
		"Record: Every is 1h0m0s":                          func(c *actors.Recording) { c.Every = time.Hour },
		"Record: Events is 501: it goes up to 500":         func(c *actors.Recording) { c.Events = 501 },
	} {
		c := valid(t)
		change(&c.Record)
		_, err := c.Fill()
		require.ErrorContains(t, err, want)
	}
}
