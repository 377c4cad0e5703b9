package jobs_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// daily is a rhythm twice over: as an expression, and as a predicate on what a clock
// on the wall shows.
type daily struct {
	name, text string
	matches    func(wall time.Time) bool
	// every says that it runs through both nights; skipped then adds nothing if the
	// hours are all hours.
	every, hourly bool
}

func at(hour, minute int) func(time.Time) bool {
	return func(w time.Time) bool { return w.Hour() == hour && w.Minute() == minute }
}

var dailies = []daily{
	{name: "midnight", text: "0 0 * * *", matches: at(0, 0)},
	{name: "half-past-one", text: "30 1 * * *", matches: at(1, 30)},
	{name: "a-quarter-past-two", text: "15 2 * * *", matches: at(2, 15)},
	{name: "half-past-two", text: "30 2 * * *", matches: at(2, 30)},
	{name: "three", text: "0 3 * * *", matches: at(3, 0)},
	{name: "at-night", text: "7,37 0-4 * * *", matches: func(w time.Time) bool { return w.Hour() <= 4 && w.Minute()%30 == 7 }},
	{name: "sundays", text: "20 2 * * 0", matches: func(w time.Time) bool { return w.Weekday() == time.Sunday && at(2, 20)(w) }},
	{name: "the-fifth-or-a-friday", text: "45 0 5 * fri", matches: func(w time.Time) bool {
		return (w.Day() == 5 || w.Weekday() == time.Friday) && at(0, 45)(w)
	}},
	{name: "every-20-minutes-at-night", text: "*/20 1-3 * * *", every: true, matches: func(w time.Time) bool {
		return w.Hour() >= 1 && w.Hour() <= 3 && w.Minute()%20 == 0
	}},
	{name: "hourly-at-weekends", text: "50 * * * sat,sun", every: true, hourly: true, matches: func(w time.Time) bool {
		return (w.Weekday() == time.Saturday || w.Weekday() == time.Sunday) && w.Minute() == 50
	}},
}

// minute is one of a year, and what a clock on the wall makes of it.
type minute struct {
	instant time.Time
	shows   time.Time // as if it were in UTC
	again   bool      // it has shown that before
	skipped []time.Time
}

// minutes goes through a time and looks at the clock.
func minutes(location *time.Location, from, to time.Time) (all []minute) {
	shows := func(t time.Time) time.Time {
		w := t.In(location)
		return time.Date(w.Year(), w.Month(), w.Day(), w.Hour(), w.Minute(), 0, 0, time.UTC)
	}
	latest := shows(from)
	for t := from.Add(time.Minute); !t.After(to); t = t.Add(time.Minute) {
		m := minute{instant: t, shows: shows(t)}
		m.again = !m.shows.After(latest)
		for skipped := latest.Add(time.Minute); skipped.Before(m.shows); skipped = skipped.Add(time.Minute) {
			m.skipped = append(m.skipped, skipped)
		}
		if !m.again {
			latest = m.shows
		}
		all = append(all, m)
	}
	return all
}

// bruteForce looks at every minute.
func (d *daily) bruteForce(all []minute) (due []time.Time) {
	for _, m := range all {
		if d.matches(m.shows) && (d.every || !m.again) ||
			!d.hourly && slices.ContainsFunc(m.skipped, d.matches) {
			due = append(due, m.instant)
		}
	}
	return due
}

// ticker does what the clock of a worker does: it ticks what is due in a queue, and
// sleeps until something is. It stops after an instant.
func ticker(ctx context.Context, t require.TestingT, store backend.Backend, queue string, until time.Time) {
	known := map[string]jobs.ScheduleInfo{}
	for ctx.Err() == nil {
		page, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: queue})
		if ctx.Err() != nil {
			return
		}
		require.NoError(t, err)
		next := until.Add(time.Second)
		var ticks []backend.Tick
		for _, stored := range page.Schedules {
			info := known[stored.Name].Again(stored)
			known[stored.Name] = info
			require.NoError(t, info.Err)
			if tick, due := info.Tick(page.Now); due {
				ticks = append(ticks, tick)
			} else if info.Next.Before(next) && !info.Next.IsZero() && !info.Paused {
				next = info.Next
			}
		}
		if len(ticks) > 0 {
			_, err := store.Tick(ctx, ticks)
			if ctx.Err() == nil {
				require.NoError(t, err)
			}
			continue
		}
		if next.After(until) {
			return
		}
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
		}
	}
}

// due lists for which instants the jobs of each schedule of a queue were enqueued, all
// of which have to wait.
func due(t *testing.T, store backend.Backend, queue string) map[string][]time.Time {
	t.Helper()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	found := map[string][]time.Time{}
	for job, err := range client.AllJobs(t.Context(), backend.JobsQuery{Queue: queue, State: backend.StateWaiting, Limit: backend.MaxPage}) {
		require.NoError(t, err)
		name, instant, ok := backend.ParseTickID(job.ID)
		require.True(t, ok, job.ID)
		found[name] = append(found[name], instant)
	}
	return found
}

// TestAYearInEightZones compares what is enqueued in a year, the first one of a bubble,
// with what a look at every minute of it finds. All zones change their clocks in it.
func TestAYearInEightZones(t *testing.T) {
	t.Parallel()
	// lesson: no parser gets the two nights a year right.
	for _, zone := range []string{
		"Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe",
		"Asia/Tehran", "America/St_Johns", "Pacific/Auckland", "America/Sao_Paulo",
	} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			location, err := time.LoadLocation(zone)
			require.NoError(t, err)
			synctest.Test(t, func(t *testing.T) {
				store, err := memory.New(memory.Config{})
				require.NoError(t, err)
				defer store.Close()
				client, err := jobs.NewClient(store, jobs.ClientConfig{})
				require.NoError(t, err)
				start := time.Now()
				end := start.AddDate(1, 0, 0)
				for _, d := range dailies {
					_, err := client.PutSchedule(t.Context(), d.name, jobs.Cron(d.text, zone), report{},
						jobs.Overlap(backend.OverlapAllow), jobs.EndAt(end))
					require.NoError(t, err)
				}
				ticker(t.Context(), t, store, jobs.DefaultQueue, end)
				found := due(t, store, jobs.DefaultQueue)
				all := minutes(location, start, end)
				total, changes := 0, 0
				for _, d := range dailies {
					want := d.bruteForce(all)
					require.Equal(t, instants(want), instants(found[d.name]), "%s, %q", d.name, d.text)
					total += len(want)
				}
				for i, m := range all[1:] {
					if !m.shows.Equal(all[i].shows.Add(time.Minute)) {
						changes++
					}
				}
				require.Equal(t, 2, changes, "the clocks are changed twice")
				t.Logf("%d jobs, %d changes of the clock", total, changes)
			})
		})
	}
}

func instants(times []time.Time) []string {
	texts := make([]string, len(times))
	for i, t := range times {
		texts[i] = t.UTC().Format("2006-01-02 15:04:05")
	}
	return texts
}

// report is what the schedules of these tests enqueue.
type report struct {
	Of string `json:"of"`
}

func (report) Kind() string { return "report" }
