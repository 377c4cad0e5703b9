package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Lease implements backend.Consumer.
func (b *Backend) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	return b.lease(ctx, request, news{})
}

// lease is Lease of who may have heard bells.
func (b *Backend) lease(ctx context.Context, request backend.LeaseRequest, heard news) (backend.LeaseReply, error) {
	var reply backend.LeaseReply
	if err := request.Check(); err != nil {
		return reply, b.fail("lease", "", err)
	}
	queues, err := b.enter(ctx, request.Queues)
	if err != nil {
		return reply, b.fail("lease", "", err)
	}
	plan := b.plans.plan(&request, queues, heard)
	keys := unblocks(&request)

	tags := tagsOf(queues)
	for part, asked := 1, plan.tags; len(asked) > 0; part++ {
		shots, err := b.leaseRound(ctx, &request, plan, part, asked, keys)
		if err != nil {
			return backend.LeaseReply{}, err
		}
		repeated := false
		more := map[*tag]bool{}
		for i, shot := range shots {
			repeated = repeated || shot.repeated
			more[asked[i]] = part == 1 && len(keys) > 0 && len(shot.blocked) > 0 && !shot.paused
			shot.merge(&reply, asked[i])
		}
		missing := request.Max - len(reply.Leases)
		if missing <= 0 || repeated || part > 1 && !slices.ContainsFunc(shots, (*shot).took) {
			break
		}
		var rest []*tag
		for _, t := range tags {
			if t.left.Load() > 0 || more[t] {
				rest = append(rest, t)
			}
		}
		plan.shares = secondShares(rest, missing)
		asked = slices.DeleteFunc(rest, func(t *tag) bool { return plan.shares[t] == 0 })
		b.plans.extend(&request, asked)
	}
	finish(&reply, &request, tags, plan.tags)
	return reply, nil
}

// unblocks returns the keys to unblock, each once: the scripts cannot take one twice.
func unblocks(request *backend.LeaseRequest) []string {
	return slices.Compact(slices.Sorted(slices.Values(request.Unblock)))
}

// finish puts in what the tags together make known, those that were not asked too.
func finish(reply *backend.LeaseReply, request *backend.LeaseRequest, tags, asked []*tag) {
	now := instant()
	for _, t := range tags {
		reply.More = reply.More || t.left.Load() > 0
		if len(asked) == len(tags) || slices.Contains(asked, t) {
			continue
		}
		if at := t.due.Load(); at != 0 {
			due(reply, reply.Now.Add(time.Duration(at-now)*time.Millisecond))
		}
		if t.paused.Load() {
			paused(reply, t.queue)
		}
	}
	for i := range reply.Leases {
		reply.Leases[i].Token = request.Token
	}
	reply.Blocked = distinct(reply.Blocked)
}

// distinct orders the keys of blocked jobs of several tags, each once, and at
// most as many as a reply lists.
func distinct(keys []string) []string {
	slices.Sort(keys)
	keys = slices.Compact(keys)
	return keys[:min(len(keys), backend.MaxBlockedKeys)]
}

// shot is the answer of one tag.
type shot struct {
	now, next, expires int64
	left, dropped      int64
	reclaimed          int64
	paused, repeated   bool
	common             bool // the next lease may take the common path
	blocked            []any
	ids, bodies, past  []any
}

func (s *shot) took() bool { return len(s.ids) > 0 }

// leaseCall makes the call for one tag. exact asks how many jobs are left. The common
// path is taken where the last lease found that the next one may; if that is no longer
// true its answer is rare, and the next call that is made here is whole.
func (b *Backend) leaseCall(t *tag, request *backend.LeaseRequest, plan plan, part int, keys []string, exact bool) *call {
	share, ahead := plan.shares[t], 0
	if request.Max > 0 {
		ahead = share * request.Ahead / request.Max
	}
	if part == 1 && share > 0 && !plan.again && t.common.Load() {
		c := t.call(leaseCommon, "l:"+request.Worker, 6)
		c.add(request.Token, b.process, strconv.FormatUint(plan.number, 10), share, request.Duration.Milliseconds(), ahead)
		return c
	}
	c := t.call(leaseScript, "l:"+request.Worker, 11+len(keys))
	count := "0"
	if exact {
		count = "1"
	}
	c.add(request.Token, b.process, strconv.FormatUint(plan.number, 10), part, share,
		request.Duration.Milliseconds(), b.retention, backend.MaxBlockedKeys, count, ahead, b.proofFor(request.Duration))
	for _, key := range keys {
		c.add(key)
	}
	return c
}

