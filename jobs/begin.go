package jobs

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

const blockPrefix = "kind:"

// BlockKey is the key that jobs of a kind without a handler wait for.
func BlockKey(kind string) string { return blockPrefix + kind }

// KindOfBlockKey undoes BlockKey; ok is false if the key is for something else.
func KindOfBlockKey(key string) (kind string, ok bool) { return strings.CutPrefix(key, blockPrefix) }

// Begin says how a leased job is to be run. When it is not to be run at all, run
// is nil and refusal says what becomes of it:
//
//   - what is stored of it cannot be read: dead;
//   - its kind has no handler here: blocked, until a worker that knows the kind
//     asks for it by its [BlockKey];
//   - it took MaxCrashes workers down: dead, with ErrCrashed in its history;
//   - its deadline has passed: dead, with ErrDeadline, as work that was to be
//     done by then has not been;
//   - it waited for its first attempt longer than ExpireAfter: cancelled, with
//     ErrExpired, as that option says that nobody wants it any more.
//
// now is the store's time. The lease must not change until Do has called done.
// Begin does not decode the payload; Do does, and a job whose payload is
// unusable ends dead.
func (r *Registry) Begin(lease *backend.Lease, now time.Time, worker string) (run *Run, refusal *backend.Settlement) {
	job := &lease.Job
	if lease.Err != nil {
		return nil, refuse(lease, backend.OutcomeDead, now, worker, "what is stored of the job cannot be read: "+errorText(lease.Err))
	}
	k := r.kind(job.Kind)
	if k == nil || k.begin == nil {
		blocked := settle(lease, backend.OutcomeBlocked)
		blocked.Key = BlockKey(job.Kind)
		return nil, &blocked
	}
	said := &k.options.job
	if limit := cmp.Or(job.MaxCrashes, said.MaxCrashes, DefaultMaxCrashes); lease.Crashes >= limit {
		return nil, refuse(lease, backend.OutcomeDead, now, worker,
			fmt.Sprintf("%v, %d times, and %d are the limit", ErrCrashed, lease.Crashes, limit))
	}
	if !job.Deadline.IsZero() && !now.Before(job.Deadline) {
		return nil, refuse(lease, backend.OutcomeDead, now, worker,
			fmt.Sprintf("%v %v ago, before this attempt could start", ErrDeadline, now.Sub(job.Deadline)))
	}
	if limit := cmp.Or(job.ExpireAfter, said.ExpireAfter); limit > 0 && untried(lease) && now.Sub(job.DueAt) > limit {
		return nil, refuse(lease, backend.OutcomeCancelled, now, worker,
			fmt.Sprintf("%v: %v, and %v are the limit", ErrExpired, now.Sub(job.DueAt), limit))
	}

	run = k.begin()
	run.registry, run.kind, run.lease = r, k, lease
	run.codec = r.codec(job.Codec)
	run.startedAt = now
	run.maxAttempts = cmp.Or(job.MaxAttempts, said.MaxAttempts, DefaultMaxAttempts)
	run.keep = cmp.Or(job.Retention, said.Retention)
	run.timeout, run.timeoutCause = bound(cmp.Or(job.Timeout, said.Timeout), job.Deadline, now)
	info := run.info
	info.ID, info.Kind, info.Queue, info.Priority = job.ID, job.Kind, job.Queue, job.Priority
	info.Attempt, info.MaxAttempts = lease.Attempt(), run.maxAttempts
	info.Crashes, info.Snoozes = lease.Crashes, lease.History.Snoozes
	info.EnqueuedAt, info.DueAt, info.Deadline = job.EnqueuedAt, job.DueAt, job.Deadline
	info.Tags, info.Headers = job.Tags, job.Headers
	info.Failures = lease.History.Failures
	info.Worker = worker
	return run, nil
}

// untried reports whether no attempt of the job has begun that the store knows
// of. A job that was ended once and is retried by hand has failures in its
// history and does not expire again.
func untried(lease *backend.Lease) bool {
	h := &lease.History
	return h.Attempts == 0 && h.Snoozes == 0 && len(h.Failures) == 0 && lease.Crashes == 0
}

// bound says what ends an attempt first.
func bound(timeout time.Duration, deadline, now time.Time) (time.Duration, error) {
	if !deadline.IsZero() {
		if left := deadline.Sub(now); timeout == 0 || left < timeout {
			return left, ErrDeadline
		}
	}
	if timeout == 0 {
		return 0, nil
	}
	return timeout, ErrTimeout
}

func settle(lease *backend.Lease, outcome backend.Outcome) backend.Settlement {
	return backend.Settlement{Queue: lease.Job.Queue, ID: lease.Job.ID, Token: lease.Token, Outcome: outcome}
}

// refuse ends a job that is not run; no attempt is counted.
func refuse(lease *backend.Lease, outcome backend.Outcome, now time.Time, worker, reason string) *backend.Settlement {
	s := settle(lease, outcome)
	h := lease.History
	h.Worker = worker
	h.FinishedAt = now
	h.Failures = addFailure(h.Failures, backend.Failure{
		Attempt: lease.Attempt(), At: now, Worker: worker, Error: boundText(reason, maxErrorText),
	})
	s.History = &h
	return &s
}
