package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// patrols divides the sweeps of many tags: each takes the turn of those that were swept
// longest ago, so many that all had theirs within a patrol.
type patrols struct{ last atomic.Int64 }

// choose picks the tags to sweep.
func (p *patrols) choose(queues []*queue, first []string) (picked []*tag) {
	tags := tagsOf(queues)
	if len(tags) <= few {
		return tags
	}
	now := instant()
	since := now - p.last.Swap(now)
	turns := min(len(tags), max(few/4, int(int64(len(tags))*since/patrol.Milliseconds())))
	var others []*tag
	for _, t := range tags {
		if t.toSweep(now) || slices.Contains(first, t.queue) {
			picked = append(picked, t)
		} else {
			others = append(others, t)
		}
	}
	slices.SortFunc(others, func(a, b *tag) int { return cmp.Compare(a.swept.Load(), b.swept.Load()) })
	return append(picked, others[:min(turns, len(others))]...)
}

// Sweep implements backend.Consumer.
//
// In a Cluster it sweeps all tags: there the beats that it leaves are all that tells
// whether a server was away (see lib/grace.lua).
func (b *Backend) Sweep(ctx context.Context, request backend.SweepRequest) (backend.SweepReply, error) {
	var reply backend.SweepReply
	if err := request.Check(); err != nil {
		return reply, b.fail("sweep", "", err)
	}
	keys := slices.Compact(slices.Sorted(slices.Values(request.Keys)))
	queues, err := b.enter(ctx, request.Queues)
	if err != nil {
		return reply, b.fail("sweep", "", err)
	}
	tags := tagsOf(queues)
	if !b.derive.clustered() {
		tags = b.patrols.choose(queues, request.First)
	}
	calls := make([]*call, len(tags))
	for i, t := range tags {
		c := t.call(sweepScript, "", 3+len(keys))
		c.add(request.Duration.Milliseconds(), b.retention, b.proofFor(request.Duration))
		for i := range keys {
			c.add(keys[i])
		}
		calls[i] = c
	}
	if err := b.run(ctx, calls...); err != nil {
		return reply, b.fail("sweep", "", err)
	}
	var failed error
	left := 0
	for i, c := range calls {
		answer, err := c.result()
		if spoilt(err) {
			if left++; left < len(calls) {
				tags[i].cleaned(-1, -1)
				b.setAside("sweep", tags[i], err)
				continue
			}
		}
		r, ok := answer.([]any)
		if err == nil && (!ok || len(r) != 7) {
			err = fmt.Errorf("%w: the sweep was answered by %T", backend.ErrUnavailable, answer)
		}
		if err != nil {
			// One queue with a fault must not keep the others from being swept.
			failed = b.fail("sweep", "", err)
			continue
		}
		reply.Reclaimed += int(asInt(r[0]))
		reply.Trimmed += int(asInt(r[1]))
		reply.More = reply.More || asInt(r[2]) == 1
		found, _ := r[3].([]any)
		for _, key := range found {
			reply.Blocked = append(reply.Blocked, asString(key))
		}
		tags[i].cleaned(asInt(r[4]), asInt(r[5]))
		tags[i].schedules.Store(asInt(r[6]))
	}
	slices.Sort(reply.Blocked)
	reply.Blocked = slices.Compact(reply.Blocked)
	now := instant()
	for _, t := range tagsOf(queues) {
		reply.Schedules += uint64(t.schedules.Load())
		if at := t.expires.Load(); at != 0 {
			next := time.Duration(max(1, at-now)) * time.Millisecond
			if reply.Next == 0 || next < reply.Next {
				reply.Next = next
			}
		}
	}
	return reply, failed
}
