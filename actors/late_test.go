package actors_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// overdue answers the first lease as if the process had slept through it.
type overdue struct {
	backend.Backend
	answered atomic.Bool
}

func (o *overdue) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	reply, err := o.Backend.Lease(ctx, request)
	if len(reply.Leases) > 0 && !o.answered.Swap(true) {
		reply.Leases[0].ExpiresAt = reply.Now.Add(-time.Millisecond)
	}
	return reply, err
}

func TestAJobWhoseLeaseIsOverBeforeItBeginsIsHandedBackUnrun(t *testing.T) {
	t.Parallel()
	b := &overdue{Backend: store(t)}
	ran := make(chan int, 10)
	// It waits already, so that no wait for a job brings it.
	_, err := client(t, b).Enqueue(t.Context(), task{})
	require.NoError(t, err)
	w := spawn(t, b, func(_ context.Context, job *jobs.Job[task]) error {
		ran <- job.Attempt
		return nil
	})

	require.Equal(t, 1, <-ran, "the lease that was over cost no attempt")
	w.Stop(actors.Stop{})
	report := awaitDone(t, w)
	require.Equal(t, 1, report.HandedBack)
	require.Equal(t, 1, report.Completed)
	require.Empty(t, ran, "it ran once")
	requireAddsUp(t, report)
}
