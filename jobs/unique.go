package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"reflect"
	"slices"
	"sync"
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
// By itself it looks at all args, encoded as JSON; if fields of them have the tag
// `caddis:"unique"`, at those alone, and with [By] at what a function picks. The key is held
// until the job has finished, be it completed, cancelled or dead; while it is tried again it is held. The
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
//
// Of a schedule it is said of the jobs, too: an instant at which another job holds the key is
// skipped. [Per] then goes by the instant. In a queue of several shards the jobs of a schedule
// cannot have keys, and its ticks fail.
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

func (o uniqueOption) applyToSchedule(d *draft) error { d.job = append(d.job, o); return nil }

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
// as long as that has not started: the debounce, counted from the last edit, so that what is
// edited without a pause is put off without end. It keeps the holder's id. Once the holder
// has started nothing is stored; with [UntilStarted] the new one is then stored for itself.
func Replace() UniqueOption {
	return func(u *uniqueness) error { u.Conflict = backend.ConflictReplace; return nil }
}

// By makes the key of what pick takes from the args, instead of all of them or of those with
// the tag. What it returns
// is encoded as JSON; nil makes all jobs of the kind one.
func By[A Args](pick func(A) any) UniqueOption {
	return func(u *uniqueness) error {
		if pick == nil {
			return reject("By: the function is nil; leave By out to take all args")
		}
		u.fields = func(args Args) (any, error) {
			a, err := argsOf[A]("By", args)
			if err != nil {
				return nil, err
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

// uniqueness is what is said of the keys of jobs of a kind, by their own options foremost; nil
// if nothing is.
func (k *kind) uniqueness(options []EnqueueOption) (u *uniqueness) {
	if k != nil {
		u = k.options.unique
	}
	for _, o := range options {
		if o, ok := o.(uniqueOption); ok {
			u = o.uniqueness
		}
	}
	return u
}

// digest is a hash of what makes the key of a job, over texts that each have their length in
// front, so that no two lists of texts are encoded alike.
func (u *uniqueness) digest(job *backend.Job, args Args) (digest []byte, err error) {
	fields := u.fields
	if fields == nil {
		fields = tagged
	}
	picked, err := fields(args)
	if err != nil {
		return digest, err
	}
	text, err := json.Marshal(picked)
	if err != nil {
		return digest, reject("Unique: what makes the key cannot be encoded as JSON: %T", err)
	}
	if again, err := json.Marshal(picked); err != nil || !bytes.Equal(text, again) {
		return digest, reject("Unique: the JSON of what makes the key is another each time, so that no two jobs would meet; take fields that are encoded alike with jobs.By")
	}
	var all []byte
	for _, text := range [][]byte{[]byte(job.Queue), []byte(job.Kind), text} {
		all = append(binary.BigEndian.AppendUint64(all, uint64(len(text))), text...)
	}
	sum := sha256.Sum256(all)
	return sum[:], nil
}

// keyAt is the key of a digest, if there is a period that of the instant.
func keyAt(digest []byte, period time.Duration, at time.Time) (key backend.Key) {
	if period > 0 {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(slices.Clone(digest), uint64(at.UnixNano()/int64(period))))
		digest = sum[:]
	}
	return backend.Key(digest[:len(key)])
}

// uniqueTag is the tag of the fields that make the key.
const uniqueTag = "unique"

// tags has the fields of a type of args that have the tag, or the error of a wrong one.
var tags sync.Map // reflect.Type to *tagging

type tagging struct {
	fields []reflect.StructField
	err    error
}

// taggingOf reads the tags of a type.
func taggingOf(t reflect.Type) *tagging {
	if known, ok := tags.Load(t); ok {
		return known.(*tagging)
	}
	found := &tagging{}
	args := t
	if t.Kind() == reflect.Pointer {
		args = t.Elem()
	}
	if args.Kind() == reflect.Struct {
		for _, field := range reflect.VisibleFields(args) {
			switch tag, ok := field.Tag.Lookup("caddis"); {
			case !ok:
			case tag != uniqueTag:
				found.err = reject("the field %s of %v has the tag caddis:%q; the only one is caddis:%q", field.Name, args, tag, uniqueTag)
			case !field.IsExported():
				found.err = reject("the field %s of %v has the tag caddis:%q, but is not exported, so that no worker would know it", field.Name, args, tag)
			default:
				found.fields = append(found.fields, field)
			}
		}
	}
	known, _ := tags.LoadOrStore(t, found)
	return known.(*tagging)
}

// tagged takes the fields with the tag, by name; if none has it, all args.
func tagged(args Args) (any, error) {
	t := taggingOf(reflect.TypeOf(args))
	if t.err != nil || len(t.fields) == 0 {
		return args, t.err
	}
	value := reflect.Indirect(reflect.ValueOf(args))
	picked := make(map[string]any, len(t.fields))
	for _, field := range t.fields {
		picked[field.Name] = nil
		if v, err := value.FieldByIndexErr(field.Index); err == nil { // of an embedded nil it is none
			picked[field.Name] = v.Interface()
		}
	}
	return picked, nil
}
