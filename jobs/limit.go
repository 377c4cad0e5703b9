package jobs

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddis-go/caddis/backend"
)

// LimitInfo says how it stands with a limit.
type LimitInfo = backend.LimitInfo

// ErrLimited means that an enqueue was refused by a limit that says [Refuse]: nothing was
// stored, and it may succeed later.
var ErrLimited = backend.ErrLimited

// A LimitOption says more of [Limit].
type LimitOption func(*limit) error

// limit is what is said of one limit of a job.
type limit struct {
	backend.Limit
	// key and cost take what they say from the args.
	key  func(Args) (string, error)
	cost func(Args) (int, error)
}

// Limit bounds how many jobs run at a time, or are started in a period, in the whole fleet,
// whatever the number of workers. It can be said of a kind and of one job, several times with
// different names, at most [backend.MaxLimits]; all of them count. Jobs share a limit that are
// in the same queue and name it, be they of one kind or of several.
//
//	jobs.Limit("api", jobs.Slots(3))               // 3 at a time
//	jobs.Limit("api", jobs.Rate(100, time.Second)) // 100 per second
//	jobs.Limit("tenant", jobs.Slots(3), jobs.LimitBy(func(r Report) string { return r.Tenant }))
//
// A job for which there is no room is parked: it stands in nobody's way, and is handed out as
// soon as there is room, of those parked at a limit the one of the highest priority that was
// parked first. [Client.Explain] says what it waits for. See [Refuse] for jobs that are not to
// wait.
//
// A slot is not a lock: that a job runs is what counts, and what ends that, a worker that
// vanishes too, frees the slot in the same step. The numbers of the job that was enqueued last
// count, until [Client.SetLimit] sets others.
func Limit(name string, options ...LimitOption) Option {
	l := limit{Limit: backend.Limit{Class: name}}
	err := backend.CheckClass(name)
	for i, o := range options {
		if err != nil {
			break
		}
		if o == nil {
			err = reject("option %d is nil", i+1)
		} else {
			err = o(&l)
		}
	}
	if err == nil {
		err = l.complete()
	}
	if err != nil {
		return wrong{reject("Limit(%.120q): %w", name, err)}
	}
	return limitOption{&l}
}

// complete fills in what follows from the rest, and says what is wrong with it.
func (l *limit) complete() error {
	r := &l.Rule
	if r.Burst == 0 && r.Rate > 0 {
		r.Burst = int(max(1, int64(math.Min(float64(r.Rate)*float64(defaultBurst)/float64(r.Per), backend.MaxSlots))))
	}
	return r.Check()
}

// defaultBurst is in which time as many tokens come as a rate keeps by itself: so many that
// workers which are a little late miss none.
const defaultBurst = 50 * time.Millisecond

type limitOption struct{ *limit }

func (o limitOption) applyToKind(k *kindOptions) error {
	k.limits = o.among(k.limits)
	return nil
}

// applyToJob leaves it to Client.build, which knows the args.
func (o limitOption) applyToJob(*backend.NewJob) error { return nil }

func (o limitOption) applyToSchedule(d *draft) error {
	d.job = append(d.job, o)
	return nil
}

// among adds a limit to others, in the place of one of its name.
func (l *limit) among(others []*limit) []*limit {
	all := slices.DeleteFunc(slices.Clone(others), func(o *limit) bool { return o.Class == l.Class })
	return append(all, l)
}

// Slots is how many jobs may run at a time, for each key.
func Slots(n int) LimitOption {
	return func(l *limit) error {
		if l.Rule.Slots = n; n < 1 || n > backend.MaxSlots {
			return reject("Slots(%d): give a number from 1 to %d, or leave it out", n, backend.MaxSlots)
		}
		return nil
	}
}

// Rate is how many attempts may begin in each period, for each key, evenly spread: a tenth in a
// tenth of it. What was not used is kept up to a [Burst].
func Rate(n int, per time.Duration) LimitOption {
	return func(l *limit) error {
		if l.Rule.Rate, l.Rule.Per = n, per; n < 1 || per <= 0 {
			return reject("Rate(%d, %v): give a number from 1, and a positive period", n, per)
		}
		return nil
	}
}

// Burst is how many attempts may begin at once after a while without any. The default is as
// many as come in 50 ms, and 1 at least.
func Burst(n int) LimitOption {
	return func(l *limit) error {
		if l.Rule.Burst = n; n < 1 {
			return reject("Burst(%d): give a number from 1, or leave it out", n)
		}
		return nil
	}
}

// Cost is for how many attempts of a [Rate] one attempt counts. The default is 1.
func Cost(n int) LimitOption {
	return func(l *limit) error {
		l.cost = func(Args) (int, error) { return n, nil }
		return checkCost("Cost", n)
	}
}

func checkCost(name string, n int) error {
	if n < 1 || n > backend.MaxCost {
		return reject("%s(%d): give a number from 1 to %d", name, n, backend.MaxCost)
	}
	return nil
}

// CostBy takes the [Cost] from the args.
func CostBy[A Args](cost func(A) int) LimitOption {
	return func(l *limit) error {
		if cost == nil {
			return reject("CostBy: the function is nil; leave CostBy out for a cost of 1")
		}
		l.cost = func(args Args) (int, error) {
			a, err := argsOf[A]("CostBy", args)
			if err != nil {
				return 0, err
			}
			n := cost(a)
			return n, checkCost("CostBy", n)
		}
		return nil
	}
}

