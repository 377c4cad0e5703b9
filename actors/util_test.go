package actors_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// TestMain checks that no test left a goroutine. The library's throttle of dead
// letters keeps one for a second.
func TestMain(m *testing.M) {
	code := m.Run()
	var left error
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		if left = goleak.Find(); left == nil {
			os.Exit(code)
		}
	}
	fmt.Fprintln(os.Stderr, "goroutines are left:", left)
	os.Exit(max(code, 1))
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// pause lets a random time pass: the moment is what is tested.
func pause(d time.Duration) { <-time.After(d) }

// inBubble runs a test whose time is synctest's. At its end time goes on until the
// goroutines that the library and the dispatcher keep for a second have ended.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { pause(time.Hour) })
		f(t)
	})
}

// patience is how long a worker may take to stop: less than a test run, or what is
// nothing in a bubble, where it is always the year 2000.
func patience() time.Duration {
	if time.Now().Year() < 2020 {
		return 24 * time.Hour
	}
	return 30 * time.Second
}

// handler is what the tests run.
type handler = func(context.Context, *jobs.Job[task]) error

// rig is a worker on a store that can be broken, with what a test needs to look
// at both.
type rig struct {
	t      testing.TB
	store  backend.Backend // the true one
	faulty *faulty
	client *jobs.Client
	system *actor.ActorSystem
	worker *actors.Worker
	states *states
}

// newRig starts a worker. The store is in memory and keeps what completes.
func newRig(t testing.TB, h handler, change ...func(*actors.Config)) *rig {
	t.Helper()
	r := newStore(t)
	r.start(h, change...)
	return r
}

// newStore makes a rig whose worker is not started yet.
func newStore(t testing.TB) *rig {
	t.Helper()
	b, err := memory.New(memory.Config{Retention: backend.RetentionPolicy{
		Completed: backend.Retention{Count: 100_000, Age: time.Hour},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return &rig{t: t, store: b, faulty: newFaulty(b), client: client(t, b), system: quietSystem()}
}

func (r *rig) start(h handler, change ...func(*actors.Config)) {
	r.t.Helper()
	registry := jobs.NewRegistry()
	if h != nil {
		jobs.Handle(registry, h)
	}
	config := actors.Config{Backend: r.faulty, Registry: registry, Logger: discard()}
	for _, f := range change {
		f(&config)
	}
	r.states = watch(r.system, config.Name)
	w, err := actors.Spawn(r.system, config)
	require.NoError(r.t, err)
	r.worker = w
	r.t.Cleanup(func() {
		r.faulty.on(nil, "", "lease", "settle", "renew", "sweep", "wait", "waiter", "record", "sign off")
		w.Stop(actors.Stop{Urgency: actors.HandBack})
		awaitDone(r.t, w)
	})
}

// enqueue stores jobs 0 to n-1, whose ids are their numbers.
func (r *rig) enqueue(n int, options ...jobs.EnqueueOption) {
	r.t.Helper()
	items := make([]jobs.Item, n)
	for i := range items {
		items[i] = jobs.New(task{N: i}, append(options[:len(options):len(options)], jobs.ID(strconv.Itoa(i)))...)
	}
	_, err := r.client.EnqueueMany(context.Background(), items...)
	require.NoError(r.t, err)
}

func (r *rig) job(id string) jobs.JobInfo {
	r.t.Helper()
	info, err := r.client.Job(context.Background(), jobs.DefaultQueue, id)
	require.NoError(r.t, err, "job %s", id)
	return info
}

func (r *rig) counts() map[backend.State]int64 {
	r.t.Helper()
	q, err := r.store.Queue(context.Background(), jobs.DefaultQueue)
	require.NoError(r.t, err)
	return q.Counts
}

// ids lists the jobs in a state, in their order.
func (r *rig) ids(state backend.State) []string {
	r.t.Helper()
	page, err := r.store.Jobs(context.Background(), backend.JobsQuery{Queue: jobs.DefaultQueue, State: state, Limit: backend.MaxPage})
	require.NoError(r.t, err)
	var ids []string
	for _, job := range page.Jobs {
		ids = append(ids, job.ID)
	}
	return ids
}

// stop stops the worker and checks that its account adds up.
func (r *rig) stop(how actors.Stop) *actors.Report {
	r.t.Helper()
	r.worker.Stop(how)
	return r.report()
}

func (r *rig) report() *actors.Report {
	r.t.Helper()
	report := awaitDone(r.t, r.worker)
	requireAddsUp(r.t, report)
	require.Len(r.t, report.AbandonedJobs, report.Abandoned)
	require.Len(r.t, report.UnconfirmedJobs, report.Unconfirmed)
	return report
}

// states notes the states of a worker and when they began.
type states struct {
	mu   sync.Mutex
	list []actors.State
	at   []time.Time
}

func watch(system *actor.ActorSystem, name string) *states {
	if name == "" {
		name = actors.DefaultName
	}
	s := &states{}
	actors.Subscribe(system, name, func(c actors.StateChanged) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list = append(s.list, c.To)
		s.at = append(s.at, time.Now())
	})
	return s
}

func (s *states) all() []actors.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]actors.State(nil), s.list...)
}

// after returns how long after an instant a state began.
func (s *states) after(t testing.TB, state actors.State, start time.Time) time.Duration {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, each := range s.list {
		if each == state {
			return s.at[i].Sub(start)
		}
	}
	require.FailNow(t, "a state was never reached", "%s: %v", state, s.list)
	return 0
}

// crowd counts how many handlers run at the same time.
type crowd struct {
	mu        sync.Mutex
	now, most int
	total     int
}

func (c *crowd) enter() (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now++
	c.total++
	c.most = max(c.most, c.now)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now--
	}
}

func (c *crowd) peak() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most
}

func (c *crowd) runs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

func concurrency(n int) func(*actors.Config) { return func(c *actors.Config) { c.Concurrency = n } }

func lease(d time.Duration) func(*actors.Config) { return func(c *actors.Config) { c.Lease = d } }

func strategy(s actor.SupervisorStrategy) func(*actors.Config) {
	return func(c *actors.Config) { c.Strategy = s }
}

// times sets the grace and its parts.
func times(grace, cancel, handBack time.Duration) func(*actors.Config) {
	return func(c *actors.Config) { c.Grace, c.CancelTime, c.HandBackTime = grace, cancel, handBack }
}

// polite ends with the cause of its context.
func polite(ctx context.Context, _ *jobs.Job[task]) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// obstinate ignores its context until the gate opens.
func obstinate(gate <-chan struct{}) handler {
	return func(context.Context, *jobs.Job[task]) error {
		<-gate
		return nil
	}
}

// noop does nothing.
func noop(context.Context, *jobs.Job[task]) error { return nil }

// partName is the name of a part of a worker with the default name.
func partName(part string) string { return actors.DefaultName + "/supervisor/" + part }

var poolName = partName("pool")
