package redis

import (
	"context"

	"github.com/caddis-go/caddis/backend"
)

// SaveHistory implements backend.Consumer.
func (b *Backend) SaveHistory(ctx context.Context, held backend.Held, history backend.History) error {
	const op = "save history"
	fail := func(err error) error {
		return &backend.Error{Op: op, Queue: held.Queue, ID: held.ID, Err: err}
	}
	if err := backend.CheckHistory(held, &history); err != nil {
		return fail(err)
	}
	history.Progress = nil
	blob, err := encodeHistory(&history)
	if err != nil {
		return fail(err)
	}
	t := b.tagFor(held.Queue, held.ID)
	c := t.call(saveHistoryScript, "", 3)
	c.add(held.ID, held.Token, blob)
	if err := b.run(ctx, c); err != nil {
		return b.fail(op, held.Queue, err)
	}
	reply, err := c.result()
	switch {
	case spoilt(err):
		b.setAside(op, t, err)
		return fail(classify(err))
	case err != nil:
		return b.fail(op, held.Queue, err)
	case asInt(reply) == 0:
		return fail(backend.ErrState)
	}
	return nil
}
