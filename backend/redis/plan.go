package redis

import (
	"slices"
	"sync"

	"github.com/caddis-go/caddis/backend"
)

// plan says which tags one Lease call asks, and for how many jobs each. A repeated
// call must follow the plan of the first, or it could take more.
type plan struct {
	token string
	// number orders the calls of this process, so that the store can tell one
	// that comes late from a new one.
	number uint64
	tags   []*tag
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

// news is what a Lease call knows beyond the notes.
type news struct {
	// waits is set if the caller has waited for bells, rang are those that it heard.
	waits bool
	rang  []*tag
}

// plan answers the plan of a request.
func (p *plans) plan(request *backend.LeaseRequest, queues []*queue, heard news) plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.last[request.Worker]; last.token == request.Token {
		if request.Max == 0 {
			last.shares = nil // what has not been taken is not to be taken any more
		}
		last.again = true
		return last
	}
	p.turn++
	p.number++
	next := plan{token: request.Token, number: p.number}
	next.tags, next.shares = choose(request, queues, heard, p.turn)
	if p.last == nil {
		p.last = map[string]plan{}
	}
	p.last[request.Worker] = next
	return next
}

// extend adds the tags of a further round to the plan of a call, before they are asked.
func (p *plans) extend(request *backend.LeaseRequest, tags []*tag) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.last[request.Worker]
	if last.token != request.Token {
		return
	}
	for _, t := range tags {
		if !slices.Contains(last.tags, t) {
			last.tags = append(slices.Clip(last.tags), t)
		}
	}
	p.last[request.Worker] = last
}

func (p *plans) forget(worker string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, worker)
}

// choose picks the tags to ask, and shares out the jobs. The first queue that may have
// jobs gets all, divided between its shards; what it cannot give, the others are asked
// for in a second round. More rounds follow where jobs are so large that a script ends before
// it has handed out what it was asked for.
func choose(request *backend.LeaseRequest, queues []*queue, heard news, turn int) (asked []*tag, shares map[*tag]int) {
	now := instant()
	tags := tagsOf(queues)
	all := len(tags) <= few || len(request.Unblock) > 0
	reason := func(t *tag) bool { return t.toAsk(heard.waits, now) || slices.Contains(heard.rang, t) }
	likely := func(t *tag) bool { return t.left.Load() != 0 || t.toAsk(heard.waits, now) }
	if len(heard.rang) > 0 {
		likely = func(t *tag) bool { return t.left.Load() > 0 || slices.Contains(heard.rang, t) }
	}
	first := firstOf(queues, likely)
	for _, t := range tags {
		if all || reason(t) || slices.Contains(first, t) {
			asked = append(asked, t)
		}
	}
	if len(asked) == 0 { // there is always an answer from one
		asked = []*tag{slices.MinFunc(tags, func(a, b *tag) int { return int(a.asked.Load() - b.asked.Load()) })}
	}
	if len(first) == 0 {
		first = asked[:1]
	}
	return asked, divide(first, request.Max, turn)
}

// firstOf returns the tags of the first queue that are likely to have jobs.
func firstOf(queues []*queue, likely func(t *tag) bool) (tags []*tag) {
	for _, q := range queues {
		for _, t := range q.tags {
			if likely(t) {
				tags = append(tags, t)
			}
		}
		if len(tags) > 0 {
			return tags
		}
	}
	return nil
}

func divide(tags []*tag, n, turn int) map[*tag]int {
	shares := map[*tag]int{}
	for i := range tags {
		share := n / len(tags)
		if i < n%len(tags) {
			share++
		}
		shares[tags[(i+turn)%len(tags)]] = share
	}
	return shares
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

func tagsOf(queues []*queue) (tags []*tag) {
	for _, q := range queues {
		tags = append(tags, q.tags...)
	}
	return tags
}
