package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Search looks for jobs, queue by queue and state by state.
type Search struct {
	// States are those that are looked through, in this order; empty means all.
	States []backend.State
	Filter Filter
	// Cursor is empty to begin, and what the search before answered to go on.
	Cursor string
	// Limit is how many jobs are wanted, Scan how many are looked at for those that
	// match, if there is a filter. Both are from 1.
	Limit, Scan int
}

// place is where jobs are paged through: the jobs of a queue in a state, from a cursor on.
type place struct {
	queue  string
	state  backend.State
	cursor string
}

// String is the cursor by which a later search goes on from here.
func (p place) String() string { return p.queue + ":" + string(p.state) + ":" + p.cursor }

// Find gives the jobs of these queues that match to take, page by page, until there are as
// many as are wanted, or as many were looked at as is allowed. next is then the cursor to
// go on with; it is empty if there are no more. A cursor of another search is an error that
// wraps [backend.ErrRejected].
func (s *Search) Find(ctx context.Context, client *jobs.Client, queues []backend.QueueInfo, take func([]jobs.JobInfo) error) (next string, found int, err error) {
	places, err := s.places(queues)
	if err != nil {
		return "", 0, err
	}
	looked := 0
	for i := 0; i < len(places); {
		p := &places[i]
		if found == s.Limit || looked >= s.Scan && !s.Filter.Empty() {
			return p.String(), found, nil
		}
		query := backend.JobsQuery{Queue: p.queue, State: p.state, Cursor: p.cursor, Limit: min(s.pageSize(found), s.scanLeft(looked))}
		page, err := client.Jobs(ctx, query)
		if err != nil {
			return "", found, err
		}
		var matching []jobs.JobInfo
		for n := range page.Jobs {
			if !s.Filter.Matches(page.Jobs[n]) {
				continue
			}
			matching = append(matching, page.Jobs[n])
			if found+len(matching) == s.Limit && n+1 < len(page.Jobs) {
				// The page goes on; where to, tells one that ends here.
				query.Limit = n + 1
				if page, err = client.Jobs(ctx, query); err != nil {
					return "", found, err
				}
				break
			}
		}
		if err := take(matching); err != nil {
			return "", found, err
		}
		found, looked = found+len(matching), looked+len(page.Jobs)
		if p.cursor = page.Next; p.cursor == "" {
			i++
		}
	}
	return "", found, nil
}

// places are all that the search looks through, in order, from its cursor on.
func (s *Search) places(queues []backend.QueueInfo) ([]place, error) {
	states := slices.Clone(s.States)
	if len(states) == 0 {
		states = backend.States
	}
	from := strings.SplitN(s.Cursor, ":", 3)
	if s.Cursor != "" && len(from) != 3 {
		return nil, fmt.Errorf("%w: the cursor %.50q is none; give what the list before this one told", backend.ErrRejected, s.Cursor)
	}
	var places []place
	begun := s.Cursor == ""
	for _, queue := range queues {
		for _, state := range states {
			p := place{queue: queue.Name, state: state}
			if !begun && p.queue == from[0] && string(p.state) == from[1] {
				begun, p.cursor = true, from[2]
			}
			if begun && (queue.Counts[state] > 0 || p.cursor != "") {
				places = append(places, p)
			}
		}
	}
	if !begun {
		return nil, fmt.Errorf("%w: the cursor %.50q belongs to another queue or state; ask for the same as in the list before this one", backend.ErrRejected, s.Cursor)
	}
	return places, nil
}

// pageSize is how many jobs the next page is to have: no more than are wanted, unless
// they are to be searched.
func (s *Search) pageSize(found int) int {
	if s.Filter.Empty() {
		return min(s.Limit-found, backend.MaxPage)
	}
	return backend.MaxPage
}

// scanLeft is how many more jobs may be looked at.
func (s *Search) scanLeft(looked int) int {
	if s.Filter.Empty() {
		return backend.MaxPage
	}
	return min(s.Scan-looked, backend.MaxPage)
}
