package jobs

import "context"

type clientKey struct{}

// WithClient returns a context from which [ClientFrom] takes the client.
// A worker does so for its handlers.
func WithClient(ctx context.Context, client *Client) context.Context {
	return context.WithValue(ctx, clientKey{}, client)
}

// ClientFrom returns the client of the worker that runs the handler with this
// context, so that handlers can enqueue; ok is false if there is none.
func ClientFrom(ctx context.Context) (client *Client, ok bool) {
	client, ok = ctx.Value(clientKey{}).(*Client)
	return client, ok && client != nil
}
