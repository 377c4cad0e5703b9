package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Confirm mails the confirmation of an order.
type Confirm struct {
	Order int    `json:"order"`
	Email string `json:"email"`
}

func (Confirm) Kind() string { return "orders.confirm" }

// Report adds up what was sold. It takes its time and tells how far it is.
type Report struct {
	Month string `json:"month"`
}

func (Report) Kind() string { return "reports.build" }

// Thumbnail makes a small picture of a large one.
type Thumbnail struct {
	Picture string `json:"picture"`
}

func (Thumbnail) Kind() string { return "pictures.thumbnail" }

// Import reads what is in stock by a library that knows no contexts: it ends when it ends.
type Import struct {
	Seconds int `json:"seconds"`
}

func (Import) Kind() string { return "stock.import" }

// Newsletter is mailed by another program, which is not deployed yet.
type Newsletter struct {
	Issue int `json:"issue"`
}

func (Newsletter) Kind() string { return "newsletter.send" }

func handle(registry *jobs.Registry) {
	jobs.Handle(registry, confirm, jobs.Queue("mail"), jobs.MaxAttempts(2), jobs.Timeout(10*time.Second), jobs.Retention(time.Hour),
		jobs.Limit("smtp", jobs.Slots(4)), jobs.Backoff(jobs.Exponential{Initial: 4 * time.Second, Max: time.Minute}))
	jobs.Handle(registry, report, jobs.Queue("reports"), jobs.MaxAttempts(3), jobs.FairBy(func(r Report) string { return r.Month }))
	jobs.Handle(registry, imports, jobs.Queue("reports"), jobs.MaxAttempts(1))
	jobs.Handle(registry, thumbnail, jobs.Queue("pictures"), jobs.MaxAttempts(1))
	jobs.Declare[Newsletter](registry, jobs.Queue("newsletter"))
	jobs.Schedule(registry, "monthly-report", jobs.Cron("30 2 1 * *", "Europe/Berlin"), Report{Month: "last"})
	jobs.Schedule(registry, "stock-import", jobs.Cron("0 4 1 * *", "Europe/Berlin"), Import{Seconds: 30})
	jobs.Schedule(registry, "hourly-report", jobs.Every(time.Hour), Report{Month: "this"}, jobs.Overlap(backend.OverlapAllow))
}

func confirm(ctx context.Context, job *jobs.Job[Confirm]) error {
	if err := rest(ctx, time.Duration(50+rand.IntN(400))*time.Millisecond); err != nil {
		return err
	}
	switch job.Args.Order % 9 {
	case 3:
		return fmt.Errorf("smtp: 550 no such user %q", job.Args.Email)
	case 7:
		return fmt.Errorf("dial tcp 10.0.0.%d:25: connection refused", job.Args.Order%200)
	}
	return job.SetResult(map[string]int{"message": job.Args.Order * 7})
}

func report(ctx context.Context, job *jobs.Job[Report]) error {
	for done := range 60 {
		if err := job.Progress(map[string]int{"done": done, "of": 60}); err != nil {
			return err
		}
		if err := rest(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func imports(_ context.Context, job *jobs.Job[Import]) error {
	time.Sleep(time.Duration(job.Args.Seconds) * time.Second)
	return nil
}

func thumbnail(ctx context.Context, job *jobs.Job[Thumbnail]) error {
	if err := rest(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	if job.Args.Picture == "broken.png" {
		panic(errors.New("image: unknown format"))
	}
	return nil
}

// rest waits, unless the context ends before.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// prepare enqueues a job of each sort: for later, for a program that is not there, in a
// queue that is paused.
func prepare(ctx context.Context, client *jobs.Client) error {
	if err := client.PauseQueue(ctx, "archive", jobs.For(time.Hour)); err != nil {
		return err
	}
	_, err := client.EnqueueMany(ctx,
		jobs.New(Newsletter{Issue: 12}, jobs.Tags("marketing")),
		jobs.New(Newsletter{Issue: 13}, jobs.In(26*time.Hour), jobs.Tags("marketing")),
		jobs.New(Report{Month: "2026-10"}, jobs.Tags("finance")),
		jobs.New(Report{Month: "2026-09"}, jobs.Queue("archive")),
		jobs.New(Thumbnail{Picture: "broken.png"}),
		jobs.New(Confirm{Order: 3, Email: "ann@example.com"}, jobs.MaxAttempts(1), jobs.Header("trace", "4bf92f3577b34da6")),
	)
	return err
}

// produce enqueues jobs until ctx ends.
func produce(ctx context.Context, client *jobs.Client) {
	for order := 1; rest(ctx, 250*time.Millisecond) == nil; order++ {
		email := fmt.Sprintf("user-%d@example.com", order)
		items := []jobs.Item{jobs.New(Confirm{Order: order, Email: email}), jobs.New(Thumbnail{Picture: fmt.Sprintf("%d.jpg", order)})}
		if order%120 == 0 {
			items = append(items, jobs.New(Report{Month: "this"}))
		}
		if _, err := client.EnqueueMany(ctx, items...); err != nil && ctx.Err() == nil {
			slog.Warn("jobs could not be enqueued", "error", err)
		}
	}
}
