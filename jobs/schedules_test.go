package jobs_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// open makes a store in memory and a client of it.
func open(t *testing.T) (backend.Backend, *jobs.Client) {
	t.Helper()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	return store, client
}

// inBubble runs a test whose time is synctest's: it begins at midnight of a Saturday.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// minutes are the instants of the jobs of a schedule, in minutes since the bubble
// began.
func minutesOf(t *testing.T, store backend.Backend, schedule string) []int {
	t.Helper()
	all := []int{}
	for _, at := range due(t, store, jobs.DefaultQueue)[schedule] {
		all = append(all, int(at.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))/time.Minute))
	}
	return all
}

// away lets a time pass without any worker, and then a worker come for a moment.
func away(t *testing.T, store backend.Backend, d time.Duration) {
	t.Helper()
	time.Sleep(d)
	ticker(t.Context(), t, store, jobs.DefaultQueue, time.Now())
}

func TestASchedulesJobsAreAsItsOptionsSay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		_, err := client.PutSchedule(t.Context(), "report", jobs.Every(time.Minute), report{Of: "sales"},
			jobs.Queue("reports"), jobs.Priority(2), jobs.MaxAttempts(3), jobs.Timeout(time.Hour), jobs.Retention(time.Hour),
			jobs.Tags("a", "b"), jobs.Header("k", "v"), jobs.ExpireAfter(time.Minute), jobs.MaxCrashes(2))
		require.NoError(t, err)
		ticker(t.Context(), t, store, "reports", time.Now().Add(time.Minute))
		job, err := client.Job(t.Context(), "reports", "schedule:report@2000-01-01T00:01:00.000Z")
		require.NoError(t, err)
		args, err := jobs.ArgsOf[report](job)
		require.NoError(t, err)
		require.Equal(t, report{Of: "sales"}, args)
		require.Equal(t, []any{"report", 2, 3, 2, time.Hour, time.Minute, time.Hour, []string{"a", "b"}, map[string]string{"k": "v"}},
			[]any{job.Kind, job.Priority, job.JobInfo.Job.MaxAttempts, job.MaxCrashes, job.Timeout, job.ExpireAfter, job.Retention, job.Tags, job.Headers})
	})
}

func TestAnInstantAtWhichAnotherJobHoldsTheKeyIsSkipped(t *testing.T) {
	for name, options := range map[string][]jobs.ScheduleOption{
		"of the schedule": {jobs.Unique(jobs.HoldFor(90 * time.Second)), jobs.Overlap(backend.OverlapAllow)},
		"of a period":     {jobs.Unique(jobs.HoldFor(time.Hour), jobs.Per(2*time.Minute)), jobs.Overlap(backend.OverlapAllow)},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				store, client := open(t)
				option := options[0].(jobs.Option)
				_, err := client.PutSchedule(t.Context(), "report", jobs.Every(time.Minute), report{Of: "sales"}, options...)
				require.NoError(t, err)
				for range 4 {
					time.Sleep(time.Minute)
					tickOnce(t, store)
				}
				require.Len(t, minutesOf(t, store, "report"), map[string]int{"of the schedule": 2, "of a period": 3}[name])
				by, err := client.Enqueue(t.Context(), report{Of: "sales"}, option)
				require.NoError(t, err)
				require.True(t, by.Duplicate(), "one enqueued by hand meets it")
				other, err := client.Enqueue(t.Context(), report{Of: "costs"}, option)
				require.NoError(t, err)
				require.False(t, other.Duplicate())
			})
		})
	}
}

func TestJitterPutsEachJobOffByItsOwnPart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		_, err := client.PutSchedule(t.Context(), "report", jobs.Every(10*time.Minute), report{},
			jobs.Jitter(5*time.Minute), jobs.Overlap(backend.OverlapAllow))
		require.NoError(t, err)
		delays := map[time.Duration]bool{}
		for range 50 {
			away(t, store, 10*time.Minute)
		}
		for _, state := range []backend.State{backend.StateWaiting, backend.StateScheduled} {
			for job, err := range client.AllJobs(t.Context(), backend.JobsQuery{Queue: jobs.DefaultQueue, State: state}) {
				require.NoError(t, err)
				_, at, ok := backend.ParseTickID(job.ID)
				require.True(t, ok)
				delay := job.DueAt.Sub(at)
				require.True(t, delay >= 0 && delay < 5*time.Minute, "%v", delay)
				delays[delay] = true
			}
		}
		require.Greater(t, len(delays), 40, "they are spread")
	})
}

func TestAScheduleHasAStartAndAnEnd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		start := time.Now()
		s, err := client.PutSchedule(t.Context(), "report", jobs.Every(7*time.Minute), report{}, jobs.Overlap(backend.OverlapAllow),
			jobs.StartAt(start.Add(10*time.Minute)), jobs.EndAt(start.Add(24*time.Minute)))
		require.NoError(t, err)
		require.Len(t, s.Upcoming(10), 3)
		ticker(t.Context(), t, store, jobs.DefaultQueue, start.Add(time.Hour))
		require.Equal(t, []int{10, 17, 24}, minutesOf(t, store, "report"))
		s, err = client.Schedule(t.Context(), jobs.DefaultQueue, "report")
		require.NoError(t, err)
		require.Zero(t, s.Next)
		require.Empty(t, s.Upcoming(10))
	})
}

