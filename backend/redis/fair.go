package redis

import (
	"context"
	"fmt"
	"strconv"

	"github.com/caddis-go/caddis/backend"
)

// laneText is a lane as the scripts take it, and as it is stored with the job: its weight, a
// space and its key; nothing for a job without a lane.
func laneText(l backend.Lane) string {
	if l.Key == "" {
		return ""
	}
	return strconv.FormatFloat(l.Weight, 'f', -1, 64) + " " + l.Key
}

// Lanes implements backend.Inspector. Each shard of a queue has lanes of its own.
func (b *Backend) Lanes(ctx context.Context, query backend.LanesQuery) (backend.LanesInfo, error) {
	const op = "lanes"
	info := backend.LanesInfo{Queue: query.Queue}
	if err := backend.CheckQueue(query.Queue); err != nil {
		return info, b.fail(op, query.Queue, err)
	}
	q, _, err := b.find(ctx, query.Queue)
	if err != nil {
		return info, b.fail(op, query.Queue, err)
	}
	calls := make([]*call, len(q.tags))
	for i, t := range q.tags {
		calls[i] = t.call(lanesScript, "", 2)
		calls[i].add(query.Job, backend.LanesLook)
	}
	if err := b.run(ctx, calls...); err != nil {
		return info, b.fail(op, query.Queue, err)
	}
	for _, c := range calls {
		answer, err := c.result()
		r, ok := answer.([]any)
		if err == nil && (!ok || len(r) < 2 || len(r)%2 != 0) {
			err = fmt.Errorf("%w: the lanes were answered by %T", backend.ErrUnavailable, answer)
		}
		if err != nil {
			return info, b.fail(op, query.Queue, err)
		}
		info.Place = max(info.Place, int(asInt(r[0])))
		info.More = info.More || asInt(r[1]) == 1
		for i := 2; i < len(r); i += 2 {
			info.Lanes = append(info.Lanes, backend.LaneInfo{Key: asString(r[i]), Waiting: int(asInt(r[i+1]))})
		}
	}
	info.Longest()
	return info, nil
}
