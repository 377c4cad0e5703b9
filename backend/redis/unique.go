package redis

import (
	"fmt"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// misplaced says what is wrong with a job whose id lies in another shard than its key, or
// than that of its limits.
func (q *queue) misplaced(n *backend.NewJob) error {
	if len(q.tags) > 1 && len(n.Limits) > 0 {
		return q.scattered(n)
	}
	if len(q.tags) == 1 || !n.Unique.Held() || backend.ShardKey(n.ID) == n.Unique.Key.String() {
		return nil
	}
	return fmt.Errorf("%w: the queue has %d shards, and a job with a unique key has to be in that of its key: leave the id out, or make it by backend.KeyedID",
		backend.ErrRejected, len(q.tags))
}

// addUnique adds what a script is to know of a job's key: hold, key, time and conflict.
func (c *call) addUnique(u *backend.Unique) {
	if !u.Held() {
		c.add("", "", 0, "k")
		return
	}
	hold := map[backend.Hold]string{
		backend.HoldUntilFinished: "f", backend.HoldUntilStarted: "s", backend.HoldForTime: "t",
	}[u.Hold]
	conflict := "k"
	if u.Conflict == backend.ConflictReplace {
		conflict = "r"
	}
	c.add(hold, u.Key.String(), millis(u.For), conflict)
}

// meet puts the holder of the key into a receipt.
func meet(r *backend.Receipt, holder string) {
	if r.Holder = holder; r.Duplicate() {
		r.Replaced, r.Existing = !r.Existing, false
	}
}

// runBound carries cargos of which some have unique keys, limits or lanes.
func (f *flight) runBound(send sender) (string, error) {
	call := f.tag.call(enqueueUnique, f.producer, 1+9*f.jobs)
	call.add(f.number)
	for _, c := range f.cargos {
		for i := range c.jobs {
			call.add(&c.jobs[i].id, c.jobs[i].when, c.jobs[i].body)
			bond := c.jobs[i].bond
			call.addUnique(&bond.unique)
			call.add(bond.limits, bond.lane)
		}
	}
	reply, err := send(f.fitted(call))
	if err != nil {
		return "", err
	}
	answer, ok := reply.([]any)
	if !ok || len(answer) != 3 {
		return "", fmt.Errorf("%w: the store answered %T", backend.ErrUnavailable, reply)
	}
	letters, holders := asString(answer[1]), strings.Split(asString(answer[2]), "\n")
	if len(letters) != f.jobs || len(holders) != f.jobs {
		return "", fmt.Errorf("%w: %d answers and %d holders to %d jobs", backend.ErrUnavailable, len(letters), len(holders), f.jobs)
	}
	f.tag.clock.set(asInt(answer[0]))
	f.holders = holders
	if f.doubtful {
		letters = f.ours(letters)
	}
	return letters, nil
}
