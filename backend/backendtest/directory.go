package backendtest

import (
	"context"
	"errors"
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

var directoryTests = []test{
	{"a worker that announces itself is listed with what it says", func(k *kit) {
		info := backend.WorkerInfo{
			ID: "w", Host: "host", PID: 7, Queues: []string{"q", "other"}, Kinds: []string{"a", "b"},
			Concurrency: 50, Running: 3, State: "running", StartedAt: time.Now().UTC().Truncate(time.Millisecond),
		}
		require.NoError(k, k.Announce(k.ctx, info, time.Minute))
		infos, err := k.Workers(k.ctx)
		require.NoError(k, err)
		require.Len(k, infos, 1)
		require.WithinDuration(k, time.Now(), infos[0].SeenAt, soon)
		require.True(k, infos[0].StartedAt.Equal(info.StartedAt))
		infos[0].SeenAt, infos[0].StartedAt = time.Time{}, info.StartedAt
		require.Equal(k, info, infos[0])
		info.Running, info.State = 0, "quiet"
		require.NoError(k, k.Announce(k.ctx, info, time.Minute))
		infos, err = k.Workers(k.ctx)
		require.NoError(k, err)
		require.Len(k, infos, 1)
		require.Equal(k, "quiet", infos[0].State)
		require.Zero(k, infos[0].Running)
	}},
	{"workers are listed by id until they sign off", func(k *kit) {
		for _, id := range []string{"c", "a", "b"} {
			require.NoError(k, k.Announce(k.ctx, backend.WorkerInfo{ID: id, Queues: []string{"q"}}, time.Minute))
		}
		require.Equal(k, []string{"a", "b", "c"}, k.workers())
		require.NoError(k, k.SignOff(k.ctx, "b", []string{"q"}))
		require.NoError(k, k.SignOff(k.ctx, "b", []string{"q"}))
		require.NoError(k, k.SignOff(k.ctx, "nobody", []string{"q"}))
		require.Equal(k, []string{"a", "c"}, k.workers())
	}},
	{"a worker that is not seen for its time is forgotten", func(k *kit) {
		require.NoError(k, k.Announce(k.ctx, backend.WorkerInfo{ID: "gone"}, 200*time.Millisecond))
		require.NoError(k, k.Announce(k.ctx, backend.WorkerInfo{ID: "here"}, time.Minute))
		k.eventually("the worker is forgotten", func() bool { return len(k.workers()) == 1 })
		require.Equal(k, []string{"here"}, k.workers())
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
		require.ErrorIs(k, k.Announce(k.ctx, backend.WorkerInfo{}, time.Minute), backend.ErrRejected)
		require.ErrorIs(k, k.Announce(k.ctx, backend.WorkerInfo{ID: "w"}, 0), backend.ErrRejected)
		require.Empty(k, k.workers())
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