func TestASchedulesLastAndNextRunAreListed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		start := time.Now().UTC()
		for _, name := range []string{"b", "a", "c"} {
			_, err := client.PutSchedule(t.Context(), name, jobs.Cron("*/10 * * * *", "Europe/Berlin"), report{})
			require.NoError(t, err)
		}
		away(t, store, 11*time.Minute)
		var names []string
		for s, err := range client.AllSchedules(t.Context(), jobs.DefaultQueue) {
			require.NoError(t, err)
			names = append(names, s.Name)
			require.Equal(t, "*/10 * * * * in Europe/Berlin", s.When)
			require.Equal(t, "report", s.Kind)
			require.False(t, s.Declared)
			require.Equal(t, start.Add(10*time.Minute), s.Last)
			require.Equal(t, start.Add(20*time.Minute), s.Next)
			require.Equal(t, backend.StateWaiting, s.LastState)
			require.Equal(t, []time.Time{s.Next, s.Next.Add(10 * time.Minute)}, s.Upcoming(2))
		}
		require.Equal(t, []string{"a", "b", "c"}, names)
	})
}

func TestAScheduleRunsNowWhenItIsAsked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		_, err := client.RunSchedule(t.Context(), jobs.DefaultQueue, "report")
		require.ErrorIs(t, err, backend.ErrNotFound)
		before, err := client.PutSchedule(t.Context(), "report", jobs.Every(time.Hour), report{})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		receipt, err := client.RunSchedule(t.Context(), jobs.DefaultQueue, "report")
		require.NoError(t, err)
		require.Equal(t, []int{1}, minutesOf(t, store, "report"))
		require.Equal(t, jobs.Receipt{Queue: jobs.DefaultQueue, ID: "schedule:report@2000-01-01T00:01:00.000Z", State: backend.StateWaiting}, receipt)
		s, err := client.Schedule(t.Context(), jobs.DefaultQueue, "report")
		require.NoError(t, err)
		require.Equal(t, before.Next, s.Next, "the next one stays as it is")
		time.Sleep(time.Minute)
		_, err = client.RunSchedule(t.Context(), jobs.DefaultQueue, "report")
		require.ErrorIs(t, err, backend.ErrState)
		require.ErrorContains(t, err, receipt.ID)
		require.Zero(t, s.Skipped)
		_, err = client.PauseSchedule(t.Context(), jobs.DefaultQueue, "report")
		require.NoError(t, err)
		_, err = client.Cancel(t.Context(), jobs.DefaultQueue, receipt.ID)
		require.NoError(t, err)
		_, err = client.RunSchedule(t.Context(), jobs.DefaultQueue, "report")
		require.NoError(t, err, "also one that is paused")
	})
}

func TestAPausedScheduleRestsAndIsNotMadeUpFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		ctx, queue := t.Context(), jobs.DefaultQueue
		_, err := client.PauseSchedule(ctx, queue, "report")
		require.ErrorIs(t, err, backend.ErrNotFound)
		put := func(every time.Duration) {
			_, err := client.PutSchedule(ctx, "report", jobs.Every(every), report{}, jobs.CatchUpAll(time.Hour), jobs.Overlap(backend.OverlapAllow))
			require.NoError(t, err)
		}
		put(10 * time.Minute)
		s, err := client.PauseSchedule(ctx, queue, "report")
		require.NoError(t, err)
		require.True(t, s.Paused)
		again, err := client.PauseSchedule(ctx, queue, "report")
		require.NoError(t, err)
		require.Equal(t, s.Version, again.Version, "it rests already")
		away(t, store, 25*time.Minute)
		put(5 * time.Minute)
		away(t, store, 10*time.Minute)
		require.Empty(t, minutesOf(t, store, "report"), "a change does not end the rest")
		s, err = client.ResumeSchedule(ctx, queue, "report")
		require.NoError(t, err)
		require.Equal(t, time.Now().Add(5*time.Minute).UTC(), s.Next)
		away(t, store, 5*time.Minute)
		require.Equal(t, []int{40}, minutesOf(t, store, "report"))
	})
}

func TestAChangedScheduleKeepsWhatIsDueAndRepeatsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		ctx := t.Context()
		put := func(timing jobs.Timing) jobs.ScheduleInfo {
			s, err := client.PutSchedule(ctx, "report", timing, report{}, jobs.Overlap(backend.OverlapAllow))
			require.NoError(t, err)
			return s
		}
		first := put(jobs.Cron("30 0 * * *", "UTC"))
		require.Equal(t, first.Version, put(jobs.Cron("30 0 * * *", "UTC")).Version, "what has not changed is left alone")
		time.Sleep(30*time.Minute + time.Second)
		require.Equal(t, first.Next, put(jobs.Cron("0 1 * * *", "UTC")).Next, "it is due, and nobody has come yet")
		away(t, store, time.Second)
		require.Equal(t, []int{30}, minutesOf(t, store, "report"))
		changed := put(jobs.Cron("30 * * * *", "UTC"))
		require.Equal(t, "01:30", changed.Next.Format("15:04"), "0:30 has been")
		require.NoError(t, client.DeleteSchedule(ctx, jobs.DefaultQueue, "report"))
		require.ErrorIs(t, client.DeleteSchedule(ctx, jobs.DefaultQueue, "report"), backend.ErrNotFound)
	})
}

