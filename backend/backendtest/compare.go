package backendtest

import (
	"time"

	"github.com/caddis-go/caddis/backend"
)

// stored brings a job to a form in which it can be compared: times in UTC, and
// nothing where there is nothing.
func stored(j backend.Job) backend.Job {
	if len(j.Payload) == 0 {
		j.Payload = nil
	}
	if len(j.Tags) == 0 {
		j.Tags = nil
	}
	if len(j.Headers) == 0 {
		j.Headers = nil
	}
	j.Deadline, j.EnqueuedAt, j.DueAt = utc(j.Deadline), utc(j.EnqueuedAt), utc(j.DueAt)
	return j
}

// described is stored without what the store sets.
func described(j backend.Job) backend.Job {
	j = stored(j)
	j.EnqueuedAt, j.DueAt = time.Time{}, time.Time{}
	return j
}

// past does the same for a history.
func past(h backend.History) backend.History {
	if len(h.Result) == 0 {
		h.Result = nil
	}
	if len(h.Progress) == 0 {
		h.Progress = nil
	}
	failures := h.Failures
	h.Failures = nil
	for _, f := range failures {
		f.At = utc(f.At)
		h.Failures = append(h.Failures, f)
	}
	h.StartedAt, h.FinishedAt = utc(h.StartedAt), utc(h.FinishedAt)
	return h
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}
