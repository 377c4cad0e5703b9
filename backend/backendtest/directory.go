package backendtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// workers returns the ids of the workers that are known.
func (k *kit) workers() []string {
	k.Helper()
	infos, err := k.Workers(k.ctx)
	require.NoError(k, err)
	ids := []string{}
	for _, w := range infos {
		ids = append(ids, w.ID)
	}
	return ids
}

// listen hears commands, but for what a store may say when it begins to hear.
func (k *kit) listen(ctx context.Context, deliver func(backend.Command)) error {
	return k.Listen(ctx, func(c backend.Command) {
		if c.Verb != backend.CommandControl {
			deliver(c)
		}
	})
}

// announce publishes a worker's record.
func (k *kit) announce(info backend.WorkerInfo, ttl time.Duration) backend.Announced {
	k.Helper()
	answer, err := k.Announce(k.ctx, info, ttl)
	require.NoError(k, err)
	return answer
}

// vanished are the ids of the workers that one who announces itself is told of.
func (k *kit) vanished(worker string) []string {
	k.Helper()
	ids := []string{}
	for _, w := range k.announce(backend.WorkerInfo{ID: worker}, time.Minute).Vanished {
		ids = append(ids, w.ID)
	}
	return ids
}

var directoryTests = []test{
	{"a worker that announces itself is listed with what it says", func(k *kit) {
		info := backend.WorkerInfo{
			ID: "w", Host: "host", PID: 7, Queues: []string{"q", "other"}, Closed: []string{"other"}, Kinds: []string{"a", "b"},
			Concurrency: 50, Running: 3, State: "running", StartedAt: time.Now().UTC().Truncate(time.Millisecond),
		}
		k.announce(info, time.Minute)
		infos, err := k.Workers(k.ctx)
		require.NoError(k, err)
		require.Len(k, infos, 1)
		require.WithinDuration(k, time.Now(), infos[0].SeenAt, soon)
		require.True(k, infos[0].StartedAt.Equal(info.StartedAt))
		infos[0].SeenAt, infos[0].StartedAt = time.Time{}, info.StartedAt
		require.Equal(k, info, infos[0])
		info.Running, info.State = 0, "quiet"
		k.announce(info, time.Minute)
		infos, err = k.Workers(k.ctx)
		require.NoError(k, err)
		require.Len(k, infos, 1)
		require.Equal(k, "quiet", infos[0].State)
		require.Zero(k, infos[0].Running)
	}},
	{"workers are listed by id until they sign off", func(k *kit) {
		for _, id := range []string{"c", "a", "b"} {
			k.announce(backend.WorkerInfo{ID: id, Queues: []string{"q"}}, time.Minute)
		}
		require.Equal(k, []string{"a", "b", "c"}, k.workers())
		require.NoError(k, k.SignOff(k.ctx, "b", []string{"q"}))
		require.NoError(k, k.SignOff(k.ctx, "b", []string{"q"}))
		require.NoError(k, k.SignOff(k.ctx, "nobody", []string{"q"}))
		require.Equal(k, []string{"a", "c"}, k.workers())
	}},
	{"a worker that is not seen for its time is forgotten", func(k *kit) {
		k.announce(backend.WorkerInfo{ID: "gone"}, 200*time.Millisecond)
		k.announce(backend.WorkerInfo{ID: "here"}, time.Minute)
		k.eventually("the worker is forgotten", func() bool { return len(k.workers()) == 1 })
		require.Equal(k, []string{"here"}, k.workers())
	}},
	{"each worker is told of one that has vanished, with its queues, and how soon one may", func(k *kit) {
		require.Equal(k, backend.Announced{}, k.announce(backend.WorkerInfo{ID: "gone", Queues: []string{"p", "q"}}, 300*time.Millisecond),
			"there is no other")
		next := k.announce(backend.WorkerInfo{ID: "here"}, time.Minute).Next
		require.LessOrEqual(k, next, 300*time.Millisecond)
		require.NotZero(k, next, "or it has vanished within an instant")
		k.eventually("one has vanished", func() bool { return len(k.vanished("here")) > 0 })
		for _, worker := range []string{"here", "there", "here"} {
			answer := k.announce(backend.WorkerInfo{ID: worker}, time.Minute)
			require.Len(k, answer.Vanished, 1)
			require.Equal(k, "gone", answer.Vanished[0].ID)
			require.Equal(k, []string{"p", "q"}, answer.Vanished[0].Queues)
		}
		require.NotZero(k, k.announce(backend.WorkerInfo{ID: "here"}, time.Minute).Next, "there is another one")
		require.Equal(k, []string{"here", "there"}, k.workers(), "it is not listed")
	}},
	{"a worker that comes back or signs off has not vanished", func(k *kit) {
		for _, id := range []string{"back", "off"} {
			k.announce(backend.WorkerInfo{ID: id}, 50*time.Millisecond)
		}
		k.eventually("both have vanished", func() bool { return len(k.vanished("w")) == 2 })
		k.announce(backend.WorkerInfo{ID: "back"}, time.Minute)
		require.NoError(k, k.SignOff(k.ctx, "off", nil))
		require.Empty(k, k.vanished("w"))
	}},
	{"a sign-off does not touch the leases", func(k *kit) {
		k.enqueueAll("a")
		w := k.worker("w")
		lease := w.leaseOne("a")
		require.NoError(k, k.SignOff(k.ctx, "w", []string{"q"}))
		k.requireState(backend.StateRunning, "a")
		w.settled(lease, backend.OutcomeCompleted, backend.StateCompleted)
	}},
	{"a worker must have an id and a time", func(k *kit) {
		_, err := k.Announce(k.ctx, backend.WorkerInfo{}, time.Minute)
		require.ErrorIs(k, err, backend.ErrRejected)
		_, err = k.Announce(k.ctx, backend.WorkerInfo{ID: "w"}, 0)
		require.ErrorIs(k, err, backend.ErrRejected)
		require.Empty(k, k.workers())
	}},
	{"Listen tells at once that a queue has appeared", func(k *kit) {
		heard := make(chan backend.Command, 1000)
		ctx, cancel := context.WithCancel(k.ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = k.listen(ctx, func(c backend.Command) { heard <- c }) }()
		n := 0
		k.eventually("a new queue is heard of", func() bool {
			n++
			name := fmt.Sprintf("new.%d", n)
			k.enqueue(job("a", in(name)))
			k.enqueue(job("b", in(name)))
			select {
			case c := <-heard:
				require.Equal(k, backend.CommandQueue, c.Verb)
				require.Regexp(k, `^new\.\d+$`, c.Queue)
				require.Empty(k, c.ID)
				return true
			case <-time.After(20 * time.Millisecond):
				return false
			}
		})
		cancel()
		<-done
	}},
	{"Listen ends with its ctx", func(k *kit) {
		ctx, cancel := context.WithCancelCause(k.ctx)
		ended := make(chan error, 1)
		go func() { ended <- k.Listen(ctx, func(backend.Command) {}) }()
		time.Sleep(20 * time.Millisecond)
		cancel(errors.New("enough"))
		select {
		case err := <-ended:
			require.ErrorIs(k, err, context.Canceled)
		case <-time.After(soon):
			require.Fail(k, "Listen goes on after its ctx has ended")
		}
	}},
	{"Check finds the store fit for use", func(k *kit) {
		warnings, err := k.Check(k.ctx)
		require.NoError(k, err)
		for _, w := range warnings {
			require.NotEmpty(k, w.Setting)
			require.NotEmpty(k, w.Problem)
			require.NotEmpty(k, w.Remedy)
		}
	}},
}
