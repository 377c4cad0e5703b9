package examples_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/actors/load"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

func chooseQueues(config *caddis.Config) {
	config.Queues = []string{"critical", "mail.*", "*", "!bulk"}
	config.Choice = actors.Weighted(map[string]int{"critical": 6, "mail.*": 3})
}

func chooseQueuesOfReadme(registry *jobs.Registry, use func(caddis.Config) error) error {
	gate, err := load.Gate(load.Limits{CPU: 0.9, Memory: 0.85})
	if err != nil {
		return err
	}
	config := caddis.Config{
		Registry: registry,
		Queues:   []string{"critical", "mail.*", "!mail.bulk"}, // queues that appear are found
		Choice:   actors.Weighted(map[string]int{"critical": 6, "mail.*": 3}),
		Gates:    []actors.Gate{gate},
	}
	return use(config)
}

type PagedExport struct {
	Tenant string `json:"tenant"`
	Pages  int    `json:"pages"`
}

func (PagedExport) Kind() string { return "paged-export" }

func limitTwice(registry *jobs.Registry, export func(context.Context, *jobs.Job[PagedExport]) error) {
	type Export = PagedExport
	jobs.Handle(registry, export,
		jobs.Limit("tenant", jobs.Slots(3), jobs.LimitBy(func(e Export) string { return e.Tenant })),
		jobs.Limit("api", jobs.Rate(100, time.Second), jobs.CostBy(func(e Export) int { return e.Pages })))
}

type SharedExport struct {
	Tenant string  `json:"tenant"`
	Share  float64 `json:"share"`
}

func (SharedExport) Kind() string { return "shared-export" }

func shareOut(registry *jobs.Registry, export func(context.Context, *jobs.Job[SharedExport]) error) {
	type Export = SharedExport
	jobs.Handle(registry, export, jobs.FairBy(
		func(e Export) string { return e.Tenant },
		jobs.WeightBy(func(e Export) float64 { return e.Share })))
}

func pauseMail(ctx context.Context, client *jobs.Client) error {
	err := client.PauseQueue(ctx, "mail", jobs.For(30*time.Minute))
	return err
}

func closeGates(config *caddis.Config, free func() int) {
	config.Gates = []actors.Gate{{
		Name:   "disk",
		Queues: []string{"video.*"}, // left out: all of the worker
		Check: func(ctx context.Context) error {
			if free() < 10<<30 {
				return errors.New("less than 10 GB are free")
			}
			return nil
		},
	}}
}

func countEvents(config *caddis.Config, events counter) {
	config.OnEvent = func(e jobs.Event) {
		events.WithLabelValues(string(e.Type)).Inc()
		if e.Type == jobs.EventDied {
			log.Print("dead: ", e.Job, " after ", e.Took, ": ", e.Err)
		}
	}
}

// counter is like one of Prometheus.
type counter map[string]*count

type count struct{ n int }

func (c *count) Inc() { c.n++ }

func (c counter) WithLabelValues(label string) *count {
	if c[label] == nil {
		c[label] = &count{}
	}
	return c[label]
}

func followJournal(ctx context.Context, client *jobs.Client) {
	for event, err := range client.FollowEvents(ctx, backend.EventsQuery{Queue: "mail", Last: 20}) {
		if err != nil {
			log.Print("the journal cannot be read now: ", err) // it is asked again
			continue
		}
		fmt.Println(event.At, event.Type, event.ID, event.Attempt, event.Took, event.Error)
	}
}

func figures(ctx context.Context, client *jobs.Client) error {
	series, err := client.Figures(ctx, backend.FiguresQuery{
		Queue: "mail", Kind: "welcome", // left out: all kinds together
		From: time.Now().Add(-time.Hour), Step: 5 * time.Minute,
	})
	if err != nil {
		return err
	}
	for _, p := range series.Points { // one for each step, also if nothing happened
		fmt.Println(p.At, p.Completed, p.Retried, p.Died, p.Waiting.Quantile(0.95), p.Running.Quantile(0.5))
	}
	return nil
}

func TestTheCodeAboutFiguresAndTheJournalWorks(t *testing.T) {
	t.Parallel()
	config := caddis.Config{Registry: newRegistry(&welcomer{welcomed: make(chan int64, 1)}), Queues: []string{"mail"}}
	system, err := caddis.New(config)
	require.NoError(t, err)
	_, err = system.Client().Enqueue(t.Context(), Welcome{UserID: 7}, jobs.Queue("mail"))
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	require.Eventually(t, func() bool { return system.Status().Counts.Completed == 1 }, 20*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { // they are brought to the store every two seconds
		page, err := system.Client().Events(t.Context(), backend.EventsQuery{Queue: "mail", Last: 20})
		return err == nil && len(page.Events) > 0
	}, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, figures(t.Context(), system.Client()))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	followJournal(ctx, system.Client())
	require.Error(t, ctx.Err(), "it follows until it is told to end")
	require.NoError(t, stop(t.Context(), system))
}

var errHolidays = errors.New("nobody reads mail now")

func vetoMail(holidays func() bool) *jobs.Registry {
	registry := jobs.NewRegistry(jobs.WithEnqueueMiddleware(jobs.VetoIf(
		func(ctx context.Context, job *backend.NewJob) error {
			if job.Queue == "mail" && holidays() {
				return errHolidays
			}
			return nil
		})))
	return registry
}

