package actors_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// sweeping notes which queues are to be swept first, and can fail and deliver commands.
type sweeping struct {
	backend.Backend
	commands chan backend.Command

	mu     sync.Mutex
	failed error
	first  [][]string
	at     []time.Time
}

func (s *sweeping) Sweep(ctx context.Context, request backend.SweepRequest) (backend.SweepReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.at = append(s.first, request.First), append(s.at, time.Now())
	if s.failed != nil {
		return backend.SweepReply{}, s.failed
	}
	return s.Backend.Sweep(ctx, request)
}

func (s *sweeping) Listen(ctx context.Context, deliver func(backend.Command)) error {
	for {
		select {
		case c := <-s.commands:
			deliver(c)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fail says how the sweeps to come end.
func (s *sweeping) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// forget drops what was noted.
func (s *sweeping) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first, s.at = nil, nil
}

// swept returns which queues each sweep was to do first.
func (s *sweeping) swept() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.first)
}

func (s *sweeping) when(sweep int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[sweep]
}

// house is a worker of two queues, with nothing to do.
func house(t *testing.T) (r *rig, s *sweeping) {
	r = newStore(t)
	s = &sweeping{Backend: r.store, commands: make(chan backend.Command)}
	r.faulty.Backend = s
	r.start(noop, func(c *actors.Config) { c.Queues = []string{"one", "two"} })
	synctest.Wait()
	return r, s
}

func TestAllQueuesAreSweptAtFirstAndTheirTurnsFollow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, s := house(t)
		pause(12 * time.Second)
		require.Equal(t, [][]string{{"one", "two"}, nil, nil}, s.swept())
	})
}

func TestTheQueuesOfAWorkerThatVanishedAreSweptAtOnceAndOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, s := house(t)
		pause(time.Second)
		_, err := r.store.Announce(t.Context(), backend.WorkerInfo{ID: "gone", Queues: []string{"two", "three"}}, 11*time.Second)
		require.NoError(t, err)
		gone := time.Now().Add(11 * time.Second)
		s.forget()
		pause(20 * time.Second)
		require.Equal(t, [][]string{nil, nil, {"two"}, nil}, s.swept()[:4])
		require.WithinDuration(t, gone, s.when(2), 10*time.Millisecond)
		for _, first := range s.swept()[3:] {
			require.Empty(t, first)
		}
	})
}

func TestABusyWorkerTakesALeaseBackAsItExpires(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newStore(t)
		_, err := r.client.Enqueue(t.Context(), task{N: 1}, jobs.ID("busy"))
		require.NoError(t, err)
		r.start(polite, concurrency(1))
		pause(2 * time.Second) // the worker sweeps after 5, 10, 15 and 20 s
		_, err = r.client.Enqueue(t.Context(), task{}, jobs.ID("orphan"))
		require.NoError(t, err)
		_, err = r.store.Lease(t.Context(), backend.LeaseRequest{
			Worker: "dead", Token: "dead.1", Queues: []string{jobs.DefaultQueue}, Max: 1, Duration: 15 * time.Second,
		})
		require.NoError(t, err)
		pause(15*time.Second - time.Millisecond)
		require.Equal(t, backend.StateRunning, r.job("orphan").State)
		pause(100 * time.Millisecond)
		require.Equal(t, backend.StateWaiting, r.job("orphan").State)
	})
}

func TestAfterAFailureAllQueuesAreSweptAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, s := house(t)
		s.fail(errors.New("away"))
		pause(6 * time.Second)
		s.fail(nil)
		s.forget()
		pause(10 * time.Second)
		require.Equal(t, [][]string{{"one", "two"}, nil}, s.swept()[:2])
	})
}

func TestAQueueInWhichJobsBecameBlockedIsSweptWithTheNextBeat(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		_, s := house(t)
		s.forget()
		began := time.Now()
		for range 3 {
			s.commands <- backend.Command{Verb: backend.CommandBlocked, Queue: "two"}
		}
		pause(11 * time.Second)
		require.Equal(t, [][]string{{"two"}, nil}, s.swept())
		require.Equal(t, 5*time.Second, s.when(0).Sub(began))
	})
}

func TestAWorkerThatLeavesJobsBehindVanishesWhereOneThatDoesNotSignsOff(t *testing.T) {
	for name, leaves := range map[string]bool{"it leaves none": false, "it leaves three": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, noop)
				synctest.Wait()
				if leaves {
					r.faulty.on(down, "settle")
				}
				r.enqueue(3)
				synctest.Wait()
				report := r.stop(actors.Stop{Grace: 5 * time.Second})
				require.Equal(t, leaves, report.Unconfirmed == 3)
				pause(time.Second)
				workers, err := r.store.Workers(t.Context())
				require.NoError(t, err)
				require.Empty(t, workers, "it is not listed any more")
				answer, err := r.store.Announce(t.Context(), backend.WorkerInfo{ID: "other"}, time.Minute)
				require.NoError(t, err)
				if !leaves {
					require.Empty(t, answer.Vanished)
					return
				}
				require.Len(t, answer.Vanished, 1, "the others are to look for its jobs")
				require.Equal(t, r.worker.ID(), answer.Vanished[0].ID)
				require.Equal(t, []string{jobs.DefaultQueue}, answer.Vanished[0].Queues)
			})
		})
	}
}

// What becomes of the worker while its record is on the way is published after that, and not
// with the next beat.
func TestAChangeIsPublishedAlthoughItComesWhileTheRecordIsOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		pause(time.Second)
		for _, verb := range []string{"announce", "sweep"} {
			gate := make(chan struct{})
			r.faulty.on(first(1, held(gate)), verb)
			r.worker.Quiet()
			synctest.Wait() // the record is on its way
			r.worker.Resume()
			synctest.Wait()
			close(gate)
			pause(10 * time.Millisecond)
			workers, err := r.store.Workers(t.Context())
			require.NoError(t, err)
			require.Equal(t, string(actors.StateRunning), workers[0].State, verb)
		}
	})
}
