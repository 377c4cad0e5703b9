package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// MaxLimits is how many limits Limits tells of.
const MaxLimits = 100

// limitPage is how many jobs of a state Limits looks at.
const limitPage = 100

// Limits tells of the limits of queues that are in use: a store has no list of them, and
// they are found by the jobs that have them. Of each queue the first 100 running, blocked,
// waiting and scheduled jobs are looked at, up to MaxLimits different limits are read, one by
// one, and those where most jobs are parked come first. more is true if there may be others:
// one whose name and key are known is read by [jobs.Client.Limit].
func Limits(ctx context.Context, client *jobs.Client, queues []backend.QueueInfo) (found []backend.LimitInfo, more bool, err error) {
	for _, q := range queues {
		pairs, beyond, err := limitsOf(ctx, client, q)
		if err != nil {
			return nil, false, err
		}
		more = more || beyond
		for _, l := range pairs {
			if len(found) == MaxLimits {
				return sorted(found), true, nil
			}
			info, err := client.Limit(ctx, q.Name, l.Class, l.Key)
			if errors.Is(err, backend.ErrNotFound) {
				continue // it has gone meanwhile
			}
			if err != nil {
				return nil, false, err
			}
			found = append(found, info)
		}
	}
	return sorted(found), more, nil
}

func sorted(found []backend.LimitInfo) []backend.LimitInfo {
	slices.SortStableFunc(found, func(a, b backend.LimitInfo) int {
		return cmp.Or(cmp.Compare(b.Parked, a.Parked), cmp.Compare(b.Held, a.Held),
			cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Key, b.Key))
	})
	return found
}

// limitsOf are the limits of some jobs of a queue, without their numbers.
func limitsOf(ctx context.Context, client *jobs.Client, q backend.QueueInfo) (pairs []backend.Limit, more bool, err error) {
	seen := map[string]bool{}
	add := func(class, key string) {
		l := backend.Limit{Class: class, Key: key}
		if !seen[l.Pair()] {
			seen[l.Pair()] = true
			pairs = append(pairs, l)
		}
	}
	for _, state := range []backend.State{backend.StateBlocked, backend.StateRunning, backend.StateWaiting, backend.StateScheduled} {
		if q.Counts[state] == 0 {
			continue
		}
		page, err := client.Jobs(ctx, backend.JobsQuery{Queue: q.Name, State: state, Limit: limitPage})
		if err != nil {
			return nil, false, err
		}
		more = more || page.Next != ""
		for i := range page.Jobs {
			if class, key, ok := backend.PairOf(page.Jobs[i].BlockedOn); ok {
				add(class, key)
			}
			for _, l := range page.Jobs[i].Limits {
				add(l.Class, l.Key)
			}
		}
	}
	return pairs, more, nil
}

// Rule tells the numbers of a limit in words, such as "3 at a time, 100 per 1s".
func Rule(r backend.LimitRule) string {
	var parts []string
	if r.Slots > 0 {
		parts = append(parts, fmt.Sprintf("%d at a time", r.Slots))
	}
	if r.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%d per %v", r.Rate, r.Per))
	}
	if r.Burst > 1 {
		parts = append(parts, fmt.Sprintf("%d at once", r.Burst))
	}
	if len(parts) == 0 {
		return "no limit"
	}
	return strings.Join(parts, ", ")
}
