package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// Nightly is what is to be done each night.
type Nightly struct {
	Table string `json:"table"`
}

func (Nightly) Kind() string { return "nightly" }

// A nightly job in Berlin. Each worker whose registry has the schedule stores it when it
// starts, and one of them enqueues each job. In the night of March 30 there is no half
// past two: the job runs when the clocks have jumped to three.
func ExampleSchedule() {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Nightly]) error {
		_, night, _ := job.Schedule()
		return vacuum(ctx, job.Args.Table, night)
	})
	jobs.Schedule(registry, "vacuum", jobs.Cron("30 2 * * *", "Europe/Berlin"), Nightly{Table: "orders"},
		jobs.Jitter(10*time.Minute),
		jobs.Overlap(backend.OverlapSkip), // the default: no second one while one is unfinished
		jobs.CatchUpLast(),                // the default: one for all that were missed
		jobs.StartAt(time.Date(2036, 3, 28, 12, 0, 0, 0, time.UTC)),
	)

	// What a worker does at its start, for a look at what is stored.
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	if err := registry.PutSchedules(ctx, store, []string{jobs.DefaultQueue}); err != nil {
		panic(err)
	}
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		panic(err)
	}
	schedule, err := client.Schedule(ctx, jobs.DefaultQueue, "vacuum")
	if err != nil {
		panic(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	fmt.Println(schedule)
	for _, night := range schedule.Upcoming(3) {
		fmt.Println(night.In(berlin).Format("Mon 2 Jan 15:04 MST"))
	}

	// Output:
	// schedule vacuum in queue default, 30 2 * * * in Europe/Berlin
	// Sat 29 Mar 02:30 CET
	// Sun 30 Mar 03:00 CEST
	// Mon 31 Mar 02:30 CEST
}

// vacuum stands for work.
func vacuum(context.Context, string, time.Time) error { return nil }

// A schedule that is made at run time stays until it is deleted.
func ExampleClient_PutSchedule() {
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	if err != nil {
		panic(err)
	}

	schedule, err := client.PutSchedule(ctx, "vacuum-orders", jobs.Every(6*time.Hour), Nightly{Table: "orders"})
	fmt.Println(schedule, err)

	schedule, err = client.PauseSchedule(ctx, jobs.DefaultQueue, "vacuum-orders")
	fmt.Println(schedule.Paused, err)

	receipt, err := client.RunSchedule(ctx, jobs.DefaultQueue, "vacuum-orders")
	fmt.Println(receipt.State, err)

	_, err = client.PutSchedule(ctx, "vacuum-orders", jobs.Cron("30 2 * * *", "Berlin"), Nightly{})
	fmt.Println(err)

	// Output:
	// schedule vacuum-orders in queue default, every 6h0m0s <nil>
	// true <nil>
	// waiting <nil>
	// jobs: put schedule: schedule "vacuum-orders": rejected: the zone "Berlin": unknown time zone Berlin; give a name such as "Europe/Berlin", or "UTC" (a machine without a database of zones needs the import _ "time/tzdata")
}
