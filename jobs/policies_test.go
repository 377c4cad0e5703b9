package jobs_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func TestAFleetThatWasAwayDoesAsTheCatchUpSays(t *testing.T) {
	for _, story := range []struct {
		name    string
		options []jobs.ScheduleOption
		away    time.Duration
		want    []int
		skipped uint64
	}{
		{"by default one job for all that was missed", nil, 35 * time.Minute, []int{30}, 2},
		{"last is the same", []jobs.ScheduleOption{jobs.CatchUpLast()}, 35 * time.Minute, []int{30}, 2},
		{"last, however long ago", []jobs.ScheduleOption{jobs.CatchUpLast()}, 10 * 24 * time.Hour, []int{14400}, 1000},
		{"none, and none is due", []jobs.ScheduleOption{jobs.CatchUpNone()}, 35 * time.Minute, []int{}, 3},
		{"none, and one is just due", []jobs.ScheduleOption{jobs.CatchUpNone()}, 30*time.Minute + 10*time.Second, []int{30}, 2},
		{"all", []jobs.ScheduleOption{jobs.CatchUpAll(time.Hour)}, 35 * time.Minute, []int{10, 20, 30}, 0},
		{"all within a window", []jobs.ScheduleOption{jobs.CatchUpAll(20 * time.Minute)}, 35 * time.Minute, []int{20, 30}, 1},
		{"all within a window, long ago", []jobs.ScheduleOption{jobs.CatchUpAll(20 * time.Minute)}, 10 * 24 * time.Hour, []int{14380, 14390, 14400}, 1000},
		{"all within a window that none is in", []jobs.ScheduleOption{jobs.CatchUpAll(time.Minute)}, 35 * time.Minute, []int{}, 3},
	} {
		t.Run(story.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				store, client := open(t)
				options := append(story.options, jobs.Overlap(backend.OverlapAllow))
				_, err := client.PutSchedule(t.Context(), "report", jobs.Every(10*time.Minute), report{}, options...)
				require.NoError(t, err)
				away(t, store, story.away)
				require.Equal(t, story.want, minutesOf(t, store, "report"))
				s, err := client.Schedule(t.Context(), jobs.DefaultQueue, "report")
				require.NoError(t, err)
				require.Equal(t, story.skipped, s.Skipped, "a thousand are counted at most")
				require.True(t, s.Next.After(time.Now()), "it goes on with the next one")
				away(t, store, time.Until(s.Next))
				require.Len(t, minutesOf(t, store, "report"), len(story.want)+1)
			})
		})
	}
}

func TestALastJobThatHasNotFinishedDoesAsTheOverlapSays(t *testing.T) {
	for _, story := range []struct {
		name    string
		options []jobs.ScheduleOption
		// waiting are the jobs that wait after half an hour in which none was run, then
		// those after they have all been run, half an hour later.
		waiting, later []int
	}{
		{"by default it is skipped", nil, []int{10}, []int{40}},
		{"skip", []jobs.ScheduleOption{jobs.Overlap(backend.OverlapSkip)}, []int{10}, []int{40}},
		{"allow", []jobs.ScheduleOption{jobs.Overlap(backend.OverlapAllow)}, []int{10, 20, 30}, []int{40, 50, 60}},
		{"cancel", []jobs.ScheduleOption{jobs.Overlap(backend.OverlapCancel)}, []int{30}, []int{60}},
		{"wait, one for all", []jobs.ScheduleOption{jobs.Overlap(backend.OverlapWait)}, []int{10}, []int{30}},
		{"wait, one for each", []jobs.ScheduleOption{jobs.Overlap(backend.OverlapWait), jobs.CatchUpAll(24 * time.Hour)}, []int{10}, []int{20}},
		{"wait, but not for what is late", []jobs.ScheduleOption{jobs.Overlap(backend.OverlapWait), jobs.CatchUpNone()}, []int{10}, []int{40}},
	} {
		t.Run(story.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				store, client := open(t)
				_, err := client.PutSchedule(t.Context(), "report", jobs.Every(10*time.Minute), report{}, story.options...)
				require.NoError(t, err)
				tickEachMinute := func(n int) {
					for range n {
						time.Sleep(time.Minute)
						tickOnce(t, store)
					}
				}
				tickEachMinute(30)
				require.Equal(t, story.waiting, minutesOf(t, store, "report"))
				lease, err := store.Lease(t.Context(), backend.LeaseRequest{
					Worker: "w", Token: "w.1", Queues: []string{jobs.DefaultQueue}, Max: 10, Duration: time.Hour,
				})
				require.NoError(t, err)
				time.Sleep(2 * time.Minute)
				settle(t, store, lease.Leases)
				tickEachMinute(30)
				require.Equal(t, story.later, minutesOf(t, store, "report"))
			})
		})
	}
}

