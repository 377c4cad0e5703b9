package actors_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// The storm: trees of panicking, failing, slow and obstinate jobs under all kinds
// of strategies, on stores that answer late, or not, before or after the effect;
// made quiet, resumed and resized, and stopped at random moments in every way there
// is. Nothing may hang, nothing may be lost, nothing may be settled twice, and no
// goroutine may stay.
//
// CADDIS_STORM sets the number of trees; CADDIS_SEED replays one storm.
func TestStormOfTreesHangsLosesAndLeaksNothing(t *testing.T) {
	trees := 500
	if s := os.Getenv("CADDIS_STORM"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		trees = n
	}
	seed := rand.Uint64()
	if s := os.Getenv("CADDIS_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	t.Logf("CADDIS_SEED=%d replays the choices of this storm", seed)
	before := runtime.NumGoroutine()

	var total actors.Counts
	var mu sync.Mutex
	queue := make(chan int)
	var crew sync.WaitGroup
	for range 16 {
		crew.Go(func() {
			for i := range queue {
				var r actors.Report
				var tree sync.WaitGroup // a failed check ends its goroutine
				tree.Go(func() { r = storm(t, rand.New(rand.NewPCG(seed, uint64(i))), i) })
				tree.Wait()
				mu.Lock()
				total.Leased += r.Leased
				total.Completed += r.Completed
				total.Interrupted += r.Interrupted
				total.Abandoned += r.Abandoned
				total.HandedBack += r.HandedBack
				mu.Unlock()
			}
		})
	}
	for i := range trees {
		queue <- i
	}
	close(queue)
	crew.Wait()
	t.Logf("%d trees: %+v", trees, total)
	if trees >= 100 {
		require.NotZero(t, total.Completed, "a storm in which nothing happens proves nothing")
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, 10*time.Second, 50*time.Millisecond,
		"goroutines are left: %d before, %d now", before, runtime.NumGoroutine())
}

// strategies are the kinds of supervision that the storm plays.
var strategies = map[string]func(r *rand.Rand) actor.SupervisorStrategy{
	"one-for-one": func(*rand.Rand) actor.SupervisorStrategy { return actors.OneForOne(0, 0) },
	"one-for-one, limited": func(r *rand.Rand) actor.SupervisorStrategy {
		return actors.OneForOne(1+r.IntN(5), time.Second)
	},
	"one-for-all": func(*rand.Rand) actor.SupervisorStrategy { return actors.OneForAll(0, 0) },
	"resume":      func(*rand.Rand) actor.SupervisorStrategy { return actors.Always(actor.ResumeDirective) },
	"stop":        func(*rand.Rand) actor.SupervisorStrategy { return actors.Always(actor.StopDirective) },
	"escalate":    func(*rand.Rand) actor.SupervisorStrategy { return actors.Always(actor.EscalateDirective) },
	"backoff":     func(*rand.Rand) actor.SupervisorStrategy { return quickBackoff() },
	"intensity": func(r *rand.Rand) actor.SupervisorStrategy {
		return actors.Intensity(r.IntN(20), time.Second, quickBackoff())
	},
	"library's own": func(*rand.Rand) actor.SupervisorStrategy {
		return actor.NewOneForOneStrategy(3, time.Second, actor.DefaultDecider)
	},
	"library's, all": func(*rand.Rand) actor.SupervisorStrategy {
		return actor.NewAllForOneStrategy(3, time.Second, actor.DefaultDecider)
	},
	"library's, slow": func(*rand.Rand) actor.SupervisorStrategy {
		return actor.NewExponentialBackoffStrategy(time.Second, time.Millisecond)
	},
	"panicking": func(*rand.Rand) actor.SupervisorStrategy { return panickingStrategy{} },
	"choice": func(*rand.Rand) actor.SupervisorStrategy {
		odd := func(p *actors.JobPanic) bool { return p.Job.Attempt%2 == 1 }
		return actors.OnPanic(odd, actors.Always(actor.ResumeDirective)).Otherwise(actors.OneForAll(0, 0))
	},
}

func quickBackoff() *actors.Backoff {
	return &actors.Backoff{Delay: jobs.Exponential{Initial: time.Millisecond, Max: 20 * time.Millisecond}}
}

type panickingStrategy struct{}

func (panickingStrategy) HandleFailure(*actor.ActorSystem, actor.Supervisor, *actor.PID, *actor.RestartStatistics, any, any) {
	panic("a strategy with a fault")
}

// storm plays one tree and checks its account.
func storm(t *testing.T, r *rand.Rand, number int) actors.Report {
	names := slices.Sorted(maps.Keys(strategies))
	name := names[r.IntN(len(names))]
	label := fmt.Sprintf("tree %d, strategy %q", number, name)

	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer func() { _ = b.Close() }()
	watched := &settleOnce{Backend: b, calls: map[string]map[uint64]bool{}}

	jobsInAll := 20 + r.IntN(200)
	concurrency := 1 + r.IntN(20)
	stubborn := make(chan struct{})
	defer close(stubborn)
	var mu sync.Mutex
	running, most := 0, 0
	dice := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return dice.IntN(n)
	}
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[task]) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		defer func() {
			mu.Lock()
			running--
			mu.Unlock()
		}()
		switch k := roll(100); {
		case k < 15:
			panic(fmt.Sprintf("job %d fails its handler", job.Args.N))
		case k < 25:
			return errors.New("an ordinary failure")
		case k < 28:
			runtime.Goexit()
		case k < 40: // slow, and polite
			select {
			case <-time.After(time.Duration(roll(20)) * time.Millisecond):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case k < 41: // obstinate
			select {
			case <-stubborn:
			case <-time.After(time.Duration(roll(300)) * time.Millisecond):
			}
		case k < 45:
			return jobs.Snooze(time.Duration(roll(5)) * time.Millisecond)
		case k < 48:
			return jobs.Discard(errors.New("of no use"))
		}
		return nil
	}, jobs.MaxAttempts(3), jobs.Backoff(jobs.Exponential{Initial: time.Millisecond, Max: 5 * time.Millisecond}))

	drain := time.Duration(1+r.IntN(200)) * time.Millisecond
	cancel := time.Duration(1+r.IntN(100)) * time.Millisecond
	const handBack = 15 * time.Second // ends as soon as all is confirmed
	system := quietSystem()
	line := newFaulty(watched)
	if r.IntN(2) == 0 {
		label += ", unreliable"
		line.on(unreliable(roll), "lease", "settle", "renew", "sweep", "announce", "sign off", "wait")
	}
	w, err := actors.Spawn(system, actors.Config{
		Backend: line, Registry: registry, Concurrency: concurrency, Logger: discard(),
		Strategy: strategies[name](r), Lease: 10 * time.Second,
		Grace: drain + cancel + handBack, CancelTime: cancel, HandBackTime: handBack,
	})
	require.NoError(t, err)

	c := client(t, b)
	items := make([]jobs.Item, jobsInAll)
	for i := range items {
		items[i] = jobs.New(task{N: i}, jobs.ID(strconv.Itoa(i)))
	}
	_, err = c.EnqueueMany(context.Background(), items...)
	require.NoError(t, err)

	for range r.IntN(6) {
		pause(time.Duration(r.IntN(15)) * time.Millisecond)
		switch r.IntN(3) {
		case 0:
			resizeTo := 1 + r.IntN(20)
			_ = w.Resize(resizeTo)
			concurrency = max(concurrency, resizeTo)
		case 1:
			w.Quiet()
		case 2:
			w.Resume()
		}
	}
	pause(time.Duration(r.IntN(40)) * time.Millisecond)
	hard := false
	switch r.IntN(6) {
	case 0:
		w.Stop(actors.Stop{})
	case 1:
		system.Root.Poison(w.PID())
	case 2:
		hard = true
		system.Root.Stop(w.PID())
	case 3:
		for range 5 {
			go w.Stop(actors.Stop{})
		}
	case 4:
		w.Stop(actors.Stop{})
		pause(time.Duration(r.IntN(10)) * time.Millisecond)
		w.Stop(actors.Stop{Urgency: actors.Cancel})
	case 5:
		w.Stop(actors.Stop{Urgency: actors.HandBack})
	}
	select {
	case <-w.Done():
	case <-time.After(20 * time.Second):
		require.FailNow(t, "hung", "%s: %+v", label, w.Status())
	}
	report := w.Report()

	require.Equal(t, report.Leased, report.Ended(), "%s: the report does not add up: %v", label, report)
	require.Zero(t, report.Unconfirmed, "%s (hard: %v): %v", label, hard, report)
	require.Zero(t, report.Lost, label)
	if report.Abandoned == 0 {
		require.LessOrEqual(t, most, concurrency, "%s: more handlers than executors", label)
	}
	q, err := b.Queue(context.Background(), jobs.DefaultQueue)
	require.NoError(t, err)
	require.Zero(t, q.Counts[backend.StateRunning], "%s (hard: %v): jobs are still held: %v, %v", label, hard, report, q.Counts)
	kept := q.Counts[backend.StateWaiting] + q.Counts[backend.StateScheduled] + q.Counts[backend.StateDead] + q.Counts[backend.StateCancelled]
	require.EqualValues(t, jobsInAll, int64(report.Completed)+kept, "%s: jobs are lost: %v, %v", label, report, q.Counts)
	require.EqualValues(t, report.Completed, q.Completed, label)
	require.Empty(t, watched.twice(), "%s: settled twice", label)
	return *report
}

