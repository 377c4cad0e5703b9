package dashboard

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/caddis-go/caddis/operate"
)

func newNoticeID() string { return rand.Text() }

// actOnAll begins an act on all jobs that match, or counts them first.
func (d *Dashboard) actOnAll(q *request) error {
	act, err := d.actOf(q)
	if err != nil {
		return err
	}
	s, err := selectionOf(q.PostForm)
	if err != nil {
		return err
	}
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	queues, err := s.queuesOf(look)
	if err != nil {
		return err
	}
	r := operate.Request{Act: act, State: s.State, Filter: s.Filter, DryRun: q.PostForm.Get("sure") != "yes", By: q.visitor.Name}
	for i := range queues {
		if queues[i].Counts[s.State] > 0 {
			r.Queues = append(r.Queues, queues[i].Name)
		}
	}
	r.Errors = d.errors.textOf(s.State, s.Filter.Group)
	if len(r.Queues) == 0 {
		return d.back(q, "There is no such job any more.", true)
	}
	o, err := d.operations.Start(q.Context(), r)
	if err != nil {
		return err
	}
	what := string(act) + " all"
	if r.DryRun {
		what += ", only counted"
	}
	d.audit(q, what, "queues", r.Queues, "state", r.State, "filter", r.Filter, "errors", r.Errors, "operation", o.ID, "of", o.Of)
	return redirect(q, "operation?id="+o.ID)
}

func (d *Dashboard) operationList(q *request) error {
	all, err := d.operations.List(q.Context())
	if err != nil {
		return err
	}
	return d.render(q, http.StatusOK, view{Name: "operations", Title: "Operations", Nav: "operations", Now: time.Now(), Every: 2, Body: all})
}

func (d *Dashboard) operation(q *request) error {
	o, err := d.operations.Get(q.Context(), q.URL.Query().Get("id"))
	if err != nil {
		return err
	}
	body := struct {
		operate.Operation
		Took    time.Duration
		Running bool
		// Again is true if it was counted only, and can be done now.
		Again        bool
		Words, Title string
	}{Operation: o, Took: o.Took(time.Now()).Round(100 * time.Millisecond), Running: o.Phase == operate.PhaseRunning, Words: actWords[o.Act]}
	body.Again = o.DryRun && o.Phase == operate.PhaseDone && o.Applied > 0 && q.visitor.Role >= least(o.Act)
	every := 0
	if body.Running {
		every = 1
	}
	body.Title = actWords[o.Act] + " all that match"
	if o.DryRun {
		body.Title = "Only counted: " + string(o.Act) + " all that match"
	}
	return d.render(q, http.StatusOK, view{Name: "operation", Title: body.Title, Nav: "operations", Now: time.Now(), Every: every, Body: body})
}

// actWords are the acts as they are on buttons.
var actWords = map[operate.Act]string{
	operate.ActCancel: "Cancel", operate.ActRetry: "Retry", operate.ActRun: "Run now", operate.ActDelete: "Delete",
}

func (d *Dashboard) stopOperation(q *request) error {
	id := q.PostForm.Get("id")
	o, err := d.operations.Get(q.Context(), id)
	if err != nil {
		return err
	}
	stopped, err := d.operations.Stop(q.Context(), id, q.visitor.Name)
	if err != nil {
		return err
	}
	d.audit(q, "stop operation", "operation", id, "of", o.By, "stopped", stopped)
	text := "It had ended already."
	if stopped {
		text = "It stops after the jobs that it is at. What was done stays done."
	}
	return d.back(q, text, false)
}
