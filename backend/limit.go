package backend

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// MaxLimits is how many limits a job has at most.
	MaxLimits = 4
	// MaxSlots and MaxCost bound the numbers of a limit.
	MaxSlots = 1_000_000
	MaxCost  = 1_000_000
	// MaxHolders is how many holders a LimitInfo names.
	MaxHolders = 100
)

// Limit is something of which a queue has only so much: so many jobs of a class and key may
// run at a time, or be started in a period. A class has the numbers, a key is the instance
// that they are for, such as a tenant; a class without keys is one instance.
//
// A job runs when there is room in all its limits. Lease finds that out, in the step that
// hands the job out, and sets a job aside for which there is no room: it is parked. It is
// StateBlocked, waits where nothing looks at it, and is looked at again when there is room:
// of those parked at one limit, the one of the highest priority first, then the one that was
// parked first.
//
// A slot is not taken and given back: that a job runs is what counts, in the very step that
// changes its state, so no slot can be left behind. Each attempt costs tokens of a rate; a
// job that is handed back, or blocked as its kind was not known, returns them.
type Limit struct {
	// Class is named as a queue is.
	Class string `json:"class"`
	// Key is text for people too, of at most MaxNameLength bytes; empty for the one
	// instance of a class without keys.
	Key string `json:"key,omitempty"`
	// Cost is how many tokens of a rate an attempt costs; 0 means 1.
	Cost int `json:"cost,omitempty"`
	// Hold is for how long the job has a slot.
	Hold SlotHold `json:"hold,omitempty"`
	// Rule is what the program says of the class. The job that was stored last decides, and
	// what is set by SetLimit counts more.
	Rule LimitRule `json:"rule,omitzero"`
}

// SlotHold is for how long a job has its slot.
type SlotHold uint8

const (
	// SlotWhileRunning is the slot of a job that runs.
	SlotWhileRunning SlotHold = iota
	// SlotUntilFinished is the slot of a job from its first lease on until it is completed,
	// cancelled, dead or deleted, be it that it is tried again, put off or handed back: with
	// one slot, jobs of a key go one after the other in the order in which they came to wait.
	// It has to be the first limit of a job. The job has it also while it is parked at another
	// one.
	SlotUntilFinished
	// SlotOnceEnqueued is the slot of a job from its enqueue on until it is finished. Where
	// there is no room, or no token, the enqueue is refused with ErrLimited.
	SlotOnceEnqueued
)

// LimitRule is the numbers of a class. The zero rule is no limit.
type LimitRule struct {
	// Slots is how many jobs may have a slot at a time, for each key; 0 for any number.
	Slots int `json:"slots,omitempty"`
	// Rate is how many tokens come in each Per, for each key, evenly; 0 for no rate.
	Rate int           `json:"rate,omitempty"`
	Per  time.Duration `json:"per,omitempty"`
	// Burst is how many tokens are kept while none is wanted; 0 means 1. A job that costs
	// more waits until that many would have come.
	Burst int `json:"burst,omitempty"`
}

// Limiter sets and reads limits.
type Limiter interface {
	// SetLimit has a rule count for a class, whatever the programs say, until it is called
	// with nil. What is parked is looked at again, in bounded steps.
	SetLimit(ctx context.Context, queue, class string, rule *LimitRule) error
	// Limit tells how it stands with a class and key. It is ErrNotFound if the queue has never
	// had a job of the class, and no rule was set for it.
	Limit(ctx context.Context, query LimitQuery) (LimitInfo, error)
}

// LimitQuery asks for a limit.
type LimitQuery struct {
	Queue, Class, Key string
	// Job is the id of a job whose place is asked for; it may be empty.
	Job string
}

// LimitInfo is how it stands with a limit.
type LimitInfo struct {
	Queue string `json:"queue"`
	Class string `json:"class"`
	Key   string `json:"key,omitempty"`
	// Rule is what counts: Fleet if that was set, else Code.
	Rule  LimitRule  `json:"rule"`
	Code  LimitRule  `json:"code"`
	Fleet *LimitRule `json:"fleet,omitempty"`
	// Held counts the jobs that have a slot. Holders are the ids of some, by id, at most
	// MaxHolders.
	Held    int      `json:"held"`
	Holders []string `json:"holders,omitempty"`
	// Parked counts the jobs that wait for room here. Place is that of the job asked for
	// among them, from 1; 0 if it is not parked here.
	Parked int `json:"parked"`
	Place  int `json:"place,omitempty"`
	// NextToken is when there is a token for a job that costs one; zero if there is one now,
	// or if there is no rate.
	NextToken time.Time `json:"next_token,omitzero"`
	// Now is the store's clock.
	Now time.Time `json:"now"`
}

// parkPrefix begins the keys at which jobs are parked. Callers cannot use such keys.
const parkPrefix = "limit:"

// Pair names the instance: the class and the key.
func (l *Limit) Pair() string { return l.Class + "/" + l.Key }

// ParkKey is what a job that is parked at the instance of a pair is blocked on.
func ParkKey(pair string) string { return parkPrefix + pair }

// PairOf reads the class and key from what a parked job is blocked on; ok is false if that is
// no limit.
func PairOf(blockedOn string) (class, key string, ok bool) {
	pair, ok := strings.CutPrefix(blockedOn, parkPrefix)
	if ok {
		class, key, ok = strings.Cut(pair, "/")
	}
	return class, key, ok
}

// Tokens is how many tokens an attempt costs.
func (l *Limit) Tokens() int { return max(1, l.Cost) }

// interval is in how many microseconds so many tokens come. It is computed with floating
// point, as the scripts of Redis do.
func (r *LimitRule) interval(tokens int) int64 { return int64(r.lasts(tokens)) }