func explain(ctx context.Context, client *jobs.Client, id string, alert func([]jobs.Reason)) error {
	why, err := client.Explain(ctx, "mail", id)
	if err != nil {
		return err
	}
	fmt.Println(why) // job … is waiting: the queue mail is paused for another 12m0s; 40 jobs wait before it
	if why.Is(jobs.CauseNoWorker) {
		alert(why.Reasons)
	}
	return nil
}

func TestEveryStoreExplainsWhyAJobDoesNotRun(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	for name, url := range map[string]string{
		"memory": "memory:", "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "jobs.db"), "redis": "redis://" + server.Addr,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := backend.Open(url)
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			explainAll(t, store)
		})
	}
}

func explainAll(t *testing.T, store backend.Backend) {
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	for _, id := range []string{"first", "job"} {
		_, err = client.Enqueue(t.Context(), Report{}, jobs.Queue("mail"), jobs.ID(id))
		require.NoError(t, err)
	}
	alerts := 0
	require.NoError(t, explain(t.Context(), client, "job", func([]jobs.Reason) { alerts++ }))
	require.Equal(t, 1, alerts)
	causes := func(id string) (causes []jobs.Cause) {
		t.Helper()
		why, err := client.Explain(t.Context(), "mail", id)
		require.NoError(t, err)
		for _, r := range why.Reasons {
			causes = append(causes, r.Cause)
		}
		return causes
	}
	require.Equal(t, []jobs.Cause{jobs.CauseNoWorker, jobs.CauseBehind}, causes("job"))
	_, err = store.Announce(t.Context(), backend.WorkerInfo{
		ID: "w", Queues: []string{"mail"}, Kinds: []string{"report"}, Concurrency: 1, State: "running", StartedAt: time.Now(),
	}, time.Minute)
	require.NoError(t, err)
	require.Equal(t, []jobs.Cause{jobs.CauseBehind}, causes("job"))
	require.Equal(t, []jobs.Cause{jobs.CauseSoon}, causes("first"))
	require.NoError(t, pauseMail(t.Context(), client))
	require.Equal(t, []jobs.Cause{jobs.CausePaused}, causes("first"))
	require.NoError(t, client.ResumeQueue(t.Context(), "mail"))
	_, err = client.Enqueue(t.Context(), Report{}, jobs.Queue("mail"), jobs.ID("later"), jobs.In(time.Hour))
	require.NoError(t, err)
	require.Equal(t, []jobs.Cause{jobs.CauseDelayed}, causes("later"))
	reply, err := store.Lease(t.Context(), backend.LeaseRequest{
		Worker: "w", Token: "w.1", Queues: []string{"mail"}, Max: 1, Duration: backend.MinLease,
	})
	require.NoError(t, err)
	require.Len(t, reply.Leases, 1)
	require.Eventually(t, func() bool { return causes("first")[0] == jobs.CauseExpired }, 20*time.Second, 10*time.Millisecond)
	_, err = client.Cancel(t.Context(), "mail", "job")
	require.NoError(t, err)
	require.Equal(t, []jobs.Cause{jobs.CauseFinished}, causes("job"))
}

func TestTheCodeAboutEventsWorks(t *testing.T) {
	t.Parallel()
	registry := vetoMail(func() bool { return true })
	jobs.Handle(registry, func(context.Context, *jobs.Job[Report]) error { return nil })
	config := caddis.Config{Registry: registry}
	events := counter{}
	countEvents(&config, events)
	system, err := caddis.New(config)
	require.NoError(t, err)
	_, err = system.Client().Enqueue(t.Context(), Report{}, jobs.Queue("mail"))
	require.ErrorIs(t, err, jobs.ErrVetoed)
	require.ErrorIs(t, err, errHolidays)
	_, err = system.Client().Enqueue(t.Context(), Report{})
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	require.Eventually(t, func() bool { return system.Status().Counts.Completed == 1 }, 20*time.Second, time.Millisecond)
	require.NoError(t, stop(t.Context(), system))
	for _, event := range []jobs.EventType{jobs.EventEnqueued, jobs.EventStarted, jobs.EventCompleted, jobs.EventWorkerStarted, jobs.EventWorkerStopped} {
		require.Equal(t, 1, events.WithLabelValues(string(event)).n, event)
	}
}

func TestTheCodeAboutQueuesWorks(t *testing.T) {
	t.Parallel()
	registry := newRegistry(&welcomer{})
	limitTwice(registry, func(context.Context, *jobs.Job[PagedExport]) error { return nil })
	require.NoError(t, chooseQueuesOfReadme(registry, func(config caddis.Config) error {
		_, err := caddis.New(config)
		return err
	}))
	config := caddis.Config{Registry: registry}
	chooseQueues(&config)
	closeGates(&config, func() int { return 0 })
	system, err := caddis.New(config)
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	require.NoError(t, pauseMail(t.Context(), system.Client()))
	require.NoError(t, stop(t.Context(), system))
	require.Equal(t, "less than 10 GB are free", config.Gates[0].Check(t.Context()).Error())
}
