//go:build unix

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

// working are the requests that an application and its workers send while they
// work: the verbs' scripts, and commands. All are cut, each this often.
var working = []string{"enqueue", "lease", "settle", "renew", "sweep", "announce", "blpop", "subscribe"}

const cutsEach = 5

func TestACutBeforeOrAfterTheReplyOfAnyVerbLosesNothingAndRepeatsNothing(t *testing.T) {
	overBoth(t, cutEachVerb)
}

func cutEachVerb(t *testing.T, server *redistest.Server, proxy *lab.Proxy) {
	s := play(t, proxy.URL(), 2, func(s *scene) {
		s.honest = "redis://" + server.Addr
		s.settings.Lease = 3 * time.Second // renewed every second
		// Slow enough for the workers to be idle now and then, so that they wait.
		s.load.Every = 60 * time.Millisecond
	})
	cuts := 0
	began := time.Now()
	for _, verb := range working {
		for _, cut := range []func(string, int) *lab.Trap{proxy.CutBefore, proxy.CutAfter} {
			trap := cut(verb, cutsEach)
			if verb == "subscribe" {
				proxy.Cut() // it is sent once per connection
			}
			select {
			case <-trap.Sprung:
				cuts += cutsEach
			case <-time.After(hung):
				require.FailNow(t, "no such request was sent", verb)
			}
		}
	}
	s.recovered(began, time.Now())
	verdict := s.settle()
	require.LessOrEqual(t, len(verdict.Excuses), 1, "only an enqueue that is repeated by its caller repeats a job: %v", verdict.Excuses)
	require.Equal(t, len(verdict.Notes), verdict.Excuses[lab.EnqueuedAgain])
	t.Logf("%d cuts", cuts)
}

func TestAnOperatorsVerbThatIsCutMayBeRepeated(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	proxy := lab.StartProxy(t, server.Addr)
	store, err := backend.Open("redis://" + proxy.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	queue := "warm" // a first time, for the server to know the scripts
	states := func() []backend.State {
		q, err := store.Queue(ctx, queue)
		require.NoError(t, err)
		var states []backend.State
		for _, state := range backend.States {
			for range q.Counts[state] {
				states = append(states, state)
			}
		}
		return states
	}
	act := func(verb func(context.Context, string, []string) ([]backend.ActResult, error)) func() error {
		return func() error {
			results, err := verb(ctx, queue, []string{"a"})
			if err != nil {
				return err
			}
			return results[0].Err
		}
	}
	onQueue := func(verb func(context.Context, string) error) func() error {
		return func() error { return verb(ctx, queue) }
	}
	table := []struct {
		// request is what lab.Verbs calls it: delete has the keys of cancel.
		request string
		call    func() error
		want    []backend.State
		// again is what a call says whose effect is there already.
		again error
		// cuts is how many cuts the caller hears of: what may be repeated is, once.
		cuts int
	}{
		{"enqueue", func() error {
			_, err := store.Enqueue(ctx, []backend.NewJob{{Delay: time.Hour, Job: backend.Job{ID: "a", Queue: queue, Kind: "k"}}})
			return err
		}, []backend.State{backend.StateScheduled}, nil, 1},
		{"run_now", act(store.RunNow), []backend.State{backend.StateWaiting}, nil, 1},
		{"cancel", act(store.Cancel), []backend.State{backend.StateCancelled}, nil, 2},
		{"retry", act(store.Retry), []backend.State{backend.StateWaiting}, backend.ErrState, 1},
		{"pause", func() error { return store.Pause(ctx, queue, time.Hour) }, []backend.State{backend.StateWaiting}, nil, 2},
		{"resume", onQueue(store.Resume), []backend.State{backend.StateWaiting}, nil, 2},
		{"job", func() error { _, err := store.Job(ctx, queue, "a"); return err }, []backend.State{backend.StateWaiting}, nil, 2},
		{"jobs", func() error {
			_, err := store.Jobs(ctx, backend.JobsQuery{Queue: queue, State: backend.StateWaiting})
			return err
		}, []backend.State{backend.StateWaiting}, nil, 2},
		{"queue", func() error { _, err := store.Queue(ctx, queue); return err }, []backend.State{backend.StateWaiting}, nil, 2},
		{"workers", func() error { _, err := store.Workers(ctx); return err }, []backend.State{backend.StateWaiting}, nil, 2},
		{"set_limit", func() error { return store.SetLimit(ctx, queue, "api", &backend.LimitRule{Slots: 3}) }, []backend.State{backend.StateWaiting}, nil, 2},
		{"limit", func() error {
			_, err := store.Limit(ctx, backend.LimitQuery{Queue: queue, Class: "api"})
			return err
		}, []backend.State{backend.StateWaiting}, nil, 2},
		{"cancel", act(store.Delete), nil, backend.ErrNotFound, 1},
	}
	for _, one := range table {
		_ = one.call()
	}
	queue = "default"
	for _, one := range table {
		cut := func(trap *lab.Trap) {
			err := one.call()
			if one.request != "enqueue" { // which repeats by itself
				require.ErrorIs(t, err, backend.ErrUnavailable, one.request)
			} else {
				require.NoError(t, err)
			}
			select {
			case <-trap.Sprung:
			default:
				require.FailNow(t, "no such request was sent", one.request)
			}
		}
		cut(proxy.CutBefore(one.request, one.cuts))
		cut(proxy.CutAfter(one.request, one.cuts))
		require.ErrorIs(t, one.call(), one.again, one.request)
		require.Equal(t, one.want, states(), one.request)
	}
}

func TestAVerbOfSchedulesThatIsCutMayBeRepeated(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	proxy := lab.StartProxy(t, server.Addr)
	store, err := backend.Open("redis://" + proxy.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	var queue string
	at := time.UnixMilli(time.Now().UnixMilli()).Add(-time.Hour)
	find := func() []backend.Schedule {
		page, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: queue})
		require.NoError(t, err)
		return page.Schedules
	}
	var version uint64
	var outcome backend.TickOutcome
	table := []struct {
		request string
		call    func() error
		again   error
	}{
		{"put_schedule", func() error {
			s, err := store.PutSchedule(ctx, backend.Schedule{Queue: queue, Name: "nightly", Next: at})
			version = s.Version
			return err
		}, nil},
		{"schedules", func() error {
			_, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: queue, Name: "nightly"})
			return err
		}, nil},
		{"tick", func() error {
			job := backend.NewJob{Job: backend.Job{ID: backend.TickID("nightly", at), Queue: queue, Kind: "k"}}
			reply, err := store.Tick(ctx, []backend.Tick{{
				Queue: queue, Name: "nightly", Version: version, At: at, Next: at.Add(time.Minute), Job: &job, Overlap: backend.OverlapSkip,
			}})
			if err == nil {
				outcome = reply.Results[0].Outcome
			}
			return err
		}, nil},
		{"delete_schedule", func() error { return store.DeleteSchedule(ctx, queue, "nightly") }, backend.ErrNotFound},
	}
	for _, queue = range []string{"warm", "default"} {
		for _, one := range table {
			if queue == "warm" { // a first time, for the server to know the scripts
				require.NoError(t, one.call())
				continue
			}
			for _, cut := range []func(string, int) *lab.Trap{proxy.CutBefore, proxy.CutAfter} {
				trap := cut(one.request, 1)
				if err := one.call(); err != nil && !errors.Is(err, one.again) { // it may have been repeated
					require.ErrorIs(t, err, backend.ErrUnavailable, one.request)
				}
				select {
				case <-trap.Sprung:
				default:
					require.FailNow(t, "no such request was sent", one.request)
				}
			}
			require.ErrorIs(t, one.call(), one.again, one.request)
			if one.request == "tick" {
				require.Equal(t, backend.TickEnqueued, outcome)
				require.EqualValues(t, 1, find()[0].Enqueued)
				require.Equal(t, at.Add(time.Minute).UTC(), find()[0].Next)
			}
		}
		require.Empty(t, find())
		info, err := store.Queue(ctx, queue)
		require.NoError(t, err)
		require.EqualValues(t, 1, info.Counts[backend.StateWaiting])
	}
}

