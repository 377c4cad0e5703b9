package operate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// MaxGroups is how many groups of errors are told apart; what comes after them is counted
// in Others.
const MaxGroups = 500

// ErrorGroup are jobs of one queue and kind that failed last in the same way: with the same
// first line, but for numbers, names in quotes and ids in it, and if they panicked, at the
// same place.
type ErrorGroup struct {
	// ID names the group in a [Filter].
	ID    string `json:"id"`
	Queue string `json:"queue"`
	Kind  string `json:"kind"`
	// Text is what they have in common, Frame where they panicked.
	Text  string `json:"text"`
	Frame string `json:"frame,omitempty"`
	// Jobs is how many were found, First and Last when the first and the last of them
	// failed, Sample the last of them.
	Jobs   int       `json:"jobs"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
	Sample string    `json:"sample"`
}

// ErrorScan sums up the errors of the jobs in one state, of all queues that it is given. It
// goes through them a page at a time, as far as [ErrorScan.Step] is called; it must not be
// used concurrently.
type ErrorScan struct {
	client *jobs.Client
	state  backend.State
	// queues are those that are still to be read, the first from cursor on.
	queues []string
	cursor string

	groups map[string]*ErrorGroup
	looked int64
	total  int64
	others int
}

// NewErrorScan begins one. The state is one in which jobs have failed: dead, or scheduled
// for those that will be tried again.
func NewErrorScan(client *jobs.Client, queues []backend.QueueInfo, state backend.State) *ErrorScan {
	s := &ErrorScan{client: client, state: state, groups: map[string]*ErrorGroup{}}
	for i := range queues {
		if n := queues[i].Counts[state]; n > 0 {
			s.queues, s.total = append(s.queues, queues[i].Name), s.total+n
		}
	}
	return s
}

// Step reads one page, and reports whether there are more. An error leaves the scan where
// it was, so that the step may be repeated.
func (s *ErrorScan) Step(ctx context.Context) (more bool, err error) {
	if len(s.queues) == 0 {
		return false, nil
	}
	page, err := s.client.Jobs(ctx, backend.JobsQuery{Queue: s.queues[0], State: s.state, Cursor: s.cursor, Limit: backend.MaxPage})
	if errors.Is(err, backend.ErrNotFound) {
		page, err = jobs.JobsPage{}, nil // the queue has gone meanwhile
	}
	if err != nil {
		return true, err
	}
	for i := range page.Jobs {
		s.looked++
		s.add(&page.Jobs[i].JobInfo)
	}
	if s.cursor = page.Next; s.cursor == "" {
		s.queues = s.queues[1:]
	}
	return len(s.queues) > 0, nil
}

func (s *ErrorScan) add(job *backend.JobInfo) {
	if len(job.Failures) == 0 && s.state != backend.StateDead {
		return // it has not failed
	}
	at := job.FinishedAt
	if n := len(job.Failures); n > 0 {
		at = job.Failures[n-1].At
	}
	key := groupOf(job)
	id := key.id()
	g := s.groups[id]
	if g == nil {
		if len(s.groups) == MaxGroups {
			s.others++
			return
		}
		g = &ErrorGroup{ID: id, Queue: key.queue, Kind: key.kind, Text: key.text, Frame: key.frame, First: at, Last: at, Sample: job.ID}
		s.groups[id] = g
	}
	g.Jobs++
	if at.Before(g.First) {
		g.First = at
	}
	if at.After(g.Last) {
		g.Last, g.Sample = at, job.ID
	}
}

// Groups are what was found so far, the largest first.
func (s *ErrorScan) Groups() []ErrorGroup {
	groups := make([]ErrorGroup, 0, len(s.groups))
	for _, g := range s.groups {
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b ErrorGroup) int {
		return cmp.Or(cmp.Compare(b.Jobs, a.Jobs), b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID))
	})
	return groups
}

// Looked is how many jobs were read, Of how many there were when the scan began, and Others
// how many of those that were read are in no group, as there are too many.
func (s *ErrorScan) Looked() int64 { return s.looked }
func (s *ErrorScan) Of() int64     { return s.total }
func (s *ErrorScan) Others() int   { return s.others }

// groupKey is what the jobs of a group have in common.
type groupKey struct{ queue, kind, text, frame string }

func (k groupKey) id() string {
	sum := sha256.Sum256([]byte(k.queue + "\x00" + k.kind + "\x00" + k.text + "\x00" + k.frame))
	return hex.EncodeToString(sum[:8])
}

func groupOf(job *backend.JobInfo) groupKey {
	k := groupKey{queue: job.Queue, kind: job.Kind, text: "no error was kept"}
	if n := len(job.Failures); n > 0 {
		k.text, k.frame = common(job.Failures[n-1].Error), frame(job.Failures[n-1].Stack)
	}
	return k
}

// maxCommon bounds what groups have in common, in bytes.
const maxCommon = 200

// varying is what differs from job to job in errors that are the same: what is in quotes,
// ids, addresses and numbers. Before them it finds codes, which are kept: a number of three
// digits that stands where codes do.
var varying = regexp.MustCompile(`(?:: |\b(?i:status|code|http|error) )\d{3}\b|"[^"]*"|'[^']*'|` +
	`\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b0x[0-9a-fA-F]+\b|\b[0-9A-HJKMNP-TV-Z]{26}\b|\b[0-9a-f]{16,}\b|\d(?:[\d.:]*\d)?`)

var code = regexp.MustCompile(`^(?:: |\pL+ )\d{3}$`)

// common is the first line of an error without what varies.
func common(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if len(line) > 4*maxCommon {
		line = line[:4*maxCommon]
	}
	const before = ": " // a code may come first
	line = varying.ReplaceAllStringFunc(before+strings.TrimSpace(line), func(found string) string {
		switch {
		case found[0] == '"', found[0] == '\'':
			return found[:1] + "…" + found[:1]
		case code.MatchString(found):
			return found
		}
		return "#"
	})[len(before):]
	if len(line) > maxCommon {
		line = line[:maxCommon]
	}
	return strings.ToValidUTF8(line, "")
}

// frame is the place of a panic: the first line of its stack, without arguments, and the
// file, without the folder that it was built in.
func frame(stack string) string {
	stack = strings.TrimSpace(stack)
	if first, rest, found := strings.Cut(stack, "\n"); found && strings.HasPrefix(first, "goroutine ") {
		stack = rest
	}
	lines := strings.SplitN(stack, "\n", 3)
	if lines[0] == "" {
		return ""
	}
	function := lines[0]
	if i := strings.LastIndexByte(function, '('); i > 0 {
		function = function[:i]
	}
	if len(lines) > 1 {
		file, _, _ := strings.Cut(strings.TrimSpace(lines[1]), " +0x")
		function += " " + file[strings.LastIndexAny(file, `/\`)+1:]
	}
	if len(function) > maxCommon {
		function = function[:maxCommon]
	}
	return strings.ToValidUTF8(function, "")
}
