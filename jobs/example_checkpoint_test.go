package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/jobs"
)

type Booklet struct {
	Pages int `json:"pages"`
}

func (Booklet) Kind() string { return "booklet" }

// A booklet whose print fails at page 3 goes on there.
func ExampleInfo_SaveCheckpoint() {
	done := make(chan struct{})
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Booklet]) error {
		var page int
		if _, err := job.Checkpoint(&page); err != nil {
			return err
		}
		for ; page < job.Args.Pages; page++ {
			if page == 3 && job.Attempt == 1 {
				return jobs.RetryIn(0, errors.New("the printer is out of paper"))
			}
			fmt.Println("attempt", job.Attempt, "page", page)
			if err := job.SaveCheckpoint(ctx, page+1); err != nil {
				return err
			}
		}
		close(done)
		return nil
	})
	ctx := context.Background()
	system, err := caddis.New(caddis.Config{Registry: registry, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	if err := system.Start(ctx); err != nil {
		panic(err)
	}
	if _, err := system.Client().Enqueue(ctx, Booklet{Pages: 5}); err != nil {
		panic(err)
	}
	<-done
	report, err := system.Stop().Wait(ctx)
	fmt.Println(report.Completed, err)

	// Output:
	// attempt 1 page 0
	// attempt 1 page 1
	// attempt 1 page 2
	// attempt 2 page 3
	// attempt 2 page 4
	// 1 <nil>
}
