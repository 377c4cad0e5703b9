// Package orders holds the jobs of a shop: what its web server enqueues and its worker
// runs. Both import it, so that they agree on kinds and queues.
package orders

import (
	"context"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// Confirm mails the confirmation of an order.
type Confirm struct {
	OrderID string `json:"order_id"`
	Email   string `json:"email"`
}

func (Confirm) Kind() string { return "orders.confirm" }

// Mailer sends mail.
type Mailer interface {
	Send(ctx context.Context, to, text string) error
}

var confirmQueue = jobs.Queue("mail")

// Declare tells a program that only enqueues where the jobs go.
func Declare(registry *jobs.Registry) {
	jobs.Declare[Confirm](registry, confirmQueue)
}

// Handle gives a worker the handlers.
func Handle(registry *jobs.Registry, mailer Mailer) {
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Confirm]) error {
		return mailer.Send(ctx, job.Args.Email, "Thank you for order "+job.Args.OrderID)
	}, confirmQueue, jobs.MaxAttempts(10), jobs.Timeout(30*time.Second))
}