func TestASignOffThatIsCutDoesNotHoldUpTheStop(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	proxy := lab.StartProxy(t, server.Addr)
	s := play(t, "redis://"+proxy.Addr, 1, func(s *scene) { s.honest = "redis://" + server.Addr })
	s.producer.Stop()
	s.quiet()
	for _, cut := range []func(string, int) *lab.Trap{proxy.CutBefore, proxy.CutAfter} {
		trap := cut("hdel", 1)
		told := time.Now()
		s.dismiss(s.workers[0])
		<-trap.Sprung
		t.Logf("the stop took %v", time.Since(told).Round(time.Millisecond))
		s.workers = nil
		s.hire(s.settings)
		require.Eventually(t, func() bool { return strings.Contains(s.workers[0].Log(), "worker started") }, hung, time.Millisecond)
	}
	s.settle()
}

func TestAConnectionThatIsHalfOpenHoldsUpOneWorkerAndForATimeOnly(t *testing.T) {
	overBoth(t, halfOpenOneWorker)
}

func halfOpenOneWorker(t *testing.T, server *redistest.Server, proxy *lab.Proxy) {
	s := play(t, "redis://"+server.Addr, 1, nil)
	cutOff := s.settings
	cutOff.URL = proxy.URL()
	w := s.hire(cutOff)
	require.Eventually(t, func() bool { return s.ledger().StartedBy(w.PID()) > 20 }, hung, 20*time.Millisecond)

	began := time.Now()
	for range 3 {
		// What is open dies in silence; new connections pass.
		for _, l := range proxy.Links() {
			l.Set(lab.Weather{HalfOpen: true})
		}
		s.flow(2 * time.Second)
	}
	n := s.ledger().StartedBy(w.PID())
	require.Eventually(t, func() bool { return s.ledger().StartedBy(w.PID()) > n }, hung, 20*time.Millisecond,
		"the worker consumes nothing any more")
	// Now new ones are swallowed as well, for longer than a lease.
	proxy.Set(lab.Weather{HalfOpen: true})
	s.flow(2 * leaseTime)
	proxy.Set(lab.Weather{})
	back := time.Now()
	s.books.Blame(lab.Fault{What: "its worker was cut off from the store for longer than its lease", PID: w.PID(), From: began.Add(-settling), To: back, Repeats: true})
	n = s.ledger().StartedBy(w.PID())
	require.Eventually(t, func() bool { return s.ledger().StartedBy(w.PID()) > n }, hung, 20*time.Millisecond,
		"the worker consumes nothing any more")
	t.Logf("the worker that was cut off took jobs again %v later", time.Since(back).Round(time.Millisecond))
	s.settle()
}