// unreliable fails one call in five, before or after its effect, and is late for
// another one.
func unreliable(roll func(int) int) rule {
	return func(ctx context.Context, call func() error) error {
		switch roll(20) {
		case 0, 1:
			return down(ctx, call)
		case 2, 3:
			return lostReply(ctx, call)
		case 4, 5:
			select {
			case <-time.After(time.Duration(roll(20)) * time.Millisecond):
			case <-ctx.Done():
				return hangs(ctx, call)
			}
		}
		return call()
	}
}

// settleOnce notes which calls settled each lease with effect. A call that is
// repeated, because its answer was not heard, answers the same.
type settleOnce struct {
	backend.Backend
	mu    sync.Mutex
	calls map[string]map[uint64]bool
}

func (s *settleOnce) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	results, err := s.Backend.Settle(ctx, request)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, result := range results {
		if result.Stale || result.Err != nil {
			continue
		}
		lease := request.Settlements[i].ID + " " + request.Settlements[i].Token
		if s.calls[lease] == nil {
			s.calls[lease] = map[uint64]bool{}
		}
		s.calls[lease][request.Call] = true
	}
	return results, err
}

func (s *settleOnce) twice() (leases []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for lease, calls := range s.calls {
		if len(calls) > 1 {
			leases = append(leases, lease)
		}
	}
	return leases
}