func (b *Backend) leaseRound(ctx context.Context, request *backend.LeaseRequest, plan plan, part int, tags []*tag, keys []string) ([]*shot, error) {
	calls := make([]*call, len(tags))
	exact := len(tags) > 1 || part > 1
	for i, t := range tags {
		calls[i] = b.leaseCall(t, request, plan, part, keys, exact)
	}
	if err := b.run(ctx, calls...); err != nil {
		return nil, b.fail("lease", "", err)
	}
	var whole []*call
	for i, t := range tags {
		if _, err := calls[i].result(); err != nil && !spoilt(err) {
			return nil, b.fail("lease", t.queue, err)
		}
		if t.rare(calls[i]) {
			calls[i] = b.leaseCall(t, request, plan, part, keys, exact)
			whole = append(whole, calls[i])
		}
	}
	if err := b.run(ctx, whole...); err != nil {
		return nil, b.fail("lease", "", err)
	}
	shots := make([]*shot, len(tags))
	failed := 0
	for i, c := range calls {
		shot, err := b.look(tags[i], c)
		if spoilt(err) {
			if failed++; failed < len(calls) {
				b.setAside("lease", tags[i], err)
				shots[i] = shot
				tags[i].leased(0, -1, false)
				continue
			}
		}
		if err != nil {
			return nil, b.fail("lease", tags[i].queue, err)
		}
		shots[i] = shot
	}
	return shots, nil
}

// rare reports whether a call took the common path and was not served there; the next
// lease will not take it.
func (t *tag) rare(c *call) bool {
	if c.script != leaseCommon {
		return false
	}
	reply, err := c.result()
	if n, is := reply.(int64); err != nil || !is || n != 0 {
		return false
	}
	t.common.Store(false)
	return true
}

// look reads the answer of one tag and notes what it tells of the tag.
func (b *Backend) look(t *tag, c *call) (*shot, error) {
	reply, err := c.result()
	if err != nil {
		return &shot{}, err
	}
	s, err := readShot(reply, c.script == leaseCommon)
	if err != nil {
		return &shot{}, err
	}
	if s.dropped > 0 {
		b.log.Error("ids were dropped whose jobs are not stored any more", "queue", t.queue, "dropped", s.dropped)
	}
	t.common.Store(s.common)
	t.clock.set(s.now)
	next := int64(-1)
	if s.next > 0 {
		next = max(0, s.next-s.now)
	}
	t.leased(s.left, next, s.paused)
	return s, nil
}

// The answers have so many parts.
const (
	commonShot = 7
	wholeShot  = 13
)

func readShot(reply any, common bool) (*shot, error) {
	r, ok := reply.([]any)
	if want := map[bool]int{true: commonShot, false: wholeShot}[common]; !ok || len(r) != want {
		return nil, fmt.Errorf("%w: the lease was answered by %T", backend.ErrUnavailable, reply)
	}
	s := &shot{now: asInt(r[0]), next: asInt(r[1]), left: asInt(r[2]), common: common}
	if common {
		s.expires, r = asInt(r[3]), r[4:]
	} else {
		if asInt(r[4]) == 2 {
			return nil, fmt.Errorf("%w: the lease came after a later one", backend.ErrUnavailable)
		}
		s.paused, s.repeated, s.dropped = asInt(r[3]) == 1, asInt(r[4]) == 1, asInt(r[5])
		s.expires, s.common = asInt(r[6]), asInt(r[11]) == 1
		s.reclaimed = asInt(r[12])
		s.blocked, _ = r[7].([]any)
		r = r[8:]
	}
	s.ids, _ = r[0].([]any)
	s.bodies, _ = r[1].([]any)
	s.past, _ = r[2].([]any)
	if len(s.bodies) != len(s.ids) {
		return nil, fmt.Errorf("%w: %d jobs with %d bodies", backend.ErrUnavailable, len(s.ids), len(s.bodies))
	}
	return s, nil
}

func (s *shot) merge(reply *backend.LeaseReply, t *tag) {
	reply.Reclaimed += int(s.reclaimed)
	if s.now == 0 {
		return // the tag was left out
	}
	reply.Now = time.UnixMilli(s.now)
	if s.next > 0 {
		due(reply, time.UnixMilli(s.next))
	}
	if s.paused {
		paused(reply, t.queue)
	}
	for _, key := range s.blocked {
		reply.Blocked = append(reply.Blocked, asString(key))
	}
	reply.Leases = slices.Grow(reply.Leases, len(s.ids))
	expires := time.UnixMilli(s.expires)
	for i := range s.ids {
		lease := backend.Lease{ExpiresAt: expires}
		id := asString(s.ids[i])
		lease.Job.ID, lease.Job.Queue = id, t.queue
		err := decodeBody(asString(s.bodies[i]), &lease.Job)
		if i < len(s.past) {
			var bad error
			lease.History, lease.Crashes, bad = decodeHistory(asString(s.past[i]))
			err = errors.Join(err, bad)
		}
		if err != nil {
			lease.Job = backend.Job{ID: id, Queue: t.queue}
			lease.Err = fmt.Errorf("%w: %w", backend.ErrRejected, err)
		}
		reply.Leases = append(reply.Leases, lease)
	}
}

func due(reply *backend.LeaseReply, at time.Time) {
	if reply.NextDue.IsZero() || at.Before(reply.NextDue) {
		reply.NextDue = at
	}
}

func paused(reply *backend.LeaseReply, queue string) {
	if !slices.Contains(reply.Paused, queue) {
		reply.Paused = append(reply.Paused, queue)
	}
}

func asInt(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

func asString(v any) string {
	s, _ := v.(string)
	return s
}
