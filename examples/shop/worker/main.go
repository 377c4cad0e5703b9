// Command worker does what the web server of a shop has enqueued, until it gets TERM or
// INT. Run as many as you like.
//
//	STORE=redis://localhost:6379 go run ./examples/shop/worker
//	STORE=sqlite:shop.db go run ./examples/shop/worker
package main

import (
	"cmp"
	"context"
	"log"
	"os"
	"time"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/redis"  // knows redis: URLs
	_ "github.com/caddis-go/caddis/backend/sqlite" // knows sqlite: URLs, such as sqlite:shop.db
	"github.com/caddis-go/caddis/examples/shop/orders"
	"github.com/caddis-go/caddis/jobs"
)

func main() {
	store, err := backend.Open(cmp.Or(os.Getenv("STORE"), "redis://localhost:6379"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if err := run(context.Background(), store, logMailer{}); err != nil {
		log.Fatal(err)
	}
}

// run works until TERM or INT comes, or ctx ends.
func run(ctx context.Context, store backend.Backend, mailer orders.Mailer) error {
	registry := jobs.NewRegistry()
	orders.Handle(registry, mailer)
	system, err := caddis.New(caddis.Config{
		Backend:     store,
		Registry:    registry, // its kinds say which queues it takes from
		Concurrency: 50,
		Grace:       25 * time.Second,
	})
	if err != nil {
		return err
	}
	report, err := system.Run(ctx)
	if err != nil {
		return err
	}
	log.Printf("%d completed, %d handed back", report.Completed, report.HandedBack)
	return nil
}

// logMailer stands for a mail server.
type logMailer struct{}

func (logMailer) Send(_ context.Context, to, _ string) error {
	log.Printf("mail to %s", to)
	return nil
}