func TestManyWorkersThatStartAtOnceDeclareAScheduleOnce(t *testing.T) {
	// lesson: a simultaneous start stops the schedule (bullmq#3063).
	t.Parallel()
	store, client := open(t)
	registry := jobs.NewRegistry()
	jobs.Schedule(registry, "nightly", jobs.Cron("0 2 * * *", "Europe/Berlin"), report{})
	jobs.Schedule(registry, "elsewhere", jobs.Cron("0 2 * * *", "Europe/Berlin"), report{}, jobs.Queue("other"))
	require.True(t, registry.Declares("nightly"))
	require.False(t, registry.Declares("weekly"))
	var fleet sync.WaitGroup
	for range 20 {
		fleet.Go(func() {
			if err := registry.PutSchedules(context.Background(), store, []string{jobs.DefaultQueue}); err != nil {
				t.Error(err)
			}
		})
	}
	fleet.Wait()
	s, err := client.Schedule(t.Context(), jobs.DefaultQueue, "nightly")
	require.NoError(t, err)
	require.EqualValues(t, 1, s.Version)
	require.True(t, s.Declared)
	_, err = client.Schedule(t.Context(), "other", "elsewhere")
	require.ErrorIs(t, err, backend.ErrNotFound, "it is for the workers of that queue")
}

func TestMistakesInSchedulesAreToldAtOnce(t *testing.T) {
	t.Parallel()
	_, client := open(t)
	fine := jobs.Every(time.Minute)
	for what, c := range map[string]struct {
		name    string
		timing  jobs.Timing
		args    jobs.Args
		options []jobs.ScheduleOption
		says    string
	}{
		"no name":           {"", fine, report{}, nil, "has no name"},
		"a bad name":        {"a b", fine, report{}, nil, `' '`},
		"no timing":         {"a", jobs.Timing{}, report{}, nil, "jobs.Cron or jobs.Every"},
		"a bad expression":  {"a", jobs.Cron("61 * * * *", "UTC"), report{}, nil, "61"},
		"no zone":           {"a", jobs.Cron("1 * * * *", ""), report{}, nil, "Europe/Berlin"},
		"too often":         {"a", jobs.Every(time.Millisecond), report{}, nil, "shortest"},
		"a nil option":      {"a", fine, report{}, []jobs.ScheduleOption{nil}, "option 1 is nil"},
		"an overlap":        {"a", fine, report{}, []jobs.ScheduleOption{jobs.Overlap(9)}, "OverlapSkip"},
		"a window":          {"a", fine, report{}, []jobs.ScheduleOption{jobs.CatchUpAll(0)}, "CatchUpNone"},
		"jitter":            {"a", fine, report{}, []jobs.ScheduleOption{jobs.Jitter(-1)}, "Jitter"},
		"a start":           {"a", fine, report{}, []jobs.ScheduleOption{jobs.StartAt(time.Time{})}, "StartAt"},
		"ends before start": {"a", fine, report{}, []jobs.ScheduleOption{jobs.StartAt(time.Unix(2, 0)), jobs.EndAt(time.Unix(1, 0))}, "before it starts"},
		"no args":           {"a", fine, nil, nil, "args are nil"},
		"an id":             {"a", fine, report{}, []jobs.ScheduleOption{jobs.ID("x")}, "one job"},
		"a delay":           {"a", fine, report{}, []jobs.ScheduleOption{jobs.In(time.Hour)}, "one job"},
		"a deadline":        {"a", fine, report{}, []jobs.ScheduleOption{jobs.Deadline(time.Now().Add(time.Hour))}, "one job"},
		"a bad queue":       {"a", fine, report{}, []jobs.ScheduleOption{jobs.Queue("{}")}, "queue"},
		"large args":        {"a", fine, report{Of: string(make([]byte, backend.MaxSpec))}, nil, "store large data elsewhere"},
	} {
		_, err := client.PutSchedule(t.Context(), c.name, c.timing, c.args, c.options...)
		require.ErrorIs(t, err, backend.ErrRejected, what)
		require.ErrorContains(t, err, c.says, what)
	}
	registry := jobs.NewRegistry()
	require.PanicsWithValue(t, `jobs: Schedule "a": rejected: every 1ms; the shortest interval is 1s`, func() {
		jobs.Schedule(registry, "a", jobs.Every(time.Millisecond), report{})
	})
	jobs.Schedule(registry, "a", fine, report{})
	require.PanicsWithValue(t, `jobs: Schedule "a": it is declared already; each schedule has a name of its own`, func() {
		jobs.Schedule(registry, "a", fine, report{})
	})
}
