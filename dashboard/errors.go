package dashboard

import (
	"net/http"

	"github.com/caddis-go/caddis/backend"
)

// errorGroups shows what went wrong, in groups.
func (d *Dashboard) errorGroups(q *request) error {
	state := backend.State(q.URL.Query().Get("state"))
	if state == "" {
		state = backend.StateDead
	}
	if state != backend.StateDead && state != backend.StateScheduled {
		return failed(http.StatusBadRequest, "errors are summed up of dead jobs and of scheduled ones, and not of %q", state)
	}
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	body := struct {
		errorSummary
		State   backend.State
		Dead    int64
		Buttons []actButton
	}{d.errors.summary(q.Context(), look.Queues, state), state, look.Count(backend.StateDead), buttons(q.visitor.Role, state)}
	every := 5
	if !body.Whole {
		every = 1
	}
	return d.render(q, http.StatusOK, view{Name: "errors", Title: "Errors", Nav: "errors", Now: look.At, Every: every, Body: body})
}