// tickOnce ticks what is due, once.
func tickOnce(t *testing.T, store backend.Backend) {
	t.Helper()
	page, err := store.Schedules(t.Context(), backend.SchedulesQuery{Queue: jobs.DefaultQueue})
	require.NoError(t, err)
	for _, stored := range page.Schedules {
		info := jobs.ReadSchedule(stored)
		if tick, due := info.Tick(page.Now); due {
			_, err := store.Tick(t.Context(), []backend.Tick{tick})
			require.NoError(t, err)
		}
	}
}

func settle(t *testing.T, store backend.Backend, leases []backend.Lease) {
	t.Helper()
	request := backend.SettleRequest{Worker: "w", Call: 1}
	for _, l := range leases {
		request.Settlements = append(request.Settlements, backend.Settlement{
			Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeCompleted,
		})
	}
	_, err := store.Settle(t.Context(), request)
	require.NoError(t, err)
}

// TestTenWorkersThatComeAndGoEnqueueEveryTickOnce lets ten workers tick the same
// schedules, each for a random time, after which it is killed wherever it is, and comes
// back when it has been away for a while.
func TestTenWorkersThatComeAndGoEnqueueEveryTickOnce(t *testing.T) {
	// lesson: cron on N machines enqueues N times (asynq#395), or stops after a
	// simultaneous start (bullmq#3063).
	inBubble(t, func(t *testing.T) {
		store, client := open(t)
		start := time.Now()
		end := start.Add(6 * time.Hour)
		timings := map[string]jobs.Timing{
			"often": jobs.Every(7 * time.Second), "each-minute": jobs.Cron("* * * * *", "Europe/Berlin"),
			"twice": jobs.Cron("15,45 * * * *", "Asia/Kolkata"), "daily": jobs.Cron("30 2 * * *", "UTC"),
		}
		for name, timing := range timings {
			_, err := client.PutSchedule(t.Context(), name, timing, report{},
				jobs.Overlap(backend.OverlapAllow), jobs.CatchUpAll(24*time.Hour), jobs.EndAt(end))
			require.NoError(t, err)
		}
		var fleet sync.WaitGroup
		for range 10 {
			fleet.Go(func() {
				for time.Now().Before(end) {
					ctx, kill := context.WithTimeout(t.Context(), rand.N(10*time.Minute))
					ticker(ctx, t, &mortal{Backend: store, chance: 0.1}, jobs.DefaultQueue, end)
					kill()
					time.Sleep(rand.N(20 * time.Minute))
				}
			})
		}
		fleet.Wait()
		ticker(t.Context(), t, store, jobs.DefaultQueue, end) // whoever comes last
		found := due(t, store, jobs.DefaultQueue)
		for name := range timings {
			require.Equal(t, instants(expected(name, start, end)), instants(found[name]), name)
		}
	})
}

// expected looks at every second for the instants of a schedule.
func expected(name string, start, end time.Time) (all []time.Time) {
	for at := start.Add(time.Second); !at.After(end); at = at.Add(time.Second) {
		unix, utc := at.Unix(), at.UTC()
		switch name {
		case "often":
			if unix%7 == 0 {
				all = append(all, at)
			}
		case "each-minute":
			if unix%60 == 0 {
				all = append(all, at)
			}
		case "twice": // half an hour beside the full one
			if unix%1800 == 900 {
				all = append(all, at)
			}
		case "daily":
			if utc.Hour() == 2 && utc.Minute() == 30 && utc.Second() == 0 {
				all = append(all, at)
			}
		}
	}
	return all
}

// mortal is a store whose ticks lose their way now and then, before or after their
// effect, as they do when a worker is killed.
type mortal struct {
	backend.Backend
	chance float64
}

func (m *mortal) Tick(ctx context.Context, ticks []backend.Tick) (backend.TickReply, error) {
	switch r := rand.Float64(); {
	case r < m.chance:
		return backend.TickReply{}, nil
	case r < 2*m.chance:
		_, err := m.Backend.Tick(ctx, ticks)
		return backend.TickReply{}, err
	}
	return m.Backend.Tick(ctx, ticks)
}