func (r *LimitRule) lasts(tokens int) float64 {
	return math.Ceil(float64(tokens) * float64(r.Per.Microseconds()) / float64(r.Rate))
}

// longestWait is for how long tokens may have to come, in microseconds.
const longestWait = float64(MaxDelay / time.Microsecond)

// Spend says when an attempt that costs so many tokens may begin, and what becomes of the
// bucket if it begins now. The bucket is one number, the instant in microseconds at which it
// is full again: the theoretical arrival time of the generic cell rate algorithm.
func (r *LimitRule) Spend(full, now int64, tokens int) (allowed, then int64) {
	then = max(full, now) + r.interval(tokens)
	return then - r.interval(max(r.Burst, tokens)), then
}

// Refund is what becomes of the bucket when tokens come back that were spent when it became
// then. If they have come anew meanwhile there is nothing to put back.
func (r *LimitRule) Refund(full, now, then int64, tokens int) int64 {
	if r.Rate == 0 || then <= now {
		return full
	}
	return full - r.interval(tokens)
}

// Check says what is wrong with the numbers of a class.
func (r *LimitRule) Check() error {
	switch {
	case r.Slots < 0 || r.Slots > MaxSlots:
		return reject("%d slots; give a number from 1 to %d, or 0 for no bound", r.Slots, MaxSlots)
	case r.Rate < 0 || r.Burst < 0:
		return reject("a rate of %d with a burst of %d; neither can be negative", r.Rate, r.Burst)
	case r.Rate == 0 && (r.Per != 0 || r.Burst != 0):
		return reject("a period of %v and a burst of %d without a rate; give a rate, or leave them out", r.Per, r.Burst)
	case r.Rate == 0:
		return nil
	case r.Per <= 0 || r.Per > MaxDelay:
		return reject("a rate of %d per %v; give a period of up to %v", r.Rate, r.Per, MaxDelay)
	case r.Per.Microseconds() < int64(r.Rate):
		return reject("a rate of %d per %v; one per microsecond is the highest", r.Rate, r.Per)
	case r.lasts(r.Burst) > longestWait:
		return reject("a burst of %d at %d per %v would take longer than %v to come", r.Burst, r.Rate, r.Per, MaxDelay)
	}
	return nil
}

// CheckClass says what is wrong with the name of a class.
func CheckClass(name string) error {
	if err := checkName("limit", name); err != nil {
		return err
	}
	return checkLetters("limit", name, "_-.")
}

func checkLimitKey(key string) error { return checkReadable("limit", key) }

// checkReadable says what is wrong with the key of a limit or a lane.
func checkReadable(of, key string) error {
	switch {
	case len(key) > MaxNameLength:
		return reject("the key of a %s has %d bytes, %d are allowed; take a hash of it: %q…", of, len(key), MaxNameLength, head(key))
	case !utf8.ValidString(key):
		return reject("the key %q of a %s is not UTF-8", key, of)
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return reject("the key %q of a %s has a control character", key, of)
	}
	return nil
}

// Check says what is wrong with a query.
func (q *LimitQuery) Check() error {
	if err := CheckQueue(q.Queue); err != nil {
		return err
	}
	if err := CheckClass(q.Class); err != nil {
		return err
	}
	return checkLimitKey(q.Key)
}

// CheckSetLimit says what is wrong with a rule that is to be set.
func CheckSetLimit(queue, class string, rule *LimitRule) error {
	if err := CheckQueue(queue); err != nil {
		return err
	}
	if err := CheckClass(class); err != nil {
		return err
	}
	if rule == nil {
		return nil
	}
	return rule.Check()
}

func checkLimits(limits []Limit) error {
	if len(limits) > MaxLimits {
		return reject("%d limits; a job has at most %d", len(limits), MaxLimits)
	}
	for i := range limits {
		l := &limits[i]
		if err := CheckClass(l.Class); err != nil {
			return err
		}
		err := checkLimitKey(l.Key)
		if err == nil {
			err = l.Rule.Check()
		}
		switch {
		case err != nil:
			return err
		case l.Cost < 0 || l.Cost > MaxCost:
			return reject("limit %q: a cost of %d; give a number from 1 to %d, or 0 for 1", l.Class, l.Cost, MaxCost)
		case l.Rule.Rate > 0 && l.Rule.lasts(l.Tokens()) > longestWait:
			return reject("limit %q: %d tokens at %d per %v would take longer than %v to come", l.Class, l.Tokens(), l.Rule.Rate, l.Rule.Per, MaxDelay)
		case l.Hold > SlotOnceEnqueued:
			return reject("limit %q: hold %d of a slot is none", l.Class, l.Hold)
		case l.Hold == SlotUntilFinished && i > 0:
			return reject("limit %q is held until the job has finished and is number %d of its limits; it has to be the first, and there can be one", l.Class, i+1)
		case slices.ContainsFunc(limits[:i], func(other Limit) bool { return other.Class == l.Class && (other.Key == l.Key || other.Rule != l.Rule) }):
			return reject("limit %q is given twice, with the same key or another rule", l.Class)
		}
	}
	return nil
}

// LimitKey is what the id of a job with limits of a key is made of, by KeyedID, where a queue
// has several shards: so all jobs of the key are in the same one.
func LimitKey(key string) Key {
	sum := sha256.Sum256([]byte("limit\x00" + key))
	return Key(sum[:len(Key{})])
}

// Refusal is the error of an enqueue that the limit refuses.
func (l *Limit) Refusal() error {
	if l.Key == "" {
		return fmt.Errorf("%w: there is no room in %q", ErrLimited, l.Class)
	}
	return fmt.Errorf("%w: there is no room in %q for %q", ErrLimited, l.Class, l.Key)
}
