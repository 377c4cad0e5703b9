package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// queueRow is a queue in a list.
type queueRow struct {
	backend.QueueInfo
	Scheduled, Waiting, Blocked, Running, Dead, Cancelled, Completed int64
	Workers                                                          []backend.WorkerInfo
	// Busy of Places are the executors of its workers, which may have other queues too.
	Busy, Places int
	// Late is true if nobody seems to take the jobs that wait.
	Late bool
}

// State is what the queue is in a word.
func (r queueRow) State() string {
	switch {
	case r.Paused:
		return "paused"
	case len(r.Workers) == 0:
		return "no worker"
	}
	return "open"
}

func queueRows(look *operate.Look) []queueRow {
	rows := make([]queueRow, len(look.Queues))
	for i, q := range look.Queues {
		rows[i] = rowOf(q, look)
	}
	return rows
}

func rowOf(q backend.QueueInfo, look *operate.Look) queueRow {
	r := queueRow{
		QueueInfo: q, Workers: look.Takers(q.Name),
		Scheduled: q.Counts[backend.StateScheduled], Waiting: q.Counts[backend.StateWaiting], Blocked: q.Counts[backend.StateBlocked],
		Running: q.Counts[backend.StateRunning], Dead: q.Counts[backend.StateDead], Cancelled: q.Counts[backend.StateCancelled],
		Completed: q.Counts[backend.StateCompleted],
	}
	for _, w := range r.Workers {
		r.Busy, r.Places = r.Busy+w.Running, r.Places+w.Concurrency
	}
	r.Late = !q.OldestWaiting.IsZero() && look.At.Sub(q.OldestWaiting) > time.Minute
	return r
}

// sortByWait has those first whose oldest job waits longest.
func sortByWait(rows []queueRow) {
	slices.SortStableFunc(rows, func(a, b queueRow) int {
		if a.OldestWaiting.IsZero() != b.OldestWaiting.IsZero() {
			if a.OldestWaiting.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(a.OldestWaiting.Compare(b.OldestWaiting), cmp.Compare(b.Running, a.Running))
	})
}

func (d *Dashboard) queues(q *request) error {
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	return d.render(q, http.StatusOK, view{Name: "queues", Title: "Queues", Nav: "queues", Now: look.At, Every: 5, Body: queueRows(look)})
}

// pauses are for how long a queue can be paused from its page; empty is until it is resumed.
var pauses = []struct{ Value, Text string }{
	{"", "until resumed"}, {"5m", "for 5 minutes"}, {"15m", "for 15 minutes"}, {"1h", "for an hour"},
	{"8h", "for 8 hours"}, {"24h", "for a day"},
}

func (d *Dashboard) queue(q *request) error {
	name := q.URL.Query().Get("name")
	if err := backend.CheckQueue(name); err != nil {
		return err
	}
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	info := look.Queue(name)
	if info == nil {
		return failed(http.StatusNotFound, "there is no queue %q", name)
	}
	found, err := d.health.findings(q.Context(), look)
	if err != nil {
		return err
	}
	body := struct {
		queueRow
		States    []stateCount
		Pauses    any
		Findings  []operate.Finding
		Schedules []scheduleRow
		More      bool
		Hour      lastHour
		Lanes     lanesView
	}{queueRow: rowOf(*info, look), States: stateCounts([]backend.QueueInfo{*info}), Pauses: pauses}
	for _, f := range found {
		if f.Queue == name && f.Level.Bad() {
			body.Findings = append(body.Findings, f)
		}
	}
	if body.Schedules, body.More, err = d.schedulesOf(q.Context(), []string{name}, 20); err != nil {
		return err
	}
	if body.Hour, err = d.lastHour(q.Context(), look, []backend.QueueInfo{*info}); err != nil {
		return err
	}
	if body.Lanes, err = d.lanesOf(q.Context(), info); err != nil {
		return err
	}
	return d.render(q, http.StatusOK, view{Name: "queue", Title: "Queue " + name, Nav: "queues", Now: look.At, Every: 5, Body: body})
}

// shownLanes is how many lanes the page of a queue shows.
const shownLanes = 20

// lanesView is in which lanes of a queue jobs wait.
type lanesView struct {
	Lanes []backend.LaneInfo
	// More is true if there are others.
	More bool
}

// lanesOf are the longest lanes of a queue, if any of its jobs wait.
func (d *Dashboard) lanesOf(ctx context.Context, info *backend.QueueInfo) (v lanesView, err error) {
	if info.Counts[backend.StateWaiting] == 0 {
		return v, nil
	}
	lanes, err := d.client.Lanes(ctx, info.Name)
	if err != nil {
		return v, err
	}
	v.Lanes = lanes.Lanes[:min(shownLanes, len(lanes.Lanes))]
	v.More = lanes.More || len(v.Lanes) < len(lanes.Lanes)
	return v, nil
}

func (d *Dashboard) pauseQueue(q *request) error {
	name, limit := q.PostForm.Get("name"), q.PostForm.Get("for")
	if err := d.knownQueue(q, name); err != nil {
		return err
	}
	var options []jobs.PauseOption
	text := fmt.Sprintf("The queue %s is paused until somebody resumes it.", name)
	if limit != "" {
		span, err := time.ParseDuration(limit)
		if err != nil {
			return failed(http.StatusBadRequest, "%q is no time; give one such as 10m", limit)
		}
		options = append(options, jobs.For(span))
		text = fmt.Sprintf("The queue %s is paused for %s.", name, operate.Span(span))
	}
	if err := d.client.PauseQueue(q.Context(), name, options...); err != nil {
		return err
	}
	d.audit(q, "pause queue", "queue", name, "for", limit)
	return d.back(q, text, false)
}

func (d *Dashboard) resumeQueue(q *request) error {
	name := q.PostForm.Get("name")
	if err := d.knownQueue(q, name); err != nil {
		return err
	}
	if err := d.client.ResumeQueue(q.Context(), name); err != nil {
		return err
	}
	d.audit(q, "resume queue", "queue", name)
	return d.back(q, fmt.Sprintf("The queue %s hands out its jobs again.", name), false)
}

// knownQueue refuses the name of a queue that is not there, as an act would make it.
func (d *Dashboard) knownQueue(q *request, name string) error {
	_, err := d.client.Queue(q.Context(), name)
	return err
}
