package backend

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of the input. They keep one call from holding up a store that others
// wait for.
const (
	// MaxBatch is the largest number of jobs, leases or ids in one call.
	MaxBatch = 10_000
	// MaxPayload is the largest payload in bytes.
	MaxPayload = 4 << 20
	// MaxBatchBytes bounds the payloads of one call together.
	MaxBatchBytes = 64 << 20
	// MaxIDLength and MaxNameLength (queues, kinds) are in bytes.
	MaxIDLength   = 200
	MaxNameLength = 100
	// MaxDelay is the longest delay.
	MaxDelay = 10 * 365 * 24 * time.Hour
	// MaxCrashes is up to how many crashes of a job are counted; a job that may crash
	// more often than that has no limit.
	MaxCrashes = 255
	// MaxCheckpoint is the largest checkpoint in bytes.
	MaxCheckpoint = 64 << 10
	// MaxLogs is how many records of a log a History holds, MaxLogBytes how many bytes
	// their texts may have together.
	MaxLogs     = 100
	MaxLogBytes = 16 << 10
	// MaxFailures is how many failures a History holds; the oldest go first.
	MaxFailures = 20
	// MaxBlockedKeys is how many keys a LeaseReply lists.
	MaxBlockedKeys = 100
	// MaxSweepKeys is how many keys a SweepRequest may name.
	MaxSweepKeys = 1000
	// DefaultPage and MaxPage are the sizes of pages.
	DefaultPage = 50
	MaxPage     = 1000
	// MaxPageBytes bounds the jobs of a page together, their histories included,
	// unless it has one job only. A store may stop sooner.
	MaxPageBytes = 4 << 20
	// MaxLease is the longest lease; MinLease the shortest.
	MaxLease = 24 * time.Hour
	MinLease = 100 * time.Millisecond
)

func reject(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRejected}, args...)...)
}

// CheckQueue says what is wrong with the name of a queue.
func CheckQueue(name string) error {
	if err := checkName("queue", name); err != nil {
		return err
	}
	return checkLetters("queue name", name, "_-.")
}

// CheckKind says what is wrong with the name of a kind.
func CheckKind(name string) error {
	if err := checkName("kind", name); err != nil {
		return err
	}
	return checkLetters("kind", name, "_-.:/")
}

func checkLetters(what, name, others string) error {
	for i, c := range name {
		if isAlphanumeric(c) || c < utf8.RuneSelf && strings.IndexByte(others, byte(c)) >= 0 {
			continue
		}
		return reject("%s %q has %q at byte %d; letters from a to z, digits and %s are allowed",
			what, name, c, i, strings.Join(strings.Split(others, ""), " "))
	}
	return nil
}

func checkName(what, name string) error {
	if name == "" {
		return reject("the %s has no name", what)
	}
	if len(name) > MaxNameLength {
		return reject("the name of the %s has %d bytes, %d are allowed: %q…", what, len(name), MaxNameLength, head(name))
	}
	return nil
}

