package jobs

import (
	"context"

	"github.com/caddis-go/caddis/backend"
)

// A FairOption says more of [FairBy].
type FairOption func(*fairness) error

// fairness is what is said of the lane of a job.
type fairness struct {
	key    func(Args) (string, error)
	weight func(Args) (float64, error)
}

// FairBy has the jobs of a queue wait in lanes, one for each key, such as a tenant, which is
// taken from the args. Lanes have their turns one after the other: a tenant with a million
// jobs delays the first job of another one by about one job, and a lane without work costs
// nothing. It can be said of a kind and of one job.
//
//	jobs.Handle(registry, export, jobs.FairBy(func(e Export) string { return e.Tenant }))
//
// Jobs share a lane that are in the same queue and have the same key, be they of one kind or of
// several. Those without a lane, and those whose key is empty, are together one lane of weight
// 1. A higher [Priority] still comes first, and lanes are fair within each priority; where a
// queue in Redis has several shards, within each shard. What is shared out is starts: how
// long jobs run does not count, and with [Limit] a tenant is kept from taking all executors
// with long ones.
//
// People see the key where they look at the job: a text of more than 100 bytes, or with control
// characters, is replaced by its hash.
func FairBy[A Args](pick func(A) string, options ...FairOption) Option {
	f := &fairness{}
	if pick == nil {
		return wrong{reject("FairBy: the function is nil")}
	}
	f.key = func(args Args) (string, error) {
		a, err := argsOf[A]("FairBy", args)
		if err != nil {
			return "", err
		}
		return readable(pick(a)), nil
	}
	for i, o := range options {
		err := error(nil)
		if o == nil {
			err = reject("option %d is nil", i+1)
		} else {
			err = o(f)
		}
		if err != nil {
			return wrong{reject("FairBy: %w", err)}
		}
	}
	return fairOption{f}
}

// Weight is how many turns the lane has for one of a lane of weight 1, from
// [backend.MinWeight], 0.001, to [backend.MaxWeight], 1,000. The default is 1.
func Weight(w float64) FairOption {
	return func(f *fairness) error {
		f.weight = func(Args) (float64, error) { return w, nil }
		return checkWeight("Weight", w)
	}
}

// WeightBy takes the [Weight] from the args, such as the plan that a tenant pays for. What
// counts is the weight of the job whose turn it is.
func WeightBy[A Args](weight func(A) float64) FairOption {
	return func(f *fairness) error {
		if weight == nil {
			return reject("WeightBy: the function is nil; leave WeightBy out for a weight of 1")
		}
		f.weight = func(args Args) (float64, error) {
			a, err := argsOf[A]("WeightBy", args)
			if err != nil {
				return 0, err
			}
			w := weight(a)
			return w, checkWeight("WeightBy", w)
		}
		return nil
	}
}

func checkWeight(name string, w float64) error {
	if !(w >= backend.MinWeight && w <= backend.MaxWeight) {
		return reject("%s(%v): give a number from %v to %d", name, w, backend.MinWeight, backend.MaxWeight)
	}
	return nil
}

type fairOption struct{ *fairness }

func (o fairOption) applyToKind(k *kindOptions) error {
	k.fair = o.fairness
	return nil
}

// applyToJob leaves it to Client.build, which knows the args.
func (o fairOption) applyToJob(*backend.NewJob) error { return nil }

func (o fairOption) applyToSchedule(d *draft) error {
	d.job = append(d.job, o)
	return nil
}

// laneOf is the lane of one job.
func laneOf(k *kind, options []EnqueueOption, args Args) (lane backend.Lane, err error) {
	var f *fairness
	if k != nil {
		f = k.options.fair
	}
	for _, o := range options {
		if fair, ok := o.(fairOption); ok {
			f = fair.fairness
		}
	}
	if f == nil {
		return lane, nil
	}
	if lane.Key, err = f.key(args); err != nil || lane.Key == "" {
		return lane, err
	}
	if f.weight != nil {
		lane.Weight, err = f.weight(args)
	}
	return lane, err
}

// LanesInfo tells which lanes of a queue have jobs that wait.
type LanesInfo = backend.LanesInfo

// Lanes tells which lanes of a queue have jobs that wait, those with most jobs first, at most
// [backend.MaxLanes] of the first [backend.LanesLook]. A queue without any has no entries.
func (c *Client) Lanes(ctx context.Context, queue string) (LanesInfo, error) {
	return c.backend.Lanes(ctx, backend.LanesQuery{Queue: queue})
}
