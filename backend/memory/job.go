package memory

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// job is one stored job. It is in exactly one list, the one of its state, and
// where its state has a time of its own also in a heap.
type job struct {
	backend.Job
	state   backend.State
	crashes int
	// history is nil before the first settlement or progress.
	history *backend.History
	// body and past are the sizes of the job and of its history in bytes.
	body, past int64

	// The place in a list: see list.
	in         *list
	prev, next *job
	pos        int64

	// at is what its heap is ordered by: when a scheduled job is due, until
	// when a finished one is kept. place is its index in the heap.
	at    int64
	place int

	// The lease of a running job.
	token, worker string
	// expires is by the clock of the leases.
	expires         time.Duration
	cancelRequested bool
	// ahead is set if the job was leased ahead.
	ahead bool

	// unique is the key that the job holds or has held, until it has finished; started is
	// set once it was leased.
	unique  backend.Unique
	started bool

	// standings are those in its Limits, until it has finished. parkedAs is its number among
	// those that were parked, from then on until it is leased; parkedAt is where it is parked.
	standings []standing
	// lane is the one in which the job waits; returned is set while it waits because it came
	// back to the front.
	lane     *lane
	returned bool
	parkedAs int64
	parkedAt *pair
}

func (j *job) size() int64 { return j.body + j.past }

// blockedOn is the key that a blocked job waits for.
func (j *job) blockedOn() string {
	if j.state != backend.StateBlocked {
		return ""
	}
	return j.in.key
}

// clone copies what a caller could otherwise change behind the store's back.
func clone(j backend.Job) backend.Job {
	j.Payload = bytes.Clone(j.Payload)
	j.Tags = slices.Clone(j.Tags)
	j.Headers = maps.Clone(j.Headers)
	j.Limits = slices.Clone(j.Limits)
	return j
}

func cloneHistory(h *backend.History) backend.History {
	if h == nil {
		return backend.History{}
	}
	c := *h
	c.Failures = slices.Clone(c.Failures)
	c.Logs = slices.Clone(c.Logs)
	c.Result = bytes.Clone(c.Result)
	c.Progress = bytes.Clone(c.Progress)
	c.Checkpoint = bytes.Clone(c.Checkpoint)
	return c
}

// setHistory replaces the history and cuts its failures to what is kept.
func (j *job) setHistory(h *backend.History) {
	c := cloneHistory(h)
	if n := len(c.Failures) - backend.MaxFailures; n > 0 {
		c.Failures = slices.Clone(c.Failures[n:])
	}
	j.history = &c
	j.past = historySize(&c)
}

func (j *job) setProgress(progress []byte) {
	if j.history == nil {
		j.history = &backend.History{}
	}
	j.past += int64(len(progress) - len(j.history.Progress))
	j.history.Progress = bytes.Clone(progress)
}

// lease is what a worker gets of a running job. Zero is the instant at which the
// clock of the leases began.
func (j *job) lease(zero int64) backend.Lease {
	return backend.Lease{
		Job:       clone(j.Job),
		Token:     j.token,
		History:   cloneHistory(j.history),
		Crashes:   j.crashes,
		ExpiresAt: instant(zero + int64(j.expires)),
	}
}

func (j *job) info(zero int64) backend.JobInfo {
	info := backend.JobInfo{
		Job:       clone(j.Job),
		State:     j.state,
		History:   cloneHistory(j.history),
		Crashes:   j.crashes,
		BlockedOn: j.blockedOn(),
	}
	switch {
	case j.state == backend.StateScheduled:
		info.ScheduledFor = instant(j.at)
	case j.state == backend.StateRunning:
		info.LeasedBy = j.worker
		info.Token = j.token
		info.LeaseExpiresAt = instant(zero + int64(j.expires))
		info.CancelRequested = j.cancelRequested
	case j.state.Final():
		info.KeptUntil = instant(j.at)
	}
	return info
}

func bodySize(j *backend.Job) int64 {
	n := len(j.ID) + len(j.Kind) + len(j.Codec) + len(j.Payload) + len(j.Lane.Key)
	for _, tag := range j.Tags {
		n += len(tag)
	}
	for k, v := range j.Headers {
		n += len(k) + len(v)
	}
	for i := range j.Limits {
		n += len(j.Limits[i].Class) + len(j.Limits[i].Key)
	}
	return int64(n)
}

func historySize(h *backend.History) int64 {
	n := len(h.Result) + len(h.Progress) + len(h.Checkpoint) + len(h.Worker)
	for i := range h.Logs {
		n += len(h.Logs[i].Text)
	}
	for i := range h.Failures {
		f := &h.Failures[i]
		n += len(f.Error) + len(f.Stack) + len(f.Worker)
	}
	return int64(n)
}
