package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// refused is the letter of a job that a limit refuses.
const refused = '!'

// holds are how scripts call the holds of slots.
const holds = "rfe"

// limitLines are limits as the scripts take them, and as they are stored with the job.
func limitLines(limits []backend.Limit) string {
	if len(limits) == 0 {
		return "" // without the allocation
	}
	var b strings.Builder
	for i := range limits {
		l := &limits[i]
		fmt.Fprintf(&b, "%c%d %s %s\n", holds[l.Hold], l.Cost, ruleText(&l.Rule), l.Pair())
	}
	return b.String()
}

func ruleText(r *backend.LimitRule) string {
	return fmt.Sprintf("%d %d %d %d", r.Slots, r.Rate, r.Per.Microseconds(), r.Burst)
}

func readLimits(lines string) (limits []backend.Limit, err error) {
	for line := range strings.Lines(lines) {
		var hold byte
		var l backend.Limit
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) == 6 {
			if _, err = fmt.Sscanf(fields[0], "%c%d", &hold, &l.Cost); err == nil {
				l.Rule, err = readRule(strings.Join(fields[1:5], " "))
			}
			l.Hold = backend.SlotHold(max(0, strings.IndexByte(holds, hold)))
			l.Class, l.Key, _ = strings.Cut(fields[5], "/")
		}
		if len(fields) != 6 || err != nil {
			return nil, fmt.Errorf("%w: its limits", errBody)
		}
		limits = append(limits, l)
	}
	return limits, nil
}

func readRule(text string) (r backend.LimitRule, err error) {
	var per int64
	_, err = fmt.Sscanf(text, "%d %d %d %d", &r.Slots, &r.Rate, &per, &r.Burst)
	r.Per = time.Duration(per) * time.Microsecond
	return r, err
}

// refusal is why a job is not stored: a pair has no room.
func (b *Backend) refusal(n *backend.NewJob, pair string) error {
	var l backend.Limit
	l.Class, l.Key, _ = strings.Cut(pair, "/")
	return &backend.Error{Op: "enqueue", Queue: n.Queue, ID: n.ID, Err: l.Refusal()}
}

// scattered says what is wrong with a job whose limits are not all in the shard of its id.
func (q *queue) scattered(n *backend.NewJob) error {
	for i := range n.Limits {
		l := &n.Limits[i]
		switch {
		case l.Key == "":
			return fmt.Errorf("%w: the queue has %d shards, and limit %q is one for all its jobs: give it a key, or enqueue into a queue of one shard",
				backend.ErrRejected, len(q.tags), l.Class)
		case l.Key != n.Limits[0].Key:
			return fmt.Errorf("%w: the queue has %d shards, and the limits of a job are to be in one: %q and %q are two keys; give one, or enqueue into a queue of one shard",
				backend.ErrRejected, len(q.tags), n.Limits[0].Key, l.Key)
		}
	}
	key := backend.LimitKey(n.Limits[0].Key)
	switch {
	case n.Unique.Held() && n.Unique.Key != key:
		return fmt.Errorf("%w: the queue has %d shards, and a job with a unique key and limits would have to be in two: enqueue into a queue of one shard",
			backend.ErrRejected, len(q.tags))
	case backend.ShardKey(n.ID) != key.String():
		return fmt.Errorf("%w: the queue has %d shards, and a job with limits has to be in that of their key: leave the id out, or make it by backend.KeyedID and backend.LimitKey",
			backend.ErrRejected, len(q.tags))
	}
	return nil
}

// SetLimit implements backend.Limiter.
func (b *Backend) SetLimit(ctx context.Context, queueName, class string, rule *backend.LimitRule) error {
	const op = "set limit"
	if err := backend.CheckSetLimit(queueName, class, rule); err != nil {
		return b.fail(op, queueName, err)
	}
	text := ""
	if rule != nil {
		text = ruleText(rule)
	}
	return b.onAllShards(ctx, op, queueName, setLimitScript, class, text)
}

// Limit implements backend.Limiter.
func (b *Backend) Limit(ctx context.Context, query backend.LimitQuery) (backend.LimitInfo, error) {
	const op = "limit"
	info := backend.LimitInfo{Queue: query.Queue, Class: query.Class, Key: query.Key}
	if err := query.Check(); err != nil {
		return info, b.fail(op, query.Queue, err)
	}
	q, _, err := b.find(ctx, query.Queue)
	if err != nil {
		return info, b.fail(op, query.Queue, err)
	}
	pair := (&backend.Limit{Class: query.Class, Key: query.Key}).Pair()
	c := q.tagOf(backend.KeyedID("x", backend.LimitKey(query.Key))).call(limitScript, "", 4)
	c.add(query.Class, pair, query.Job, backend.MaxHolders)
	r, err := b.list(ctx, c)
	if err == nil && len(r) != 7 {
		err = fmt.Errorf("%w: the limit was answered by %d values", backend.ErrUnavailable, len(r))
	}
	if err != nil {
		return info, b.fail(op, query.Queue, err)
	}
	info.Now = time.UnixMilli(asInt(r[0])).UTC()
	if r[1] == nil {
		return info, b.fail(op, query.Queue, fmt.Errorf("no job of the queue has had a limit %q: %w", query.Class, backend.ErrNotFound))
	}
	code, fleet, _ := strings.Cut(asString(r[1]), "\n")
	if info.Code, err = readRule(code); err != nil {
		return info, b.fail(op, query.Queue, fmt.Errorf("%w: the rule of the limit %q cannot be read: %w", backend.ErrRejected, query.Class, err))
	}
	info.Rule = info.Code
	if set, err := readRule(fleet); err == nil {
		info.Rule, info.Fleet = set, &set
	}
	info.Held, info.Parked, info.Place = int(asInt(r[2])), int(asInt(r[4])), int(asInt(r[5]))
	holders, _ := r[3].([]any)
	for _, member := range holders {
		_, id, _ := strings.Cut(asString(member), "\x00")
		info.Holders = append(info.Holders, id)
	}
	if info.Rule.Rate > 0 {
		full, _ := strconv.ParseFloat(asString(r[6]), 64)
		now := info.Now.UnixMicro()
		if allowed, _ := info.Rule.Spend(int64(full), now, 1); allowed > now {
			info.NextToken = time.UnixMicro(allowed).UTC()
		}
	}
	return info, nil
}
