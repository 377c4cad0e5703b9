package actors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// narrow is a store at the end of a line that carries so many bytes a second, for
// settlements and for renewals each, as they go over connections of their own, and that
// refuses what is larger than its limit.
type narrow struct {
	backend.Backend
	rate, limit int
	refusal     error

	settles, renews chan struct{} // whose turn it is on a connection

	mu   sync.Mutex
	most int
}

func newNarrow(b backend.Backend) *narrow {
	return &narrow{Backend: b, settles: make(chan struct{}, 1), renews: make(chan struct{}, 1)}
}

func (n *narrow) carry(ctx context.Context, turn chan struct{}, size int) error {
	n.mu.Lock()
	n.most = max(n.most, size)
	n.mu.Unlock()
	if n.limit > 0 && size > n.limit {
		return n.refusal
	}
	if n.rate == 0 {
		return nil
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, ctx.Err())
	}
	defer func() { <-turn }()
	select {
	case <-time.After(time.Duration(size) * time.Second / time.Duration(n.rate)):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, ctx.Err())
	}
}

func (n *narrow) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	size := 0
	for _, s := range request.Settlements {
		size += 100
		if s.History != nil {
			size += len(s.History.Result)
		}
	}
	if err := n.carry(ctx, n.settles, size); err != nil {
		return nil, err
	}
	return n.Backend.Settle(ctx, request)
}

func (n *narrow) Renew(ctx context.Context, request backend.RenewRequest) ([]backend.RenewResult, error) {
	size := 0
	for _, held := range request.Leases {
		size += 100 + len(held.Progress)
	}
	if err := n.carry(ctx, n.renews, size); err != nil {
		return nil, err
	}
	return n.Backend.Renew(ctx, request)
}

// leaves is a handler that leaves a result of so many bytes.
func leaves(size func(n int) int) handler {
	return func(_ context.Context, job *jobs.Job[task]) error {
		if n := size(job.Args.N); n > 0 {
			return job.SetResult(strings.Repeat("x", n))
		}
		return nil
	}
}

func TestASettlementThatTheStoreRefusesFailsItsAttemptAndKeepsNoOtherUnconfirmed(t *testing.T) {
	for name, refusal := range map[string]error{
		"by a word":     fmt.Errorf("%w: ERR Protocol error: invalid bulk length", backend.ErrRejected),
		"by hanging up": fmt.Errorf("%w: EOF", backend.ErrUnavailable),
		"by an unknown": errors.New("too much"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newStore(t)
				line := newNarrow(r.store)
				line.limit, line.refusal = 100<<10, refusal
				r.faulty.Backend = line
				r.enqueue(50, jobs.MaxAttempts(1))
				r.start(leaves(func(n int) int {
					if n == 17 {
						return 200 << 10
					}
					return 10
				}), concurrency(50))
				pause(30 * time.Second)
				require.EqualValues(t, 49, r.counts()[backend.StateCompleted], "the others do not wait for it")
				pause(3 * time.Minute)

				require.EqualValues(t, 49, r.counts()[backend.StateCompleted])
				require.Equal(t, backend.StateDead, r.job("17").State)
				require.Contains(t, r.job("17").Failures[0].Error, "the job store refused that the job ended as completed")
				require.Contains(t, r.job("17").Failures[0].Error, refusal.Error())
				report := r.stop(actors.Stop{})
				require.Equal(t, 49, report.Completed)
				require.Equal(t, 1, report.Dead)
			})
		})
	}
}

func TestOneSettlementThatIsRefusedAmongOthersFailsItsAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.Backend = &answering{r.store, func(s backend.Settlement, result *backend.SettleResult) {
			if s.ID == "1" && s.Outcome == backend.OutcomeCompleted {
				*result = backend.SettleResult{Err: backend.ErrRejected}
			}
		}}
		r.enqueue(3)
		r.start(noop)
		pause(time.Second)
		// This store has applied what it refuses, so the second word comes late.
		report := r.stop(actors.Stop{})
		require.Equal(t, 2, report.Completed)
		require.Zero(t, report.Unconfirmed)
	})
}

