package actors_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// journal is a log that tests read.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(line))
	return len(line), nil
}

// about returns the lines that have a word.
func (j *journal) about(word string) (lines []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	return lines
}

func (j *journal) config(c *actors.Config) { c.Logger = slog.New(slog.NewTextHandler(j, nil)) }

var allVerbs = []string{"lease", "settle", "renew", "sweep", "announce", "wait", "waiter", "listen"}

// asked returns how many calls of any verb there were.
func (f *faulty) asked() (sum int) {
	for _, verb := range allVerbs {
		sum += f.count(verb)
	}
	return sum
}

// A closed store made the fetcher write 250,000 warnings a second.
func TestAStoreThatIsClosedUnderAWorkerIsNotAskedWithoutPause(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log journal
		r := newRig(t, noop, log.config)
		synctest.Wait()
		closed := func(context.Context, func() error) error {
			return &backend.Error{Op: "any", Err: backend.ErrClosed}
		}
		r.faulty.on(closed, append(allVerbs, "")...)
		r.faulty.forget()
		pause(time.Minute)
		require.Less(t, r.faulty.asked(), 100)
		require.Len(t, log.about("WARN"), 1, "%v", log.lines)
		report := r.stop(actors.Stop{})
		require.LessOrEqual(t, report.StopTook, 3*time.Second)
	})
}

func TestNoErrorMakesAWorkerAskWithoutPause(t *testing.T) {
	for name, err := range map[string]error{
		"unavailable": backend.ErrUnavailable, "refused": backend.ErrRejected, "full": backend.ErrFull, "unknown": errors.New("NOPERM"),
	} {
		for _, verb := range allVerbs {
			t.Run(name+", "+verb, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					var log journal
					r := newStore(t)
					fail := func() { r.faulty.on(func(context.Context, func() error) error { return err }, verb) }
					r.enqueue(3)
					if verb == "listen" || verb == "waiter" {
						fail() // before the call that goes well and is the only one
					}
					r.start(func(ctx context.Context, job *jobs.Job[task]) error {
						_ = job.Progress(1)
						if job.Args.N == 0 {
							<-time.After(time.Second)
							return nil
						}
						return polite(ctx, job)
					}, log.config, concurrency(5))
					synctest.Wait()
					fail()
					r.faulty.forget()
					pause(time.Minute)
					require.Positive(t, r.faulty.count(verb))
					require.Less(t, r.faulty.asked(), 60*20, "calls in a minute")
					require.LessOrEqual(t, len(log.about("WARN")), 10, "%v", log.lines)
				})
			})
		}
	}
}

// hollow is a store whose waiter does not wait.
type hollow struct {
	backend.Backend
	calls atomic.Int64
}

func (s *hollow) Waiter([]string) (backend.Waiter, error) { return hollowWaiter{s}, nil }

type hollowWaiter struct{ store *hollow }

func (w hollowWaiter) Lease(ctx context.Context, request backend.LeaseRequest, _ time.Duration) (backend.LeaseReply, error) {
	w.store.calls.Add(1)
	return w.store.Backend.Lease(ctx, request)
}
func (hollowWaiter) Nudge()       {}
func (hollowWaiter) Close() error { return nil }

// Without the right to BLPOP an idle worker ran 3,500 scripts a second.
func TestAWaiterThatDoesNotWaitIsNotAskedWithoutPauseAndNotInSilence(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log journal
		r := newStore(t)
		store := &hollow{Backend: r.store}
		r.faulty.Backend = store
		registry := jobs.NewRegistry()
		jobs.Handle(registry, noop)
		config := actors.Config{Backend: store, Registry: registry}
		log.config(&config)
		w, err := actors.Spawn(r.system, config)
		require.NoError(t, err)
		pause(time.Minute)
		require.Less(t, store.calls.Load(), int64(60*10))
		require.NotEmpty(t, log.about("asking it less often"))
		require.LessOrEqual(t, len(log.about("asking it less often")), 10)
		r.enqueue(20)
		pause(time.Second)
		require.Equal(t, 20, w.Status().Counts.Completed)
		w.Stop(actors.Stop{})
		awaitDone(t, w)
	})
}

