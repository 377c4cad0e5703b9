package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// A UniqueOption says more of [Unique].
type UniqueOption func(*uniqueness) error

// uniqueness is what is said of the key of a job.
type uniqueness struct {
	backend.Unique
	// fields picks from the args what makes the key; nil takes all of them.
	fields func(Args) (any, error)
	period time.Duration
}

// Unique lets a queue hold one job at a time of a kind and its args. If it holds one
// already, an enqueue stores nothing: the [Receipt] names that one as its Holder, and its
// Duplicate method answers true. It can be said of a kind and of one job.
//
// By itself it looks at all args, encoded as JSON, and the key is held until the job has
// finished, be it completed, cancelled or dead; while it is tried again it is held. The
// store gets a hash only. Two jobs of different queues never meet.
//
//	jobs.Unique()                                          // one at a time
//	jobs.Unique(jobs.UntilStarted(), jobs.Replace())       // debounce: the newest waits
//	jobs.Unique(jobs.HoldFor(time.Hour))                   // once an hour at most
//
// With a [Limit] of one slot and the same key, the second one is keep-the-last: one job
// runs, and the newest waits.
//
// The decision is one step with the enqueue, and the hold ends in the step that ends it, so
// there is no lock that could be left behind.
func Unique(options ...UniqueOption) Option {
	u := uniqueness{Unique: backend.Unique{Hold: backend.HoldUntilFinished}}
	for i, o := range options {
		var err error
		if o == nil {
			err = reject("Unique: option %d is nil", i+1)
		} else {
			err = o(&u)
		}
		if err != nil {
			return wrong{err}
		}
	}
	return uniqueOption{&u}
}

// wrong is an option that cannot be applied.
type wrong struct{ error }

func (w wrong) applyToKind(*kindOptions) error   { return w.error }
func (w wrong) applyToJob(*backend.NewJob) error { return w.error }
func (w wrong) applyToSchedule(*draft) error     { return w.error }

type uniqueOption struct{ *uniqueness }

func (o uniqueOption) applyToKind(k *kindOptions) error { k.unique = o.uniqueness; return nil }

// applyToJob leaves the hold and the conflict; Client.build makes the key, when the queue is known.
func (o uniqueOption) applyToJob(j *backend.NewJob) error { j.Unique = o.Unique; return nil }

func (o uniqueOption) applyToSchedule(*draft) error {
	return reject("Unique is not said of a schedule: its Overlap says what happens while the last job has not finished")
}

// UntilStarted ends the hold when a worker first takes the job, so that the next one may
// wait while this one runs. A job that is tried again does not take the key again.
func UntilStarted() UniqueOption {
	return func(u *uniqueness) error { u.Hold, u.For = backend.HoldUntilStarted, 0; return nil }
}

// HoldFor holds the key for d from the enqueue on, by the store's clock, whatever becomes of the
// job. The shortest is 1 ms, the longest 10 years.
func HoldFor(d time.Duration) UniqueOption {
	return func(u *uniqueness) error {
		u.Hold, u.For = backend.HoldForTime, d
		return checkDuration("HoldFor", d, backend.MaxDelay, "leave it out to hold the key until the job has finished")
	}
}

// Replace has the new job take the place of the holder, with its args, delay and priority,
// as long as that has not started: the debounce. It keeps the holder's id. Once the holder
// has started nothing is stored; with [UntilStarted] the new one is then stored for itself.
func Replace() UniqueOption {
	return func(u *uniqueness) error { u.Conflict = backend.ConflictReplace; return nil }
}

// By makes the key of what pick takes from the args, instead of all of them. What it returns
// is encoded as JSON; nil makes all jobs of the kind one.
func By[A Args](pick func(A) any) UniqueOption {
	return func(u *uniqueness) error {
		if pick == nil {
			return reject("By: the function is nil; leave By out to take all args")
		}
		u.fields = func(args Args) (any, error) {
			a, ok := args.(A)
			if !ok {
				var want A
				return nil, reject("By takes its fields from args of type %T, and these are a %T", want, args)
			}
			return pick(a), nil
		}
		return nil
	}
}

// Per makes a key of its own for each period, counted from 1970 in UTC by the clock of the
// machine that enqueues: with an hour, one job per full hour and args.
func Per(period time.Duration) UniqueOption {
	return func(u *uniqueness) error {
		u.period = period
		return checkDuration("Per", period, backend.MaxDelay, "leave it out")
	}
}

// key makes the key of a job: a hash over texts that each have their length in front, so
// that no two lists of texts are encoded alike.
func (u *uniqueness) key(job *backend.NewJob, args Args, now time.Time) (key backend.Key, err error) {
	picked := any(args)
	if u.fields != nil {
		if picked, err = u.fields(args); err != nil {
			return key, err
		}
	}
	text, err := json.Marshal(picked)
	if err != nil {
		return key, reject("Unique: what makes the key cannot be encoded as JSON: %T", err)
	}
	if again, err := json.Marshal(picked); err != nil || !bytes.Equal(text, again) {
		return key, reject("Unique: the JSON of what makes the key is another each time, so that no two jobs would meet; take fields that are encoded alike with jobs.By")
	}
	hash := sha256.New()
	write := func(text []byte) {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		_, _ = hash.Write(text)
	}
	write([]byte(job.Queue))
	write([]byte(job.Kind))
	write(text)
	if u.period > 0 {
		write(binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano()/int64(u.period))))
	}
	return backend.Key(hash.Sum(nil)[:len(key)]), nil
}
