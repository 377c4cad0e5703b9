package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// maxEdited is the largest payload that can be edited on a page, in bytes.
const maxEdited = 256 << 10

// mayEdit reports whether a visitor may change payloads: it shows them, makes a job of what is
// written, and deletes one.
func (d *Dashboard) mayEdit(q *request) bool {
	return q.visitor.Role >= RoleAdmin && d.config.Payloads != RoleNone && q.visitor.Role >= d.config.Payloads
}

func (d *Dashboard) checkEdit(q *request) error {
	if !d.mayEdit(q) {
		return failed(http.StatusForbidden, "to edit a job needs the role %s, and that the dashboard may show payloads (Config.Payloads)", RoleAdmin)
	}
	return nil
}

// edit is the page on which the payload of a job is changed.
func (d *Dashboard) edit(q *request) error {
	if err := d.checkEdit(q); err != nil {
		return err
	}
	queue, id := q.URL.Query().Get("queue"), q.URL.Query().Get("id")
	job, err := d.client.Job(q.Context(), queue, id)
	if err != nil {
		return err
	}
	if !operate.Editable(job.State) {
		return failed(http.StatusConflict, "the job is %s; only dead and cancelled ones are edited", job.State)
	}
	payload, err := operate.PayloadJSON(job)
	if err != nil {
		return failed(http.StatusConflict, "the payload cannot be read here: %v", err)
	}
	if len(payload) > maxEdited {
		return failed(http.StatusConflict, "the payload has %d bytes; at most %d are edited on a page", len(payload), maxEdited)
	}
	return d.render(q, http.StatusOK, view{Name: "edit", Title: "Edit " + visible(id), Nav: "jobs", Body: struct {
		*backend.JobInfo
		Text string
	}{&job.JobInfo, editable(payload)}})
}

// editable is JSON as it is written by people; letters that are not seen are written as JSON
// does, so that it stays the same.
func editable(data json.RawMessage) string {
	var b bytes.Buffer
	text := string(data)
	if json.Indent(&b, data, "", "  ") == nil {
		text = b.String()
	}
	var shown strings.Builder
	for _, r := range text {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			shown.WriteRune(r)
			continue
		}
		for _, half := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&shown, `\u%04x`, half)
		}
	}
	return shown.String()
}

func (d *Dashboard) editJob(q *request) error {
	if err := d.checkEdit(q); err != nil {
		return err
	}
	queue, id, payload := q.PostForm.Get("queue"), q.PostForm.Get("id"), q.PostForm.Get("payload")
	receipt, err := operate.EditAndRetry(q.Context(), d.client, queue, id, json.RawMessage(payload))
	if receipt.ID != "" {
		d.audit(q, "edit job", "queue", queue, "id", id, "new", receipt.ID, "error", err)
	}
	if fault := operate.PayloadFault(err); fault != "" {
		d.auditFailure(q, err) // which shows nothing of the payload
		return failed(http.StatusBadRequest, "the payload is not accepted: %s", visible(fault))
	}
	switch {
	case err == nil:
	case receipt.ID != "" && receipt.Err == nil:
		return d.to(q, queue, receipt.ID, visible(plain(err))+".", true)
	case errors.Is(err, backend.ErrState):
		return failed(http.StatusConflict, "%s", plain(err))
	default:
		return err
	}
	return d.to(q, queue, receipt.ID, fmt.Sprintf("This job was enqueued in place of %s, which was deleted.", visible(id)), false)
}

func (d *Dashboard) copyJob(q *request) error {
	queue, id := q.PostForm.Get("queue"), q.PostForm.Get("id")
	var options []jobs.CopyOption
	if once := q.PostForm.Get("once"); once != "" {
		options = append(options, jobs.CopyOnce(once))
	}
	receipt, err := d.client.Copy(q.Context(), queue, id, options...)
	if err != nil {
		return err
	}
	d.audit(q, "copy job", "queue", queue, "id", id, "new", receipt.ID, "again", receipt.Existing)
	return d.to(q, queue, receipt.ID, fmt.Sprintf("This job was enqueued as a copy of %s.", visible(id)), false)
}

// to leads to the page of a job.
func (d *Dashboard) to(q *request, queue, id, text string, bad bool) error {
	q.PostForm.Set("back", jobAddress(queue, id))
	return d.back(q, text, bad)
}
