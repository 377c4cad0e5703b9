package operate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// maxText bounds the text that is looked for in errors.
const maxText = 200

// Filter is what jobs must be, beside being in a queue and in a state. The zero Filter
// matches all.
type Filter struct {
	// Kind is that of the jobs; empty for any.
	Kind string `json:"kind,omitempty"`
	// Tags are all on each of the jobs.
	Tags []string `json:"tags,omitempty"`
	// Text is in the error of the last failure, in capitals or not.
	Text string `json:"text,omitempty"`
	// Group is the id of the [ErrorGroup] that the jobs belong to.
	Group string `json:"group,omitempty"`
}

var groupID = regexp.MustCompile("^[0-9a-f]{16}$")

// Empty reports whether the filter matches all jobs.
func (f *Filter) Empty() bool {
	return f.Kind == "" && len(f.Tags) == 0 && f.Text == "" && f.Group == ""
}

// Check says what is wrong with the filter.
func (f *Filter) Check() error {
	switch {
	case slices.Contains(f.Tags, ""):
		return fmt.Errorf("%w: no job has an empty tag", backend.ErrRejected)
	case len(f.Text) > maxText:
		return fmt.Errorf("%w: a text of %d bytes is looked for; at most %d are", backend.ErrRejected, len(f.Text), maxText)
	case f.Group != "" && !groupID.MatchString(f.Group):
		return fmt.Errorf("%w: %q is no group of errors; their ids have 16 digits of base 16", backend.ErrRejected, f.Group)
	case f.Kind == "":
		return nil
	}
	return backend.CheckKind(f.Kind)
}

// Matches reports whether a job is one of those that are meant.
func (f *Filter) Matches(job jobs.JobInfo) bool {
	for _, tag := range f.Tags {
		if !slices.Contains(job.Tags, tag) {
			return false
		}
	}
	switch {
	case f.Kind != "" && f.Kind != job.Kind:
		return false
	case f.Text != "" && !strings.Contains(strings.ToLower(LastError(&job.JobInfo)), strings.ToLower(f.Text)):
		return false
	case f.Group != "" && groupOf(&job.JobInfo).id() != f.Group:
		return false
	}
	return true
}

// LastError is the error of the last failure of a job; empty if it has none.
func LastError(job *backend.JobInfo) string {
	if n := len(job.Failures); n > 0 {
		return job.Failures[n-1].Error
	}
	return ""
}