// LimitBy has the limit apply to each key by itself, such as a tenant or an account, which is
// taken from the args. People see the key where they look at the job: a text of more than 100
// bytes, or with control characters, is replaced by its hash.
func LimitBy[A Args](pick func(A) string) LimitOption {
	return func(l *limit) error {
		if pick == nil {
			return reject("LimitBy: the function is nil; leave LimitBy out for one limit for all")
		}
		l.key = func(args Args) (string, error) {
			a, err := argsOf[A]("LimitBy", args)
			if err != nil {
				return "", err
			}
			return readable(pick(a)), nil
		}
		return nil
	}
}

// readable is a text as a key takes it.
func readable(key string) string {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if len(key) <= backend.MaxNameLength && utf8.ValidString(key) && !strings.ContainsFunc(key, control) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// argsOf returns args of the type that a function takes, also if one of the two is a pointer
// to the other.
func argsOf[A Args](option string, args Args) (a A, err error) {
	if a, ok := args.(A); ok {
		return a, nil
	}
	if pointer, ok := any(args).(*A); ok && pointer != nil {
		return *pointer, nil
	}
	if want := reflect.TypeFor[A](); want.Kind() == reflect.Pointer && want.Elem() == reflect.TypeOf(args) {
		pointer := reflect.New(want.Elem())
		pointer.Elem().Set(reflect.ValueOf(args))
		return pointer.Interface().(A), nil
	}
	return a, reject("%s takes args of type %T, and these are a %T", option, a, args)
}

// Refuse has an enqueue for which there is no room answered with [ErrLimited], instead of
// parking the job. What counts is then what is enqueued: a job has its slot from the enqueue
// until it is completed, cancelled, dead or deleted, and its token is spent by the enqueue.
func Refuse() LimitOption {
	return func(l *limit) error {
		if l.Hold == backend.SlotUntilFinished {
			return reject("Refuse and UntilFinished: give one")
		}
		l.Hold = backend.SlotOnceEnqueued
		return nil
	}
}

// UntilFinished has a job keep its slot from its first start until it is completed, cancelled
// or dead, also while it waits to be tried again. A job has at most one such limit.
func UntilFinished() LimitOption {
	return func(l *limit) error {
		if l.Hold == backend.SlotOnceEnqueued {
			return reject("Refuse and UntilFinished: give one")
		}
		l.Hold = backend.SlotUntilFinished
		return nil
	}
}

// InOrder has the jobs of a key go one after the other, in the order in which they come to
// wait, whatever the number of workers: the next one starts when the one before is completed,
// cancelled or dead, and not while that waits to be tried again. Jobs of several kinds are in
// one order if they are in the same queue and have the same key. A higher [Priority] comes
// first, and a delayed job is in line when it is due.
//
//	jobs.Handle(registry, book, jobs.InOrder(func(b Booking) string { return b.Account }))
func InOrder[A Args](pick func(A) string) Option {
	return Limit("order", Slots(1), UntilFinished(), LimitBy(pick))
}

// limits are those of one job.
func (c *Client) limits(k *kind, options []EnqueueOption, args Args) ([]backend.Limit, error) {
	var all []*limit
	if k != nil {
		all = k.options.limits
	}
	for _, o := range options {
		if l, ok := o.(limitOption); ok {
			all = l.among(all)
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	limits := make([]backend.Limit, len(all))
	for i, l := range all {
		limits[i] = l.Limit
		var err error
		if l.key != nil {
			limits[i].Key, err = l.key(args)
		}
		if l.cost != nil && err == nil {
			limits[i].Cost, err = l.cost(args)
		}
		if err != nil {
			return nil, reject("Limit(%q): %w", l.Class, err)
		}
	}
	// The one that is kept comes first, see backend.SlotUntilFinished.
	slices.SortStableFunc(limits, func(a, b backend.Limit) int { return -cmp.Compare(kept(a), kept(b)) })
	return limits, nil
}

func kept(l backend.Limit) int {
	if l.Hold == backend.SlotUntilFinished {
		return 1
	}
	return 0
}

// SetLimit sets the numbers of a limit in a queue for the whole fleet, whatever the programs
// say: [Slots], [Rate] and [Burst]. What is not given is not limited. What is parked is looked
// at again at once.
func (c *Client) SetLimit(ctx context.Context, queue, name string, options ...LimitOption) error {
	const op = "set limit"
	l := limit{Limit: backend.Limit{Class: name}}
	for i, o := range options {
		if o == nil {
			return &Error{Op: op, Err: reject("option %d is nil", i+1)}
		}
		if err := o(&l); err != nil {
			return &Error{Op: op, Err: err}
		}
	}
	if l.key != nil || l.cost != nil || l.Hold != 0 {
		return &Error{Op: op, Err: reject("only Slots, Rate and Burst are set; what is taken from the args, and how long a slot is held, is said where jobs are enqueued")}
	}
	if err := l.complete(); err != nil {
		return &Error{Op: op, Err: err}
	}
	return c.backend.SetLimit(ctx, queue, name, &l.Rule)
}

// ResetLimit undoes SetLimit: what the programs say counts again.
func (c *Client) ResetLimit(ctx context.Context, queue, name string) error {
	return c.backend.SetLimit(ctx, queue, name, nil)
}

// Limit tells how it stands with a limit of a queue: who has a slot, how many are parked, when
// the next token comes. The key is empty for a limit without keys. The error is
// [backend.ErrNotFound] if the queue has never had a job with a limit of this name.
func (c *Client) Limit(ctx context.Context, queue, name, key string) (LimitInfo, error) {
	return c.backend.Limit(ctx, backend.LimitQuery{Queue: queue, Class: name, Key: readable(key)})
}
