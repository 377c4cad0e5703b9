package jobs

import (
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/caddis-go/caddis/backend"
)

// What applies where neither the job nor its kind says otherwise.
const (
	// DefaultQueue is the queue.
	DefaultQueue = "default"
	// DefaultMaxAttempts is enough, with the default backoff, for three days.
	DefaultMaxAttempts = 25
	// DefaultMaxCrashes sets a job aside that took its worker down this often:
	// once or twice may be the machine's fault.
	DefaultMaxCrashes = 3
)

// Bounds of what goes along with a job.
const (
	maxTagLength   = 200
	maxLabelBytes  = 64 << 10
	minDuration    = time.Millisecond
	maxRetainedFor = backend.MaxDelay
)

// A KindOption is said of a kind, with [Handle] or [Declare].
type KindOption interface {
	applyToKind(*kindOptions) error
}

// An EnqueueOption is said of one job, with [Client.Enqueue] or [New], or of all jobs
// of a schedule.
type EnqueueOption interface {
	ScheduleOption
	applyToJob(*backend.NewJob) error
}

// An Option can be said of a kind and of one job. What is said of the job is
// stored with it and counts. What is not said is decided by the kind's options
// of the worker that runs the job, so that a new deployment can change it for
// the jobs that wait already; only queue and priority must be known at the
// enqueue and are taken from the kind's options of the client. Of an option that
// is given twice the last counts.
type Option interface {
	KindOption
	EnqueueOption
}

// kindOptions is what a kind says, as a template for its jobs.
type kindOptions struct {
	job     backend.NewJob
	backoff RetryPolicy
	unique  *uniqueness
	limits  []*limit
	fair    *fairness
}

type (
	option        func(*backend.NewJob) error
	enqueueOption func(*backend.NewJob) error
	kindOption    func(*kindOptions) error
)

func (o option) applyToKind(k *kindOptions) error           { return o(&k.job) }
func (o option) applyToJob(j *backend.NewJob) error         { return o(j) }
func (o enqueueOption) applyToJob(j *backend.NewJob) error  { return o(j) }
func (o kindOption) applyToKind(options *kindOptions) error { return o(options) }

func reject(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{backend.ErrRejected}, args...)...)
}

// Queue names the queue. The default is [DefaultQueue].
func Queue(name string) Option {
	return option(func(j *backend.NewJob) error {
		j.Queue = name
		if err := backend.CheckQueue(name); err != nil {
			return fmt.Errorf("Queue(%.120q): %w", name, err)
		}
		return nil
	})
}

// Priority goes from [backend.PriorityLowest] to [backend.PriorityHighest]. The
// default is [backend.PriorityNormal], 0. Within a queue, jobs of a higher
// priority are always taken first.
func Priority(p int) Option {
	return option(func(j *backend.NewJob) error {
		j.Priority = p
		if p < backend.PriorityLowest || p > backend.PriorityHighest {
			return reject("Priority(%d): give a number from %d to %d", p, backend.PriorityLowest, backend.PriorityHighest)
		}
		return nil
	})
}

// MaxAttempts is how often the job may fail before it is dead. 1 means that it
// is never tried again. The default is [DefaultMaxAttempts].
func MaxAttempts(n int) Option {
	return option(func(j *backend.NewJob) error {
		j.MaxAttempts = n
		return checkCount("MaxAttempts", n)
	})
}

// MaxCrashes is how often the job's worker may vanish while it runs the job
// before the job is dead. The default is [DefaultMaxCrashes]. More than
// [backend.MaxCrashes] are not counted: a higher number is no limit.
func MaxCrashes(n int) Option {
	return option(func(j *backend.NewJob) error {
		j.MaxCrashes = n
		return checkCount("MaxCrashes", n)
	})
}

func checkCount(name string, n int) error {
	if n < 1 || n > math.MaxInt32 {
		return reject("%s(%d): give a number from 1 to %d", name, n, math.MaxInt32)
	}
	return nil
}

// Timeout bounds one attempt: after it the context ends with the cause
// [ErrTimeout]. The shortest is 1 ms. The default is none.
func Timeout(d time.Duration) Option {
	return option(func(j *backend.NewJob) error {
		j.Timeout = d
		return checkDuration("Timeout", d, math.MaxInt64, "leave it out for none")
	})
}

// Retention is how long the job is kept once completed, with its result. The
// shortest is 1 ms, the longest 10 years. The default is the backend's retention
// policy, which as a rule forgets completed jobs at once.
func Retention(d time.Duration) Option {
	return option(func(j *backend.NewJob) error {
		j.Retention = d
		return checkDuration("Retention", d, maxRetainedFor, "leave it out for the backend's policy")
	})
}

// ExpireAfter is how long the job may wait, once due, for its first attempt.
// One that waited longer is cancelled with [ErrExpired] instead of being run.
// The shortest is 1 ms. The default is for ever.
func ExpireAfter(d time.Duration) Option {
	return option(func(j *backend.NewJob) error {
		j.ExpireAfter = d
		return checkDuration("ExpireAfter", d, math.MaxInt64, "leave it out to let the job wait for ever")
	})
}

func checkDuration(name string, d, longest time.Duration, hint string) error {
	switch {
	case d <= 0:
		return reject("%s(%v): give a positive duration, or %s", name, d, hint)
	case d < minDuration:
		return reject("%s(%v): the shortest is %v", name, d, minDuration)
	case d > longest:
		return reject("%s(%v): the longest is %v", name, d, longest)
	}
	return nil
}

