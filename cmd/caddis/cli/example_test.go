package cli_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis"
	_ "github.com/caddis-go/caddis/backend/redis" // knows redis: URLs
	"github.com/caddis-go/caddis/cmd/caddis/cli"
	"github.com/caddis-go/caddis/jobs"
)

// Confirm mails the confirmation of an order.
type Confirm struct {
	OrderID string `json:"order_id"`
}

func (Confirm) Kind() string { return "orders.confirm" }

func handle(registry *jobs.Registry) {
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[Confirm]) error {
		fmt.Println("confirmed", job.Args.OrderID)
		return nil
	}, jobs.Queue("mail"))
}

// The main function of a program that is its own worker, `shop work`, and its own command
// line, such as `shop enqueue orders.confirm '{"order_id": "A-1"}'` and `shop jobs`.
func Example() {
	registry := jobs.NewRegistry()
	handle(registry)
	cli.Main(registry, cli.Config{})
}

// A program can say which store it uses unless it is told otherwise, and how it works.
func ExampleMain_config() {
	registry := jobs.NewRegistry()
	handle(registry)
	cli.Main(registry, cli.Config{
		Store:  "redis://localhost:6379",
		Worker: caddis.Config{Concurrency: 50, Grace: 25 * time.Second},
	})
}
