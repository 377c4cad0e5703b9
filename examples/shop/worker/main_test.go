package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/examples/shop/orders"
	"github.com/caddis-go/caddis/jobs"
)

type mailbox chan string

func (m mailbox) Send(_ context.Context, to, _ string) error {
	m <- to
	return nil
}

func TestTheWorkerMailsWhatWasEnqueuedAndStops(t *testing.T) {
	t.Parallel()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	registry := jobs.NewRegistry()
	orders.Declare(registry)
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), orders.Confirm{OrderID: "7", Email: "ada@example.com"})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	sent, ended := make(mailbox), make(chan error, 1)

	go func() { ended <- run(ctx, store, sent) }()

	require.Equal(t, "ada@example.com", <-sent)
	stop()
	require.NoError(t, <-ended)
}