// In delays the job by d, by the store's clock. It cannot be given with [At].
func In(d time.Duration) EnqueueOption {
	return enqueueOption(func(j *backend.NewJob) error {
		j.Delay = d
		if d < 0 || d > backend.MaxDelay {
			return reject("In(%v): give a delay from 0 to %v", d, backend.MaxDelay)
		}
		return nil
	})
}

// At makes the job due at an instant, by the store's clock; one in the past
// means now. It cannot be given with [In].
func At(t time.Time) EnqueueOption {
	return enqueueOption(func(j *backend.NewJob) error {
		j.At = t
		if t.IsZero() {
			return reject("At: the instant is zero; leave At out to run the job now")
		}
		return nil
	})
}

// Deadline is the instant after which the job must not run any more, by the
// store's clock. An attempt that reaches it has its context ended with the cause
// [ErrDeadline]; the job is then dead, as is one that is not started in time. An
// enqueue refuses a deadline that has passed by the clock of its machine, or passes
// before the job is due.
func Deadline(t time.Time) EnqueueOption {
	return enqueueOption(func(j *backend.NewJob) error {
		j.Deadline = t
		if t.IsZero() {
			return reject("Deadline: the instant is zero; leave Deadline out for none")
		}
		return nil
	})
}

// ID sets the id, unique within the queue, instead of a new one. To enqueue with
// an id that the queue holds stores nothing, so an enqueue can be repeated:
//
//   - While that job has not finished, or is kept as completed, the [Receipt] says
//     Existing and its state.
//   - If it is kept as dead or cancelled, nothing would run, so the enqueue fails with
//     [ErrFinished]. Give [ReplaceFinished] to have the new job take its place, or
//     revive the old one by [Client.Retry].
//
// The id is held as long as the store keeps the job and not longer. A completed job is
// forgotten at once unless its [Retention] keeps it, and the same id is then stored and
// run again: an id alone is no lock on doing something twice.
func ID(id string) EnqueueOption {
	return enqueueOption(func(j *backend.NewJob) error {
		j.ID = id
		if err := backend.CheckID(id); err != nil {
			return fmt.Errorf("ID(%.220q): %w", id, err)
		}
		return nil
	})
}

// ReplaceFinished lets the job take the place of a finished one, in whatever final
// state, that holds its id: that one is forgotten with its history and result. A job
// that has not finished is left as it is; the [Receipt] says Existing. Without an [ID]
// it does nothing.
//
// Such an enqueue that is repeated after a lost reply runs the job again if it was
// finished in between.
func ReplaceFinished() EnqueueOption {
	return enqueueOption(func(j *backend.NewJob) error {
		j.ReplaceFinished = true
		return nil
	})
}

// Tags adds words for people who look for the job: UTF-8, 1 to 200 bytes each.
func Tags(tags ...string) EnqueueOption {
	return enqueueOption(func(j *backend.NewJob) error {
		for _, tag := range tags {
			if tag == "" || len(tag) > maxTagLength || !utf8.ValidString(tag) {
				return reject("Tags(%.220q): give a tag of 1 to %d bytes of UTF-8", tag, maxTagLength)
			}
		}
		j.Tags = append(j.Tags[:len(j.Tags):len(j.Tags)], tags...)
		return nil
	})
}

// Header adds a header, which goes with the job to its handler: context such as
// a trace id. Both are UTF-8. Tags and headers of a job have at most 64 KiB.
func Header(key, value string) EnqueueOption {
	return enqueueOption(func(j *backend.NewJob) error {
		if key == "" || !utf8.ValidString(key) || !utf8.ValidString(value) {
			return reject("Header(%.220q, …): give a key that is not empty, and both in UTF-8", key)
		}
		if j.Headers == nil {
			j.Headers = make(map[string]string, 4)
		}
		j.Headers[key] = value
		return nil
	})
}

// Backoff says how long a failed job of this kind waits for its next attempt.
// The default is the zero [Exponential].
func Backoff(policy RetryPolicy) KindOption {
	return kindOption(func(k *kindOptions) error {
		k.backoff = policy
		if policy == nil {
			return reject("Backoff(nil): give a policy, or leave it out for the default")
		}
		if c, ok := policy.(interface{ Check() error }); ok {
			if err := c.Check(); err != nil {
				return reject("Backoff: %w", err)
			}
		}
		return nil
	})
}

// checkWhole says what is wrong with a job although each option was right.
func checkWhole(j *backend.NewJob, now time.Time) error {
	if j.Delay > 0 && !j.At.IsZero() {
		return reject("both In(%v) and At(%v) are given; give one", j.Delay, j.At)
	}
	if !j.Deadline.IsZero() {
		due := now.Add(j.Delay)
		if j.At.After(now) {
			due = j.At
		}
		switch {
		case !now.Before(j.Deadline):
			return reject("the deadline, %v, has passed %v ago: the job could not run", j.Deadline, now.Sub(j.Deadline).Round(time.Millisecond))
		case !due.Before(j.Deadline):
			return reject("due at %v, which is not before its deadline, %v", due, j.Deadline)
		}
	}
	size := 0
	for _, tag := range j.Tags {
		size += len(tag)
	}
	for key, value := range j.Headers {
		size += len(key) + len(value)
	}
	if size > maxLabelBytes {
		return reject("tags and headers have %d bytes, %d are allowed", size, maxLabelBytes)
	}
	return j.Check()
}
