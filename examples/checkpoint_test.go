package examples_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

type Booklet struct {
	Pages int `json:"pages"`
}

func (Booklet) Kind() string { return "booklet" }

func handleBooklet(registry *jobs.Registry, export func(page int) error) {
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Booklet]) error {
		var page int // 0 the first time
		if _, err := job.Checkpoint(&page); err != nil {
			return err
		}
		for ; page < job.Args.Pages; page++ {
			if err := export(page); err != nil {
				return err
			}
			if err := job.SaveCheckpoint(ctx, page+1); err != nil {
				return err
			}
		}
		return nil
	})
}

func handleLoudly(registry *jobs.Registry, mail func(int64) error) {
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		job.Logger().InfoContext(ctx, "looked up", "user", job.Args.UserID)
		return mail(job.Args.UserID)
	})
}

func TestTheLogOfTheDocumentsIsKept(t *testing.T) {
	registry := jobs.NewRegistry()
	handleLoudly(registry, func(int64) error { return errors.New("no such user") })
	attempt := jobstest.New(t, registry).Run(t.Context(), Welcome{UserID: 42})
	require.Len(t, attempt.Job.Logs, 1)
	require.Equal(t, `msg="looked up" user=42`, attempt.Job.Logs[0].Text)
}

func TestTheBookletOfTheDocumentsGoesOnFromItsCheckpoint(t *testing.T) {
	registry := jobs.NewRegistry()
	var exported []int
	failures := 2
	handleBooklet(registry, func(page int) error {
		if page == 2 && failures > 0 {
			failures--
			return errors.New("no paper")
		}
		exported = append(exported, page)
		return nil
	})
	store := jobstest.New(t, registry)
	_, err := store.Client().Enqueue(t.Context(), Booklet{Pages: 4})
	require.NoError(t, err)
	report := store.Drain(t.Context())
	report.RequireCompleted(t)
	require.Equal(t, []int{0, 1, 2, 3}, exported, "each page once")
}
