package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// datum is a payload, a result or progress, as far as it may be seen.
type datum struct {
	Name string
	// Text is what it is; Hidden is true if this visitor may not see it, Error why it
	// cannot be shown.
	Text   string
	Hidden bool
	Error  string
	Bytes  int
}

// moment is a line of a job's timeline.
type moment struct {
	At   time.Time
	Text string
	// Since is how long after the line before; -1 in the first.
	Since time.Duration
	// Ahead is true if it has not come yet.
	Ahead bool
}

func (d *Dashboard) job(q *request) error {
	queue, id := q.URL.Query().Get("queue"), q.URL.Query().Get("id")
	job, err := d.client.Job(q.Context(), queue, id)
	if errors.Is(err, backend.ErrNotFound) {
		return failed(http.StatusNotFound, "there is no job %q in queue %q; a completed one is forgotten at once unless it has a retention", id, queue)
	}
	if err != nil {
		return err
	}
	why, err := d.client.Explain(q.Context(), queue, id)
	if err != nil {
		return err
	}
	body := struct {
		*backend.JobInfo
		Why       *jobs.Explanation
		Buttons   []actButton
		Data      []datum
		Timeline  []moment
		Attempts_ []backend.Failure // the newest first
		LastLine  string
		Headers_  []string
		Counts    []backend.LimitInfo
		Live      bool
		Editable  bool
		// Once makes a second click no second copy.
		Once string
	}{
		JobInfo: &job.JobInfo, Why: why, Buttons: buttons(q.visitor.Role, job.State), Data: d.data(q, job),
		Timeline: timeline(&job.JobInfo, why.At), LastLine: operate.LastError(&job.JobInfo), Live: !job.State.Final(),
		Editable: operate.Editable(job.State) && d.mayEdit(q), Once: jobs.NewID(),
	}
	body.Attempts_ = slices.Clone(job.Failures)
	slices.Reverse(body.Attempts_)
	for name := range job.Headers {
		body.Headers_ = append(body.Headers_, name)
	}
	slices.Sort(body.Headers_)
	for _, l := range job.Limits { // at most backend.MaxLimits
		info, err := d.client.Limit(q.Context(), queue, l.Class, l.Key)
		switch {
		case err == nil:
			body.Counts = append(body.Counts, info)
		case !errors.Is(err, backend.ErrNotFound): // nobody counts against it any more
			return err
		}
	}
	every := 2
	if job.State.Final() {
		every = 15
	}
	return d.render(q, http.StatusOK, view{Name: "job", Title: "Job " + visible(id), Nav: "jobs", Now: why.At, Every: every, Body: body})
}

// data are the parts of a job that its handler knows the meaning of.
func (d *Dashboard) data(q *request, job jobs.JobInfo) (all []datum) {
	may := d.config.Payloads != RoleNone && q.visitor.Role >= d.config.Payloads
	for _, part := range []struct {
		name string
		raw  []byte
		read func(jobs.JobInfo) (json.RawMessage, error)
	}{
		{"Payload", job.Payload, operate.PayloadJSON}, {"Progress", job.Progress, operate.ProgressJSON}, {"Result", job.Result, operate.ResultJSON},
	} {
		if part.raw == nil {
			continue
		}
		one := datum{Name: part.name, Hidden: !may, Bytes: len(part.raw)}
		if may {
			text, err := part.read(job)
			one.Text = indented(text)
			if err != nil {
				one.Error = visible(err.Error())
			}
		}
		all = append(all, one)
	}
	return all
}

// timeline is what has happened to a job, and what is known to come, in order.
func timeline(job *backend.JobInfo, now time.Time) []moment {
	var all []moment
	add := func(at time.Time, text string) {
		if !at.IsZero() {
			all = append(all, moment{At: at, Text: text, Ahead: at.After(now)})
		}
	}
	add(job.EnqueuedAt, "enqueued")
	if !job.DueAt.Equal(job.EnqueuedAt) {
		add(job.DueAt, "due")
	}
	for i := range job.Failures {
		add(job.Failures[i].At, "attempt "+count(job.Failures[i].Attempt)+" failed")
	}
	add(job.StartedAt, "last attempt started")
	if job.State.Final() {
		add(job.FinishedAt, string(job.State))
	}
	if job.State == backend.StateScheduled && !job.ScheduledFor.Equal(job.DueAt) {
		add(job.ScheduledFor, "due again")
	}
	if job.State == backend.StateRunning {
		add(job.LeaseExpiresAt, "lease ends, unless it is renewed")
	}
	add(job.Deadline, "must not run after")
	add(job.KeptUntil, "forgotten")
	slices.SortStableFunc(all, func(a, b moment) int { return a.At.Compare(b.At) })
	for i := range all {
		if i == 0 {
			all[i].Since = -1
			continue
		}
		all[i].Since = all[i].At.Sub(all[i-1].At)
	}
	return all
}
