package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

type Export struct {
	Tenant string `json:"tenant"`
}

func (Export) Kind() string { return "export" }

type Booking struct {
	Account string `json:"account"`
}

func (Booking) Kind() string { return "booking" }

type Call struct{}

func (Call) Kind() string { return "call" }

type Preview struct{}

func (Preview) Kind() string { return "preview" }

// What users limit most, a line each.
func ExampleLimit() {
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	registry := jobs.NewRegistry()
	// 3 at a time for each tenant, whatever the number of workers.
	jobs.Declare[Export](registry, jobs.Limit("tenant", jobs.Slots(3), jobs.LimitBy(func(e Export) string { return e.Tenant })))
	// 100 per second for an API.
	jobs.Declare[Call](registry, jobs.Limit("api", jobs.Rate(100, time.Second)))
	// One at a time for each account, in order, also while one waits to be tried again.
	jobs.Declare[Booking](registry, jobs.InOrder(func(b Booking) string { return b.Account }))
	// Two in the queue at most; a third one is refused.
	jobs.Declare[Preview](registry, jobs.Limit("previews", jobs.Slots(2), jobs.Refuse()))
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		panic(err)
	}

	for range 3 {
		_, err := client.Enqueue(ctx, Preview{})
		fmt.Println(errors.Is(err, jobs.ErrLimited))
	}
	previews, err := client.Limit(ctx, jobs.DefaultQueue, "previews", "")
	fmt.Println(previews.Held, previews.Rule.Slots, err)
	err = client.SetLimit(ctx, jobs.DefaultQueue, "previews", jobs.Slots(10)) // at run time, for the fleet
	fmt.Println(err)
	_, err = client.Enqueue(ctx, Preview{})
	fmt.Println(err)

	// Output:
	// false
	// false
	// true
	// 2 2 <nil>
	// <nil>
	// <nil>
}
