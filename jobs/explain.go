package jobs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Cause is why a job does not run.
type Cause string

const (
	// CauseDelayed: it is not due yet. Until tells when it is.
	CauseDelayed Cause = "delayed"
	// CausePaused: its queue is paused. Until tells until when, if it ends by itself.
	CausePaused Cause = "paused"
	// CauseUnknownKind: it was set aside until a worker that knows its kind asks for it.
	// Workers are those of its queue that know it and will do so.
	CauseUnknownKind Cause = "unknown-kind"
	// CauseParked: it was set aside until there is room in Limit, or what Key is for. Until
	// is when it has a token, if that is what it waits for.
	CauseParked Cause = "parked"
	// CauseNoWorker: no worker takes from its queue.
	CauseNoWorker Cause = "no-worker"
	// CauseNoHandler: workers take from its queue, and none of them knows its kind.
	CauseNoHandler Cause = "no-handler"
	// CauseQuiet: those that could run it take no jobs now, as they are quiet or stop.
	CauseQuiet Cause = "quiet"
	// CauseGate: gates close its queue on those that could run it.
	CauseGate Cause = "gate"
	// CauseBusy: those that could run it had no free executor when they last published
	// their records, which they do every third of a lease.
	CauseBusy Cause = "busy"
	// CauseBehind: others wait before it. Ahead tells how many.
	CauseBehind Cause = "behind"
	// CauseSoon: nothing keeps it from being started; it is about to be.
	CauseSoon Cause = "soon"
	// CauseRunning: it runs. Workers is who runs it, Until when the lease expires.
	CauseRunning Cause = "running"
	// CauseExpired: the lease of its worker expired at Until, and was not taken back
	// yet: the next worker of the queue that leases or sweeps does so.
	CauseExpired Cause = "lease-expired"
	// CauseFinished: it is completed, cancelled or dead.
	CauseFinished Cause = "finished"
)

// Reason is one thing that keeps a job from running, in words and as data.
type Reason struct {
	Cause Cause  `json:"cause"`
	Text  string `json:"text"`
	// Until is an instant by the store's clock that Cause says more of.
	Until time.Time `json:"until,omitzero"`
	// Key is what a parked job waits for, Limit says how it stands with that if it is a limit.
	Key   string     `json:"key,omitempty"`
	Limit *LimitInfo `json:"limit,omitempty"`
	// Workers are the ids of those that it is about, at most [MaxExplained].
	Workers []string `json:"workers,omitempty"`
	// Free and Concurrency sum up the executors of those that could run the job.
	Free        int `json:"free,omitempty"`
	Concurrency int `json:"concurrency,omitempty"`
	// Ahead is how many jobs wait before it in its queue, at least: the exact number
	// where Exact is set. At most AheadAtMost do.
	Ahead       int64 `json:"ahead,omitempty"`
	AheadAtMost int64 `json:"ahead_at_most,omitempty"`
	Exact       bool  `json:"exact,omitempty"`
	// Lane is the one in which the job waits, if it has one.
	Lane string `json:"lane,omitempty"`
}

// Explanation says why a job does not run.
type Explanation struct {
	Queue string        `json:"queue"`
	ID    string        `json:"id"`
	Kind  string        `json:"kind"`
	State backend.State `json:"state"`
	// At is when this was so, by the store's clock.
	At time.Time `json:"at"`
	// Reasons are all that keep the job from running now, the one that it waits for
	// longest, as far as that is known, first. There is at least one.
	Reasons []Reason `json:"reasons"`
}

// Cause is the first of the reasons.
func (e *Explanation) Cause() Cause { return e.Reasons[0].Cause }

// Is reports whether a cause is among the reasons.
func (e *Explanation) Is(cause Cause) bool {
	return slices.ContainsFunc(e.Reasons, func(r Reason) bool { return r.Cause == cause })
}

// String is the reasons in words.
func (e *Explanation) String() string {
	texts := make([]string, len(e.Reasons))
	for i, r := range e.Reasons {
		texts[i] = r.Text
	}
	return fmt.Sprintf("job %s of kind %s in queue %s is %s: %s", e.ID, e.Kind, e.Queue, e.State, strings.Join(texts, "; "))
}

// MaxExplained bounds the workers that a [Reason] names.
const MaxExplained = 10

// Explain says why a job does not run, or [backend.ErrNotFound]. It reads the job, its
// queue, the workers, the lanes, and up to 1,000 jobs that wait before it: a look at the store that
// costs the same however many there are, for people and not for loops. Meanwhile
// things move on, so it is true to within that look.
func (c *Client) Explain(ctx context.Context, queue, id string) (*Explanation, error) {
	job, err := c.Job(ctx, queue, id)
	if err != nil {
		return nil, err
	}
	e := &explainer{job: job}
	if e.now, err = c.storeNow(ctx, queue); err != nil {
		return nil, err
	}
	if !job.State.Final() {
		if e.queue, err = c.backend.Queue(ctx, queue); err != nil {
			return nil, err
		}
		if e.workers, err = c.backend.Workers(ctx); err != nil {
			return nil, err
		}
	}
	if class, key, ok := backend.PairOf(job.BlockedOn); ok {
		info, err := c.backend.Limit(ctx, backend.LimitQuery{Queue: queue, Class: class, Key: key, Job: id})
		if err != nil {
			return nil, err
		}
		e.limit = &info
	}
	if job.State == backend.StateWaiting {
		if e.lanes, err = c.backend.Lanes(ctx, backend.LanesQuery{Queue: queue, Job: id}); err != nil {
			return nil, err
		}
		if e.lanes.Place > 0 {
			e.ahead = int64(e.lanes.Place) - 1
		} else if e.ahead, e.exact, err = c.ahead(ctx, job); err != nil {
			return nil, err
		}
		if len(e.lanes.Lanes) > 0 { // which have their turns beside the line that was looked at
			e.exact = e.queue.Counts[backend.StateWaiting] == e.ahead+1
		}
		if e.queue.Shards > 1 { // which wait side by side and are listed one after the other
			e.ahead, e.exact = 0, false
		}
	}
	return &Explanation{
		Queue: queue, ID: id, Kind: job.Kind, State: job.State, At: e.now, Reasons: e.reasons(),
	}, nil
}

// storeNow reads the store's clock.
func (c *Client) storeNow(ctx context.Context, queue string) (time.Time, error) {
	page, err := c.backend.Schedules(ctx, backend.SchedulesQuery{Queue: queue, Limit: 1})
	return page.Now, err
}

// What is looked at to find the place of a job.
const (
	placeJobs  = backend.MaxPage
	placePages = 4
)

// ahead counts the jobs that wait before one, as far as the first pages show it.
func (c *Client) ahead(ctx context.Context, job JobInfo) (ahead int64, found bool, err error) {
	query := backend.JobsQuery{Queue: job.Queue, State: backend.StateWaiting, Limit: placeJobs}
	for range placePages {
		page, err := c.backend.Jobs(ctx, query)
		if err != nil {
			return 0, false, err
		}
		for i := range page.Jobs {
			if page.Jobs[i].ID == job.ID {
				return ahead, true, nil
			}
			ahead++
		}
		query.Cursor, query.Limit = page.Next, placeJobs-int(ahead)
		if page.Next == "" || query.Limit <= 0 {
			break
		}
	}
	return ahead, false, nil
}
