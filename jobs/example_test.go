package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

type Welcome struct {
	UserID int64 `json:"user_id"`
}

func (Welcome) Kind() string { return "welcome" }

// A program that only enqueues declares its kinds, so that their queues are
// known, and needs no handler.
func Example() {
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()

	registry := jobs.NewRegistry()
	jobs.Declare[Welcome](registry, jobs.Queue("mail"))
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		panic(err)
	}

	receipt, err := client.Enqueue(ctx, Welcome{UserID: 42}, jobs.ID("welcome-42"), jobs.In(3*time.Minute))
	fmt.Println(receipt.Queue, receipt.State, err)

	receipt, err = client.Enqueue(ctx, Welcome{UserID: 42}, jobs.ID("welcome-42"))
	fmt.Println(receipt.State, receipt.Existing, err)

	_, err = client.Enqueue(ctx, Welcome{UserID: 42}, jobs.MaxAttempts(0))
	fmt.Println(err)

	// Output:
	// mail scheduled <nil>
	// scheduled true <nil>
	// jobs: enqueue of kind "welcome": rejected: MaxAttempts(0): give a number from 1 to 2147483647
}
