package dashboard_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

// counting is a store that counts the calls that read.
type counting struct {
	backend.Backend
	mu    sync.Mutex
	calls map[string]int
}

func (c *counting) note(call string) {
	c.mu.Lock()
	c.calls[call]++
	c.mu.Unlock()
}

// taken are the calls since the last time, such as "1 Queues".
func (c *counting) taken() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range slices.Sorted(maps.Keys(c.calls)) {
		all = append(all, fmt.Sprintf("%d %s", c.calls[call], call))
	}
	c.calls = map[string]int{}
	return all
}

// reads is how often a call was made since.
func (c *counting) reads(call string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[call]
}

func (c *counting) Job(ctx context.Context, queue, id string) (backend.JobInfo, error) {
	c.note("Job")
	return c.Backend.Job(ctx, queue, id)
}

func (c *counting) Jobs(ctx context.Context, q backend.JobsQuery) (backend.JobsPage, error) {
	c.note("Jobs")
	return c.Backend.Jobs(ctx, q)
}

func (c *counting) Queues(ctx context.Context) ([]backend.QueueInfo, error) {
	c.note("Queues")
	return c.Backend.Queues(ctx)
}

func (c *counting) Queue(ctx context.Context, name string) (backend.QueueInfo, error) {
	c.note("Queue")
	return c.Backend.Queue(ctx, name)
}

func (c *counting) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	c.note("Workers")
	return c.Backend.Workers(ctx)
}

func (c *counting) Schedules(ctx context.Context, q backend.SchedulesQuery) (backend.SchedulesPage, error) {
	c.note("Schedules")
	return c.Backend.Schedules(ctx, q)
}

func (c *counting) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	c.note("Memo")
	return c.Backend.Memo(ctx, name, key)
}

func (c *counting) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	c.note("WriteMemo")
	return c.Backend.WriteMemo(ctx, write)
}

func (c *counting) Events(ctx context.Context, q backend.EventsQuery) (backend.EventsPage, error) {
	c.note("Events")
	return c.Backend.Events(ctx, q)
}

func (c *counting) Figures(ctx context.Context, q backend.FiguresQuery) (backend.Series, error) {
	c.note("Figures")
	return c.Backend.Figures(ctx, q)
}

func (c *counting) Limit(ctx context.Context, q backend.LimitQuery) (backend.LimitInfo, error) {
	c.note("Limit")
	return c.Backend.Limit(ctx, q)
}

func (c *counting) Lanes(ctx context.Context, q backend.LanesQuery) (backend.LanesInfo, error) {
	c.note("Lanes")
	return c.Backend.Lanes(ctx, q)
}

func (c *counting) Check(ctx context.Context) ([]backend.Warning, error) {
	c.note("Check")
	return c.Backend.Check(ctx)
}

// What a page costs the store is listed in docs/dashboard.md.
func TestWhatAPageCostsDoesNotGrowWithTheJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, pagesCost) // in which no time passes
}

func pagesCost(t *testing.T) {
	memory, err := backend.Open("memory:")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, memory.Close()) })
	store := &counting{Backend: memory, calls: map[string]int{}}
	filling := onStore(t, memory, dashboard.Config{})
	filling.fill()
	for range 5 {
		items := make([]jobs.Item, 10_000)
		for i := range items {
			items[i] = jobs.New(Welcome{UserID: int64(i)}, jobs.Queue("mail"))
		}
		_, err := filling.client.EnqueueMany(t.Context(), items...)
		require.NoError(t, err)
	}
	const look = "1 Queues, 1 Schedules, 1 Workers"
	for path, want := range map[string]string{
		"":                                "1 Check, 1 Figures, 11 Job, 2 Jobs, 1 Queue, 1 Queues, 2 Schedules, 1 Workers",
		"queues":                          look,
		"queue?name=mail":                 "1 Check, 1 Figures, 11 Job, 2 Jobs, 1 Lanes, 1 Queue, 1 Queues, 3 Schedules, 1 Workers",
		"jobs":                            "1 Jobs, " + look,
		"jobs?state=dead":                 "1 Jobs, " + look,
		"jobs?kind=none":                  "2 Jobs, " + look,
		"job?queue=mail&id=waiting-1":     "2 Job, 1 Jobs, 1 Lanes, 1 Queue, 1 Schedules, 1 Workers",
		"errors":                          "1 Jobs, " + look,
		"workers":                         "1 Events, " + look,
		"worker?id=w-1":                   "1 Jobs, 2 Memo, 1 Queues, 1 Schedules, 2 Workers, 1 WriteMemo",
		"figures":                         "1 Figures, 1 Queue, " + look, // without figures it asks whether the queue is there
		"figures?queue=mail&span=week":    "1 Figures, 1 Queue, " + look,
		"limits":                          "4 Jobs, " + look,
		"limits?queue=mail":               "4 Jobs, " + look,
		"limit?queue=mail&name=none":      "1 Limit",
		"schedules":                       "1 Queues, 2 Schedules, 1 Workers",
		"operations":                      "1 Memo",
		"audit":                           "2 Memo",
		"find?id=waiting-1":               "1 Job, " + look,
		"job?queue=mail&id=none":          "1 Job",
		"jobs?state=dead&queue=mail&tag=": "1 Jobs, " + look,
	} {
		site := onStore(t, store, dashboard.Config{}) // which remembers nothing
		site.get(path)
		var got string
		for i, call := range store.taken() {
			if i > 0 {
				got += ", "
			}
			got += call
		}
		require.Equal(t, want, got, path)
		if path == "" || path == "queues" {
			site.get(path)
			require.Empty(t, store.taken(), "what was just read is shown to the next one too")
		}
	}
}