// All connections of all workers fall silent at once, and new ones for a while. That
// is found out by a call's time-out of a second.
func TestAllWorkersResumeSoonAfterConnectionsFellSilent(t *testing.T) {
	overBoth(t, silenceAll)
}

func silenceAll(t *testing.T, server *redistest.Server, proxy *lab.Proxy) {
	s := play(t, proxy.URL(), 2, func(s *scene) { s.honest = "redis://" + server.Addr })
	for _, silence := range []time.Duration{0, 300 * time.Millisecond, 1500 * time.Millisecond, 4 * time.Second} {
		s.flow(1500 * time.Millisecond)
		began := time.Now()
		proxy.Set(lab.Weather{HalfOpen: true})
		pause(silence)
		proxy.Set(lab.Weather{})
		back := time.Now()
		s.books.Blame(lab.Fault{What: "connections were half-open", From: began.Add(-settling), To: back.Add(10 * time.Second), Repeats: true})
		t.Logf("after a silence of %v:", silence)
		s.resumed(back)
		s.recovered(began, back)
	}
	s.settle()
}

// The store is back when Sentinel names the new master. The worker's connection to
// Sentinel is dead by then, which is found out by a question that is not answered
// for half a second.
func TestASilentConnectionToSentinelHoldsUpAFailoverForAMomentOnly(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	group := redistest.StartSentinel(t, redistest.Options{})
	proxy := lab.StartProxy(t, group.Watcher.Addr)
	store, err := backend.Open("redis+sentinel://" + proxy.Addr + "/" + redistest.MasterName + "/0")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	_, err = store.Workers(ctx)
	require.NoError(t, err)

	for _, l := range proxy.Links() {
		l.Set(lab.Weather{HalfOpen: true})
	}
	group.Master.Kill()
	group.AwaitReplica()
	back := time.Now()
	require.Eventually(t, func() bool {
		_, err := store.Workers(ctx)
		return err == nil
	}, hung, 50*time.Millisecond)
	t.Logf("the store was in use again %v after the failover", time.Since(back).Round(time.Millisecond))
}

// What takes longer than a call may is not given up while it goes on. Before, an
// answer of more than the line brings within a second came never, and was asked for
// again and again. Large buffers under the race detector are not for the company of
// other tests.
func TestLargePayloadsGetThroughASlowNetwork(t *testing.T) {
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	proxy := lab.StartProxy(t, server.Addr)
	proxy.Set(lab.Weather{BytesPerSecond: 1_500_000})
	store, err := backend.Open("redis://" + proxy.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	registry := jobs.NewRegistry()
	const n = 4
	ran := make(chan int, 100)
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[letter]) error {
		ran <- len(job.Args.Text)
		return nil
	})
	system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, Concurrency: n, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	text := bytes.Repeat([]byte("x"), 700_000) // a megabyte in JSON
	var items []jobs.Item
	for range n {
		items = append(items, jobs.New(letter{Text: text}))
	}
	_, err = system.Client().EnqueueMany(ctx, items...)
	require.NoError(t, err)
	require.NoError(t, system.Start(ctx))
	for range n {
		select {
		case size := <-ran:
			require.Equal(t, len(text), size)
		case <-time.After(hung):
			require.FailNow(t, "the jobs do not come")
		}
	}
	report, err := system.Stop().Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, n, report.Completed)
	require.Equal(t, n, report.Leased, "nothing was handed out twice")
}

func TestASlowNetworkLosesNothing(t *testing.T) {
	overBoth(t, slowDown)
}

func slowDown(t *testing.T, server *redistest.Server, proxy *lab.Proxy) {
	s := play(t, proxy.URL(), 2, func(s *scene) {
		s.honest = "redis://" + server.Addr
		s.load.Remember = 5 * time.Minute // an enqueue that was not answered in time is repeated
	})
	for _, w := range []lab.Weather{
		{Delay: 20 * time.Millisecond}, {Delay: 200 * time.Millisecond}, {BytesPerSecond: 100_000}, {Refuse: true},
	} {
		began := time.Now()
		proxy.Set(w)
		if w.Refuse {
			proxy.Cut()
			pause(time.Second)
		} else {
			s.flow(1500 * time.Millisecond)
		}
		proxy.Set(lab.Weather{})
		s.recovered(began, time.Now())
	}
	verdict := s.settle()
	require.Empty(t, verdict.Notes, "nothing was lost or repeated")
}
