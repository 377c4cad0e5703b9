package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// plan is how the jobs of one Lease call are shared out between the tags. A
// repeated call must follow the plan of the first, or it could take more.
type plan struct {
	token string
	// number orders the calls of this process, so that the store can tell one
	// that comes late from a new one.
	number uint64
	shares map[*tag]int
	again  bool // the call was made before
}

// plans remembers the last plan of each worker of this process.
type plans struct {
	mu     sync.Mutex
	last   map[string]plan
	number uint64
	turn   int
}

// fresh is how long what a lease saw of a queue decides where the next one asks
// first.
const fresh = 100 * time.Millisecond

// share answers the plan of a request. The first queue that may have jobs gets
// all, divided between its shards; what it cannot give, the others are asked
// for in a second round. More rounds follow where jobs are so large that a script ends
// before it has handed out what it was asked for.
func (p *plans) share(request *backend.LeaseRequest, queues []*queue) plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.last[request.Worker]; last.token == request.Token {
		if request.Max == 0 {
			last.shares = nil // what has not been taken is not to be taken any more
		}
		last.again = true
		return last
	}
	shares := map[*tag]int{}
	now := time.Now().UnixMilli()
	for _, q := range queues {
		var likely []*tag
		for _, t := range q.tags {
			if t.left.Load() != 0 || now-t.seenAt.Load() > fresh.Milliseconds() {
				likely = append(likely, t)
			}
		}
		if len(likely) > 0 {
			p.turn++
			divide(shares, likely, request.Max, p.turn)
			break
		}
	}
	if len(shares) == 0 {
		divide(shares, queues[0].tags, request.Max, p.turn)
	}
	if p.last == nil {
		p.last = map[string]plan{}
	}
	p.number++
	fresh := plan{token: request.Token, number: p.number, shares: shares}
	p.last[request.Worker] = fresh
	return fresh
}

func divide(shares map[*tag]int, tags []*tag, n, turn int) {
	for i := range tags {
		share := n / len(tags)
		if i < n%len(tags) {
			share++
		}
		shares[tags[(i+turn)%len(tags)]] = share
	}
}

func (p *plans) forget(worker string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, worker)
}

// Lease implements backend.Consumer.
func (b *Backend) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	var reply backend.LeaseReply
	if err := request.Check(); err != nil {
		return reply, b.fail("lease", "", err)
	}
	queues, err := b.enter(ctx, request.Queues)
	if err != nil {
		return reply, b.fail("lease", "", err)
	}
	tags := tagsOf(queues)
	plan := b.plans.share(&request, queues)
	keys := unblocks(&request)

	for part, asked := 1, tags; len(asked) > 0; part++ {
		shots, err := b.leaseRound(ctx, &request, plan, part, asked, keys)
		if err != nil {
			return backend.LeaseReply{}, err
		}
		repeated := false
		var rest []*tag
		for i, shot := range shots {
			repeated = repeated || shot.repeated
			if shot.left > 0 || part == 1 && len(keys) > 0 && len(shot.blocked) > 0 && !shot.paused {
				rest = append(rest, asked[i])
			}
			shot.merge(&reply, asked[i])
		}
		missing := request.Max - len(reply.Leases)
		if missing <= 0 || repeated || part > 1 && !slices.ContainsFunc(shots, (*shot).took) {
			break
		}
		plan.shares = secondShares(rest, missing)
		asked = slices.DeleteFunc(rest, func(t *tag) bool { return plan.shares[t] == 0 })
	}
	finish(&reply, &request, tags)
	return reply, nil
}

func tagsOf(queues []*queue) (tags []*tag) {
	for _, q := range queues {
		tags = append(tags, q.tags...)
	}
	return tags
}

// unblocks returns the keys to unblock, each once: the scripts cannot take one twice.
func unblocks(request *backend.LeaseRequest) []string {
	return slices.Compact(slices.Sorted(slices.Values(request.Unblock)))
}

// finish puts in what the tags together make known.
func finish(reply *backend.LeaseReply, request *backend.LeaseRequest, tags []*tag) {
	reply.More = slices.ContainsFunc(tags, func(t *tag) bool { return t.left.Load() > 0 })
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

// secondShares asks tags in order for what they said is left.
func secondShares(tags []*tag, missing int) map[*tag]int {
	shares := map[*tag]int{}
	for _, t := range tags {
		share := min(missing, max(1, int(t.left.Load())))
		shares[t] = share
		missing -= share
	}
	return shares
}

// shot is the answer of one tag.
type shot struct {
	now, next, expires int64
	left, dropped      int64
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
	c := t.call(leaseScript, "l:"+request.Worker, 10+len(keys))
	count := "0"
	if exact {
		count = "1"
	}
	c.add(request.Token, b.process, strconv.FormatUint(plan.number, 10), part, share,
		request.Duration.Milliseconds(), b.retention, backend.MaxBlockedKeys, count, ahead)
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
				tags[i].left.Store(0)
				tags[i].seenAt.Store(time.Now().UnixMilli())
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
	t.left.Store(s.left)
	t.seenAt.Store(time.Now().UnixMilli())
	return s, nil
}

// The answers have so many parts.
const (
	commonShot = 7
	wholeShot  = 12
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
	if s.now == 0 {
		return // the tag was left out
	}
	reply.Now = time.UnixMilli(s.now)
	if s.next > 0 {
		if next := time.UnixMilli(s.next); reply.NextDue.IsZero() || next.Before(reply.NextDue) {
			reply.NextDue = next
		}
	}
	if s.paused && !slices.Contains(reply.Paused, t.queue) {
		reply.Paused = append(reply.Paused, t.queue)
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
