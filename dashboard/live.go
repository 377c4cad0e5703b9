package dashboard

import (
	"fmt"
	"net/http"
	"time"
)

const (
	livePath = "live"
	// streamTime is how long a stream lasts: then the browser asks anew, and whoever may
	// not come in any more is refused.
	streamTime = 5 * time.Minute
	// slowTime is how long a browser may take for the few bytes of a sign of life.
	slowTime = 10 * time.Second
)

// live is the stream of a page, by server-sent events: change, when what is shown may have
// changed, and beat, every second. The page of a worker names it in the query, and hears of
// that one within a tenth of a second.
func (d *Dashboard) live(q *request) error {
	s := d.watch.enter(q.URL.Query().Get("worker"))
	if s == nil {
		q.w.Header().Set("Retry-After", "30")
		return failed(http.StatusServiceUnavailable, "%d pages are live already; this one is loaded again from time to time", d.config.MaxStreams)
	}
	defer d.watch.leave(s)
	q.w.Header().Set("Content-Type", "text/event-stream")
	q.w.Header().Set("X-Accel-Buffering", "no") // proxies are not to gather it
	control := http.NewResponseController(q.w)
	send := func(text string) error {
		_ = control.SetWriteDeadline(time.Now().Add(slowTime))
		if _, err := fmt.Fprint(q.w, text); err != nil {
			return err
		}
		return control.Flush()
	}
	if send("retry: 3000\n\n") != nil {
		return nil
	}
	end := time.NewTimer(streamTime)
	defer end.Stop()
	for {
		select {
		case <-s.wake:
		case <-q.Context().Done():
			return nil
		case <-end.C:
			return nil
		case <-d.watch.closed:
			return nil
		}
		text := ""
		changed, beat := d.watch.take(s)
		if changed {
			text += "event: change\ndata:\n\n"
		}
		if beat {
			text += "event: beat\ndata:\n\n"
		}
		if send(text) != nil {
			return nil // the browser has gone, or takes nothing
		}
	}
}
