package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

const (
	// pageActs is how many acts a page of the audit log has.
	pageActs = 100
	// noteTime is how long the note of an act may take: its answer waits for it.
	noteTime = 3 * time.Second
	// maxNamed is how many names of a list are noted.
	maxNamed = 10
)

// audit notes an act in the log, and in the audit log of the store. If that fails the act was
// done all the same, and the log says so. The attrs are names and values; an error among them
// is what came of the act. None may be a payload.
func (d *Dashboard) audit(q *request, act string, attrs ...any) {
	q.noted = true
	d.log.Info("dashboard act", append([]any{"who", q.visitor.Name, "role", q.visitor.Role.String(), "from", q.RemoteAddr, "act", act}, attrs...)...)
	entry := operate.AuditEntry{Who: q.visitor.Name, Role: q.visitor.Role.String(), Via: "dashboard", Act: act}
	entry.On, entry.Outcome = noteOf(attrs)
	if err := d.note(q.Context(), entry); err != nil {
		d.log.Warn("an act could not be noted in the audit log of the store", "who", entry.Who, "act", act, "on", entry.On, "error", err)
	}
}

// note writes an act into the audit log of the store. A panic of it is an error, as the act
// was done.
func (d *Dashboard) note(ctx context.Context, entry operate.AuditEntry) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &jobs.Panic{Value: value, Stack: debug.Stack()}
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	return operate.Note(ctx, d.client, entry)
}

// auditFailure is audit for an act that was not done.
func (d *Dashboard) auditFailure(q *request, err error) {
	var attrs []any
	for _, field := range []string{"act", "queue", "name", "id", "state"} { // and not the payload
		attrs = append(attrs, field, q.PostForm.Get(field))
	}
	attrs = append(attrs, "jobs", q.PostForm["job"], "workers", q.PostForm["worker"], "error", err)
	d.audit(q, q.path, attrs...)
}

// noteOf says in words what an act was done to, and what came of it.
func noteOf(attrs []any) (on, outcome string) {
	outcome = "done"
	var parts []string
	for i := 0; i+1 < len(attrs); i += 2 {
		name, text := fmt.Sprint(attrs[i]), worded(attrs[i+1])
		switch {
		case text == "":
		case name == "error":
			outcome = text
		case name == "refused":
			outcome = text + " refused"
		default:
			parts = append(parts, strings.ReplaceAll(name, "_", " ")+" "+text)
		}
	}
	return strings.Join(parts, ", "), outcome
}

// worded is a value in words; empty if nothing is to be said of it.
func worded(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case error:
		return plain(v)
	case operate.Filter:
		return wordedFilter(v)
	case bool:
		if !v {
			return ""
		}
		return "yes"
	case int:
		if v == 0 {
			return ""
		}
	case []string:
		if len(v) > maxNamed {
			return strings.Join(v[:maxNamed], " ") + " and " + count(len(v)-maxNamed) + " more"
		}
		return strings.Join(v, " ")
	}
	return fmt.Sprint(value)
}

func wordedFilter(f operate.Filter) string {
	var parts []string
	for _, part := range []struct{ name, text string }{
		{"kind ", f.Kind}, {"tags ", strings.Join(f.Tags, " ")}, {"error with ", f.Text}, {"group ", f.Group},
	} {
		if part.text != "" {
			parts = append(parts, part.name+part.text)
		}
	}
	return strings.Join(parts, ", ")
}

// auditLog shows who did what. All who may look see it, as the first question about a queue
// that is paused is who paused it, and names are with the operations as well.
func (d *Dashboard) auditLog(q *request) error {
	query := operate.AuditQuery{Limit: pageActs}
	if text := q.URL.Query().Get("before"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return failed(http.StatusBadRequest, "%.20q is no number of an act", text)
		}
		query.Before = n
	}
	entries, more, err := operate.Audit(q.Context(), d.client, query)
	if err != nil {
		return err
	}
	body := struct {
		Entries []operate.AuditEntry
		// Next is the number that the next page begins before; 0 if there is none.
		Next    int64
		Started bool
	}{Entries: entries, Started: query.Before > 0}
	if more {
		body.Next = entries[len(entries)-1].Number
	}
	every := 5
	if body.Started {
		every = 0
	}
	return d.render(q, http.StatusOK, view{Name: "audit", Title: "Audit log", Nav: "audit", Every: every, Body: body})
}
