package jobs

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddis-go/caddis/backend"
)

// Bounds of what one failure adds to a job, in bytes.
const (
	maxErrorText = 4 << 10
	maxStackText = 8 << 10
)

// worthKeeping spares the history of what is forgotten at once: a job that
// completes, leaves nothing and asks for no retention. What is handed back
// keeps the history that it has, which has the checkpoint if there is a store.
func (r *Run) worthKeeping(v verdict, l left) bool {
	switch v.outcome {
	case backend.OutcomeReleased:
		return l.checkpoint != nil && r.store == nil
	case backend.OutcomeCompleted:
		return r.keep > 0 || l.result != nil || l.progress != nil
	}
	return true
}

// history is the job's history after this run. The result of an attempt that is
// followed by another is dropped.
func (r *Run) history(v verdict, l left, now time.Time) *backend.History {
	h := r.lease.History
	if v.counts {
		h.Attempts++
	}
	h.Result = nil
	switch v.outcome {
	case backend.OutcomeSnoozed:
		h.Snoozes++
	case backend.OutcomeCompleted, backend.OutcomeCancelled, backend.OutcomeDead:
		h.Result = l.result
	}
	if l.progress != nil {
		h.Progress = l.progress
	}
	if l.checkpoint != nil {
		h.Checkpoint = l.checkpoint
	}
	h.Logs = l.logs
	h.Worker, h.AttemptLimit = r.info.Worker, r.maxAttempts
	h.StartedAt, h.FinishedAt = r.startedAt, now
	if v.failure != "" {
		h.Failures = addFailure(h.Failures, backend.Failure{
			Attempt: r.lease.Attempt(), At: now, Worker: h.Worker,
			Error: boundText(v.failure, maxErrorText),
			Stack: boundText(v.stack, maxStackText),
		})
	}
	return &h
}

// addFailure copies, as others may hold the old slice, and drops the oldest.
func addFailure(failures []backend.Failure, f backend.Failure) []backend.Failure {
	if over := len(failures) + 1 - backend.MaxFailures; over > 0 {
		failures = failures[over:]
	}
	grown := make([]backend.Failure, 0, len(failures)+1)
	return append(append(grown, failures...), f)
}

// boundText makes a text fit to be stored: UTF-8 of at most limit bytes.
func boundText(text string, limit int) string {
	const mark = "… (cut)"
	if len(text) > limit {
		cut := limit - len(mark)
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = strings.ToValidUTF8(text[:cut], "?") + mark
	}
	return strings.ToValidUTF8(text, "?")
}
