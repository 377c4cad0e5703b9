package actors_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

type task struct {
	N       int    `json:"n"`
	Padding string `json:"padding,omitempty"`
}

func (task) Kind() string { return "task" }

func quietSystem() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
}

func store(t testing.TB) backend.Backend {
	b, err := memory.New(memory.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// client is one that enqueues; it needs no handlers.
func client(t testing.TB, b backend.Backend) *jobs.Client {
	c, err := jobs.NewClient(b, jobs.ClientConfig{})
	require.NoError(t, err)
	return c
}

func spawn(t testing.TB, b backend.Backend, handler func(context.Context, *jobs.Job[task]) error, change ...func(*actors.Config)) *actors.Worker {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, handler)
	config := actors.Config{Backend: b, Registry: registry, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&config)
	}
	w, err := actors.Spawn(quietSystem(), config)
	require.NoError(t, err)
	t.Cleanup(func() {
		w.Stop(actors.Stop{Urgency: actors.HandBack})
		awaitDone(t, w)
	})
	return w
}

func awaitDone(t testing.TB, w *actors.Worker) *actors.Report {
	t.Helper()
	select {
	case <-w.Done():
		return w.Report()
	case <-time.After(patience()):
		require.FailNow(t, "the worker did not stop", "status: %+v", w.Status())
		return nil
	}
}

func requireAddsUp(t testing.TB, r *actors.Report) {
	t.Helper()
	require.Equal(t, r.Leased, r.Ended(), "the report must account for every lease: %v", r)
}

func TestAWorkerRunsWhatIsEnqueuedAndItsReportAddsUp(t *testing.T) {
	t.Parallel()
	b := store(t)
	const n = 5000
	var ran atomic.Int64
	all := make(chan struct{})
	w := spawn(t, b, func(_ context.Context, job *jobs.Job[task]) error {
		if ran.Add(1) == n {
			close(all)
		}
		return nil
	})
	c := client(t, b)
	for i := range n {
		_, err := c.Enqueue(t.Context(), task{N: i})
		require.NoError(t, err)
	}
	<-all
	w.Stop(actors.Stop{})
	report := awaitDone(t, w)
	require.Equal(t, actors.StateStopped, report.State)
	require.Equal(t, n, report.Completed)
	require.EqualValues(t, n, ran.Load())
	requireAddsUp(t, report)
}
