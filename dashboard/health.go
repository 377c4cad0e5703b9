package dashboard

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// health keeps what was found out about the store and the work, so that many who look at
// it cost the store what one does.
type health struct {
	client *jobs.Client

	// looking is held by who uses what follows.
	looking        chan struct{}
	store, work    []operate.Finding
	stored, worked time.Time

	// old is set when the work has changed.
	old atomic.Bool
}

func newHealth(client *jobs.Client) *health {
	return &health{client: client, looking: make(chan struct{}, 1)}
}

// How old findings may be that are shown.
const (
	storeAge = 30 * time.Second
	workAge  = 2 * time.Second
)

// findings are those of now, the worst first.
func (h *health) findings(ctx context.Context, look *operate.Look) ([]operate.Finding, error) {
	select {
	case h.looking <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.looking }()
	if h.old.Swap(false) {
		h.work = nil
	}
	if h.store == nil || time.Since(h.stored) > storeAge {
		store, _ := operate.Store(ctx, h.client, "the store")
		if ctx.Err() != nil {
			return nil, ctx.Err() // what was found is that somebody has gone
		}
		h.store, h.stored = store, time.Now()
	}
	if h.work == nil || time.Since(h.worked) > workAge {
		work, err := operate.Work(ctx, h.client, look)
		if err != nil {
			return nil, err
		}
		h.work, h.worked = work, time.Now()
	}
	all := append(append([]operate.Finding{}, h.store...), h.work...)
	operate.WorstFirst(all)
	return all, nil
}

// renew forgets what was found about the work, as an act may have put it right.
func (h *health) renew() {
	h.old.Store(true)
}
