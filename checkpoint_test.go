package caddis_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// A handler that returns when it is told to, and one that does not.
func TestAJobThatIsHandedBackGoesOnFromItsCheckpoint(t *testing.T) {
	for name, urgency := range map[string]actors.Urgency{"interrupted": actors.Cancel, "abandoned": actors.HandBack} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				store, err := memory.New(memory.Config{})
				require.NoError(t, err)
				on := func(c *caddis.Config) { c.Backend = store }
				saved, gone := make(chan struct{}), make(chan struct{})
				defer close(gone)
				first := newSystem(t, func(ctx context.Context, job *jobs.Job[task]) error {
					if err := job.SaveCheckpoint(ctx, "page 7"); err != nil {
						t.Error(err)
					}
					close(saved)
					if urgency == actors.HandBack {
						<-gone
					}
					return polite(ctx, job)
				}, on)
				require.NoError(t, first.Start(t.Context()))
				_, err = first.Client().Enqueue(t.Context(), task{})
				require.NoError(t, err)
				<-saved
				report, err := first.StopWith(actors.Stop{Urgency: urgency}).Wait(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, report.Interrupted+report.Abandoned, "%+v", report)

				found := make(chan string, 1)
				second := newSystem(t, func(_ context.Context, job *jobs.Job[task]) error {
					var page string
					if _, err := job.Checkpoint(&page); err != nil {
						t.Error(err)
					}
					found <- page
					return nil
				}, on)
				require.NoError(t, second.Start(t.Context()))
				require.Equal(t, "page 7", <-found)
			})
		})
	}
}