func TestLargeResultsGetOverASlowLineInCallsOfABoundedSize(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newStore(t)
		line := newNarrow(r.store)
		line.rate = 300 << 10
		r.faulty.Backend = line
		r.enqueue(64)
		large := leaves(func(int) int { return jobs.MaxResult - 2 })
		r.start(func(ctx context.Context, job *jobs.Job[task]) error {
			c.enter()()
			return large(ctx, job)
		}, concurrency(64))
		pause(10 * time.Minute)
		report := r.stop(actors.Stop{})
		require.Equal(t, 64, report.Completed, "%v", report)
		require.Equal(t, 64, c.runs(), "none ran twice")
		require.LessOrEqual(t, line.most, jobs.MaxResult+1000)
	})
}

func TestACallThatIsTooLargeForTheLineIsDividedUntilItGetsOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newStore(t)
		line := newNarrow(r.store)
		line.rate = 16 << 10 // a full call would take longer than the longest that it may
		r.faulty.Backend = line
		r.enqueue(200)
		some := leaves(func(int) int { return 8 << 10 })
		r.start(func(ctx context.Context, job *jobs.Job[task]) error {
			c.enter()()
			return some(ctx, job)
		}, concurrency(200))
		pause(10 * time.Minute)
		report := r.stop(actors.Stop{})
		require.Equal(t, 200, report.Completed, "%v", report)
		require.Equal(t, 200, c.runs(), "none ran twice")
	})
}

// The reply to a commit was lost, and it is divided: what was applied is answered as
// stale, and is no lost lease.
func TestADividedCommitThatHadBeenAppliedIsCountedAsWhatItIs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		r.faulty.on(first(1, func(ctx context.Context, call func() error) error {
			_ = call()
			return hangs(ctx, call)
		}), "settle")
		r.enqueue(20)
		r.start(func(ctx context.Context, _ *jobs.Job[task]) error {
			<-time.After(time.Second)
			return nil
		}, concurrency(20))
		pause(3 * time.Second)
		r.worker.Status() // others are answered while the commit hangs
		r.enqueueMore(20, 22)
		pause(time.Minute)
		report := r.stop(actors.Stop{})
		require.Equal(t, 22, report.Completed, "%v", report)
		require.Greater(t, r.faulty.count("settle"), 1)
	})
}

// Progress kept leases from being renewed: 97 of 100 jobs ran twice.
func TestProgressThatIsTooMuchForTheLineLosesNoLease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c crowd
		r := newStore(t)
		line := newNarrow(r.store)
		line.rate = 1 << 20
		r.faulty.Backend = line
		r.enqueue(100)
		progress := bytes.Repeat([]byte("p"), 47<<10) // 64 KiB as base64
		r.start(func(ctx context.Context, job *jobs.Job[task]) error {
			defer c.enter()()
			for range 60 {
				if err := job.Progress(progress); err != nil {
					return err
				}
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			return nil
		}, concurrency(100))
		second := &rig{t: t, store: r.store, faulty: newFaulty(r.store), client: r.client, system: quietSystem()}
		pause(time.Second)
		second.start(noop) // would take what expires
		pause(2 * time.Minute)
		report := r.stop(actors.Stop{})
		require.Equal(t, 100, report.Completed, "%v", report)
		require.Zero(t, report.Lost)
		require.Equal(t, 100, c.runs())
		require.LessOrEqual(t, line.most, 128<<10, "a renewal does not wait for more than that")
	})
}

func TestProgressThatTheStoreRefusesStopsNeitherRenewalsNorTheProgressOfOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		line := newNarrow(r.store)
		line.limit, line.refusal = 32<<10, fmt.Errorf("%w: too large", backend.ErrRejected)
		r.faulty.Backend = line
		r.enqueue(3)
		r.start(func(ctx context.Context, job *jobs.Job[task]) error {
			if job.Args.N == 1 {
				_ = job.Progress(strings.Repeat("p", 40<<10))
			} else {
				_ = job.Progress(job.Args.N)
				<-time.After(10 * time.Second)
				_ = job.Progress(job.Args.N + 10)
			}
			<-time.After(time.Minute)
			return nil
		})
		pause(30 * time.Second)
		for _, n := range []int{0, 2} {
			saved, err := jobs.ProgressOf[int](r.job(fmt.Sprint(n)))
			require.NoError(t, err)
			require.Equal(t, n+10, saved)
		}
		pause(time.Minute)
		require.Equal(t, 3, r.stop(actors.Stop{}).Completed)
	})
}