func TestAStoreThatComesAndGoesIsOneLineInTheLogNowAndThen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log journal
		var n atomic.Int64
		r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error {
			<-time.After(20 * time.Millisecond)
			return nil
		}, log.config)
		r.faulty.on(func(_ context.Context, call func() error) error {
			if n.Add(1)%2 == 0 {
				return errDown
			}
			return call()
		}, "settle")
		r.enqueue(2000)
		pause(time.Minute)
		require.EqualValues(t, 2000, r.counts()[backend.StateCompleted])
		require.Less(t, len(log.about("job store")), 20, "%v", log.lines)
		require.NotEmpty(t, log.about("now and then"))
	})
}

// From 100 kinds on that nobody knows, a new worker's kinds stayed blocked.
func TestTheSweepAsksForTheKindsThatTheWorkerHas(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		key := jobs.BlockKey("task")
		r.faulty.Backend = &forgetful{r.store}
		r.enqueue(1)
		reply, err := r.store.Lease(t.Context(), backend.LeaseRequest{
			Worker: "old", Token: "old.1", Queues: []string{jobs.DefaultQueue}, Max: 1, Duration: 15 * time.Second,
		})
		require.NoError(t, err)
		_, err = r.store.Settle(t.Context(), backend.SettleRequest{Worker: "old", Call: 1, Settlements: []backend.Settlement{{
			Queue: jobs.DefaultQueue, ID: "0", Token: reply.Leases[0].Token, Outcome: backend.OutcomeBlocked, Key: key,
		}}})
		require.NoError(t, err)
		r.start(noop)
		pause(10 * time.Second)
		require.Equal(t, []string{key}, r.faulty.sweeps()[0].Keys)
		require.Equal(t, backend.StateCompleted, r.job("0").State)
	})
}

// forgetful is a store whose leases name no key, as there are too many.
type forgetful struct{ backend.Backend }

func (s *forgetful) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	reply, err := s.Backend.Lease(ctx, request)
	reply.Blocked = nil
	return reply, err
}

func (s *forgetful) Waiter(queues []string) (backend.Waiter, error) {
	w, err := s.Backend.Waiter(queues)
	return &forgetfulWaiter{w}, err
}

type forgetfulWaiter struct{ backend.Waiter }

func (w *forgetfulWaiter) Lease(ctx context.Context, request backend.LeaseRequest, limit time.Duration) (backend.LeaseReply, error) {
	reply, err := w.Waiter.Lease(ctx, request, limit)
	reply.Blocked = nil
	return reply, err
}

func TestARecordThatIsOnItsWayDoesNotOutliveTheWorker(t *testing.T) {
	const way = 200 * time.Millisecond
	for name, c := range map[string]struct {
		stop   func(*rig)
		travel rule
	}{
		"stopped, and it lands though nobody waits for it": {
			stop: func(r *rig) { r.worker.Stop(actors.Stop{}) },
			travel: func(ctx context.Context, call func() error) error {
				landed := make(chan error, 1)
				go func() { <-time.After(way); landed <- call() }()
				select {
				case err := <-landed:
					return err
				case <-ctx.Done():
					return ctx.Err()
				}
			},
		},
		"stopped hard": {
			stop:   func(r *rig) { r.system.Root.Stop(r.worker.PID()) },
			travel: func(_ context.Context, call func() error) error { <-time.After(way); return call() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, noop)
				synctest.Wait()
				r.faulty.on(c.travel, "announce")
				pause(5*time.Second + way/2)
				require.NotZero(t, r.faulty.count("announce"))
				c.stop(r)
				report := r.report()
				require.Less(t, report.StopTook, time.Second)
				pause(time.Second)
				workers, err := r.client.Workers(t.Context())
				require.NoError(t, err)
				require.Empty(t, workers)
			})
		})
	}
}
