package jobs

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Figures returns the figures of a queue over time: how many jobs started and what became
// of them, how long they waited and ran; of one kind, or of all together. The error is
// [backend.ErrNotFound] if there is no such queue.
//
//	hour, err := client.Figures(ctx, backend.FiguresQuery{Queue: "mail", From: time.Now().Add(-time.Hour)})
//	total := hour.Total()
//	fmt.Println(total.Completed, total.Waiting.Quantile(0.95))
//
// Workers record them every few seconds, so they are some seconds old, and lack what a
// worker that vanished had not recorded yet. A job counts in the minute in which it
// started or ended. What was only enqueued does not count.
func (c *Client) Figures(ctx context.Context, query backend.FiguresQuery) (backend.Series, error) {
	series, err := c.backend.Figures(ctx, query)
	if err == nil && len(series.Kinds) == 0 {
		_, err = c.backend.Queue(ctx, query.Queue)
	}
	if err != nil {
		return backend.Series{}, err
	}
	return series, nil
}

// Events returns a page of the journal of a queue, the oldest event first, or
// [backend.ErrNotFound] if there is no such queue. The journal of the workers, in which
// they tell of themselves, has no name: Queue is empty.
//
// A journal has the last events that workers recorded, [backend.MaxJournal] or some more.
// Those of one worker come in order, those of several as they were recorded, which is
// some seconds after they happened. Where a worker has no room for all, an [EventLeftOut]
// tells how many are missing. What was enqueued is there if the client of a worker has
// done it, or a schedule.
func (c *Client) Events(ctx context.Context, query backend.EventsQuery) (backend.EventsPage, error) {
	page, err := c.backend.Events(ctx, query)
	if err == nil && len(page.Events) == 0 && query.After == "" && query.Queue != "" {
		_, err = c.backend.Queue(ctx, query.Queue)
	}
	if err != nil {
		return backend.EventsPage{}, err
	}
	return page, nil
}

// followPause is how often a journal is asked for what came.
const followPause = time.Second

// FollowEvents goes through the journal of a queue from query's position on and then
// waits for what comes, until ctx ends or the loop is left. It asks once a second. Where
// events were forgotten before they were read, there is an [EventLeftOut] in their place
// that has neither a time nor a number.
//
// While the store is away the loop gets an error of each call, and may go on; any other
// error is the last.
func (c *Client) FollowEvents(ctx context.Context, query backend.EventsQuery) iter.Seq2[backend.Event, error] {
	return func(yield func(backend.Event, error) bool) {
		query := query
		for {
			page, err := c.Events(ctx, query)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil && (!yield(backend.Event{}, err) || !errors.Is(err, backend.ErrUnavailable)):
				return
			case err != nil:
				page.Next = query.After
			case page.Overtaken && !yield(backend.Event{Type: EventLeftOut, Queue: query.Queue}, nil):
				return
			}
			for _, e := range page.Events {
				if !yield(e, nil) {
					return
				}
			}
			query.After = page.Next
			if len(page.Events) > 0 {
				continue
			}
			timer := time.NewTimer(followPause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
	}
}