// head is the beginning of a long text, up to a whole character.
func head(text string) string {
	n := min(20, len(text))
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// isPlain reports whether a text has only printable characters of ASCII, as most have.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// CheckID says what is wrong with the id of a job.
func CheckID(id string) error {
	if id == "" {
		return reject("the job has no id")
	}
	return checkText("id", id)
}

// Check says what is wrong with a job that is to be stored. All backends call it
// before they write.
func (j *NewJob) Check() error {
	if err := CheckID(j.ID); err != nil {
		return err
	}
	if err := CheckQueue(j.Queue); err != nil {
		return err
	}
	if err := CheckKind(j.Kind); err != nil {
		return err
	}
	switch {
	case len(j.Payload) > MaxPayload:
		return reject("the payload has %d bytes, %d are allowed; store large data elsewhere and enqueue where it is", len(j.Payload), MaxPayload)
	case len(j.Codec) > MaxNameLength:
		return reject("the name of the codec has %d bytes, %d are allowed", len(j.Codec), MaxNameLength)
	case j.Priority < PriorityLowest || j.Priority > PriorityHighest:
		return reject("priority %d; it goes from %d to %d", j.Priority, PriorityLowest, PriorityHighest)
	case j.Delay < 0:
		return reject("a delay of %v; it cannot be negative", j.Delay)
	case j.Delay > MaxDelay:
		return reject("a delay of %v; at most %v are allowed", j.Delay, MaxDelay)
	case j.Delay > 0 && !j.At.IsZero():
		return reject("both a delay (%v) and an instant (%v); give one", j.Delay, j.At)
	case !j.At.IsZero() && time.Until(j.At) > MaxDelay:
		return reject("due at %v; at most %v ahead are allowed", j.At, MaxDelay)
	case j.MaxAttempts < 0, j.MaxAttempts > math.MaxInt32:
		return reject("%d attempts at most; give a number from 1, or 0 for the default", j.MaxAttempts)
	case j.MaxCrashes < 0, j.MaxCrashes > math.MaxInt32:
		return reject("%d crashes at most; give a number from 1, or 0 for the default", j.MaxCrashes)
	case j.Timeout < 0:
		return reject("a timeout of %v; it cannot be negative", j.Timeout)
	case j.ExpireAfter < 0:
		return reject("expiry after %v; it cannot be negative", j.ExpireAfter)
	case j.Retention < 0:
		return reject("a retention of %v; it cannot be negative", j.Retention)
	case !expressible(j.At):
		return reject("due in the year %d; the years go from 0 to 9999", j.At.Year())
	case !expressible(j.Deadline):
		return reject("a deadline in the year %d; the years go from 0 to 9999", j.Deadline.Year())
	}
	if err := checkLimits(j.Limits); err != nil {
		return err
	}
	if err := j.Lane.check(); err != nil {
		return err
	}
	return j.Unique.check()
}

// expressible reports whether an instant is one that every store and JSON can write.
func expressible(t time.Time) bool {
	second := t.Unix()
	return yearZero <= second && second < year10000
}

var (
	yearZero  = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	year10000 = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
)

// CheckJobs says what is wrong with a batch of jobs, naming the first bad one.
func CheckJobs(jobs []NewJob) error {
	if len(jobs) > MaxBatch {
		return reject("%d jobs in one call, %d are allowed", len(jobs), MaxBatch)
	}
	size := 0
	for i := range jobs {
		if err := jobs[i].Check(); err != nil {
			return &Error{Op: "enqueue", Queue: jobs[i].Queue, ID: jobs[i].ID, Err: fmt.Errorf("job %d of %d: %w", i+1, len(jobs), err)}
		}
		size += len(jobs[i].Payload)
	}
	if size > MaxBatchBytes {
		return reject("payloads of %d bytes in one call, %d are allowed", size, MaxBatchBytes)
	}
	return nil
}

// Check says what is wrong with a request for leases.
func (r *LeaseRequest) Check() error {
	if err := CheckLease(r.Duration); err != nil {
		return err
	}
	switch {
	case r.Worker == "":
		return reject("the lease names no worker")
	case !strings.HasPrefix(r.Token, r.Worker+"."):
		return reject("token %q does not begin with the worker's id and a dot", r.Token)
	case strings.ContainsRune(r.Token, 0):
		return reject("token %q has a NUL byte", r.Token)
	case len(r.Queues) == 0:
		return reject("the lease names no queue")
	case r.Max < 0 || r.Max > MaxBatch:
		return reject("%d leases in one call, 0 to %d are allowed", r.Max, MaxBatch)
	case r.Ahead < 0 || r.Ahead > r.Max:
		return reject("%d of %d jobs leased ahead; give a number from 0 to Max", r.Ahead, r.Max)
	}
	for _, key := range r.Unblock {
		if err := checkForeign(key); err != nil {
			return err
		}
	}
	return CheckQueues(r.Queues)
}

// Check says what is wrong with a request for housekeeping.
func (r *SweepRequest) Check() error {
	if err := CheckLease(r.Duration); err != nil {
		return err
	}
	if len(r.Keys) > MaxSweepKeys {
		return reject("%d keys in one call, %d are allowed; ask for them in turns", len(r.Keys), MaxSweepKeys)
	}
	for _, key := range r.Keys {
		if err := checkKey(key); err != nil {
			return err
		}
	}
	for _, queue := range r.First {
		if !slices.Contains(r.Queues, queue) {
			return reject("queue %q is to be swept first and is not among the queues", queue)
		}
	}
	return CheckQueues(r.Queues)
}

// checkKey says what is wrong with a key that blocked jobs wait for.
func checkKey(key string) error {
	switch {
	case key == "":
		return reject("a key without a name")
	case len(key) > 2*MaxNameLength:
		return reject("the key %q… has %d bytes, %d are allowed", head(key), len(key), 2*MaxNameLength)
	case strings.ContainsRune(key, 0):
		return reject("key %q has a NUL byte", key)
	}
	return checkForeign(key)
}

// checkForeign keeps callers from the keys of parked jobs.
func checkForeign(key string) error {
	if strings.HasPrefix(key, parkPrefix) {
		return reject("key %q begins with %q, which is for jobs that are parked at a limit", key, parkPrefix)
	}
	return nil
}

// CheckQueues says what is wrong with a list of queues.
func CheckQueues(queues []string) error {
	seen := make(map[string]bool, len(queues))
	for _, q := range queues {
		if err := CheckQueue(q); err != nil {
			return err
		}
		if seen[q] {
			return reject("queue %q is named twice", q)
		}
		seen[q] = true
	}
	return nil
}

// CheckLease says what is wrong with the duration of leases.
func CheckLease(d time.Duration) error {
	if d < MinLease || d > MaxLease {
		return reject("a lease of %v; it goes from %v to %v", d, MinLease, MaxLease)
	}
	return nil
}

// CheckPause says what is wrong with the pause of a queue.
func CheckPause(queue string, d time.Duration) error {
	if err := CheckQueue(queue); err != nil {
		return err
	}
	if d < 0 || d > MaxDelay {
		return reject("a pause of %v; give a time of up to %v, or 0 for one until it is ended", d, MaxDelay)
	}
	return nil
}

// Check says what is wrong with a settlement.
func (s *Settlement) Check() error {
	switch {
	case s.Outcome.String() == "invalid":
		return reject("outcome %d is none", s.Outcome)
	case s.Delay < 0:
		return reject("a delay of %v; it cannot be negative", s.Delay)
	case s.Delay > MaxDelay:
		return reject("a delay of %v; at most %v are allowed", s.Delay, MaxDelay)
	case s.Outcome == OutcomeBlocked && s.Key == "":
		return reject("blocked without a key")
	}
	if s.Key != "" {
		if err := checkKey(s.Key); err != nil {
			return err
		}
	}
	if s.History != nil {
		return s.History.check()
	}
	return nil
}

func (h *History) check() error {
	switch {
	case h.Attempts < 0, h.Attempts > math.MaxInt32, h.Snoozes < 0, h.Snoozes > math.MaxInt32,
		h.AttemptLimit < 0, h.AttemptLimit > math.MaxInt32:
		return reject("a history of %d attempts of %d and %d snoozes; they go from 0 to %d", h.Attempts, h.AttemptLimit, h.Snoozes, math.MaxInt32)
	case len(h.Checkpoint) > MaxCheckpoint:
		return reject("a checkpoint of %d bytes, %d are allowed; store large data elsewhere and save where it is", len(h.Checkpoint), MaxCheckpoint)
	case !expressible(h.StartedAt), !expressible(h.FinishedAt):
		return reject("an attempt from the year %d to the year %d; the years go from 0 to 9999", h.StartedAt.Year(), h.FinishedAt.Year())
	}
	size := 0
	for i := range h.Logs {
		size += len(h.Logs[i].Text)
		if at := h.Logs[i].At; !expressible(at) {
			return reject("record %d of the log is of the year %d; the years go from 0 to 9999", i+1, at.Year())
		}
	}
	if len(h.Logs) > MaxLogs || size > MaxLogBytes {
		return reject("a log of %d records with %d bytes; %d with %d bytes are allowed", len(h.Logs), size, MaxLogs, MaxLogBytes)
	}
	for i := range h.Failures {
		if at := h.Failures[i].At; !expressible(at) {
			return reject("failure %d of the history is of the year %d; the years go from 0 to 9999", i+1, at.Year())
		}
	}
	return nil
}

// CheckHistory says what is wrong with a history that is to be stored for a job that is
// held.
func CheckHistory(held Held, history *History) error {
	if err := CheckQueue(held.Queue); err != nil {
		return err
	}
	return history.check()
}

// Check says what is wrong with a query and sets its default limit.
func (q *JobsQuery) Check() error {
	if err := CheckQueue(q.Queue); err != nil {
		return err
	}
	if q.Limit == 0 {
		q.Limit = DefaultPage
	}
	if q.Limit < 0 || q.Limit > MaxPage {
		return reject("a page of %d jobs; 1 to %d are allowed", q.Limit, MaxPage)
	}
	for _, s := range States {
		if s == q.State {
			return nil
		}
	}
	return reject("there is no state %q; the states are %v", q.State, States)
}

// Fill replaces each zero Retention by the default one and says what is wrong
// with the rest.
func (p RetentionPolicy) Fill() (RetentionPolicy, error) {
	for _, r := range []struct {
		state State
		have  *Retention
		or    Retention
	}{
		{StateCompleted, &p.Completed, DefaultRetention.Completed},
		{StateCancelled, &p.Cancelled, DefaultRetention.Cancelled},
		{StateDead, &p.Dead, DefaultRetention.Dead},
	} {
		if *r.have == (Retention{}) {
			*r.have = r.or
		}
		if r.have.Count < 0 || r.have.Age < 0 || r.have.Bytes < 0 {
			return p, reject("retention of %s jobs: %+v; nothing in it can be negative", r.state, *r.have)
		}
	}
	return p, nil
}
