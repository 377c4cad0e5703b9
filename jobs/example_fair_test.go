package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// Invoice is a job of a tenant, who pays for a plan.
type Invoice struct {
	Tenant string `json:"tenant"`
	Number int    `json:"number"`
	Gold   bool   `json:"gold,omitempty"`
}

func (Invoice) Kind() string { return "invoice" }

// One tenant enqueues a thousand jobs, two others come after: each has its turns, and who
// pays for gold has two in a round.
func ExampleFairBy() {
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	registry := jobs.NewRegistry()
	jobs.Declare[Invoice](registry, jobs.FairBy(
		func(i Invoice) string { return i.Tenant },
		jobs.WeightBy(func(i Invoice) float64 {
			if i.Gold {
				return 2
			}
			return 1
		})))
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		panic(err)
	}
	enqueue := func(tenant string, count int, gold bool) {
		for n := range count {
			if _, err := client.Enqueue(ctx, Invoice{tenant, n, gold}); err != nil {
				panic(err)
			}
		}
	}
	enqueue("busy", 1000, false)
	enqueue("small", 2, false)
	enqueue("gold", 4, true)
	lanes, err := client.Lanes(ctx, jobs.DefaultQueue)
	fmt.Println(lanes.Lanes, err)

	// What a worker would run first.
	leases, err := store.Lease(ctx, backend.LeaseRequest{
		Worker: "w", Token: "w.1", Queues: []string{jobs.DefaultQueue}, Max: 8, Duration: time.Minute,
	})
	if err != nil {
		panic(err)
	}
	had := map[string]int{}
	for _, l := range leases.Leases {
		had[l.Job.Lane.Key]++
	}
	fmt.Println(had)

	// Output:
	// [{busy 1000} {gold 4} {small 2}] <nil>
	// map[busy:2 gold:4 small:2]
}
