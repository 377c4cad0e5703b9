package orders_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/examples/shop/orders"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

// post fails some times and then notes what it sent.
type post struct {
	fails int
	sent  []string
}

func (p *post) Send(_ context.Context, to, text string) error {
	if p.fails > 0 {
		p.fails--
		return errors.New("the mail server is busy")
	}
	p.sent = append(p.sent, to+": "+text)
	return nil
}

func TestAConfirmationIsTriedAgainUntilTheMailServerTakesIt(t *testing.T) {
	mailer := &post{fails: 2}
	registry := jobs.NewRegistry()
	orders.Handle(registry, mailer)
	store := jobstest.New(t, registry)

	_, err := store.Client().Enqueue(t.Context(), orders.Confirm{OrderID: "7", Email: "ada@example.com"})
	require.NoError(t, err)
	report := store.Drain(t.Context()) // the retries are hours apart, and run at once

	report.RequireCompleted(t)
	require.Equal(t, []string{"ada@example.com: Thank you for order 7"}, mailer.sent)
}
