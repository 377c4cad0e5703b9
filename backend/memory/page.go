package memory

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// Jobs returns a page. Waiting jobs come in the order in which they will be
// leased, those of lanes after all others, lane by lane, running ones by the end of their leases, all others in the order in
// which they came into their state.
func (b *Backend) Jobs(ctx context.Context, query backend.JobsQuery) (backend.JobsPage, error) {
	err := query.Check()
	var from cursor
	if err == nil && query.Cursor != "" {
		from, err = parseCursor(query.Cursor)
	}
	if err != nil {
		return backend.JobsPage{}, &backend.Error{Op: "jobs", Queue: query.Queue, Err: err}
	}
	if err := b.lock(ctx, "jobs"); err != nil {
		return backend.JobsPage{}, err
	}
	defer b.mu.Unlock()
	q := b.queues[query.Queue]
	if q == nil {
		return backend.JobsPage{}, nil
	}
	now := b.now()
	q.tidy(now)
	zero := b.zero(now)
	var page backend.JobsPage
	var size int64
	steps, last := 0, from
	lists := q.lists(query.State)
	for _, l := range lists[seek(lists, from.serial):] {
		j, past := l.front, int64(math.MinInt64)
		if l.serial == from.serial && query.Cursor != "" {
			j, past = q.after(from, l)
		}
		for ; j != nil; j = j.next {
			if len(page.Jobs) == query.Limit || steps == pageSteps ||
				len(page.Jobs) > 0 && size+j.size() > backend.MaxPageBytes {
				page.Next = last.String()
				return page, nil
			}
			steps++
			last = cursor{l.serial, j.pos, max(past, j.pos), j.ID}
			if j.pos >= past {
				page.Jobs = append(page.Jobs, j.info(zero))
				size += j.size()
			}
		}
	}
	return page, nil
}

// pageSteps is how many jobs are looked at for one page.
const pageSteps = 10_000

// cursor is the place of the last job that was looked at: its list, its position and
// its id. Those before the position past have been on a page.
type cursor struct {
	serial, pos, past int64
	id                string
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %d %d %s", c.serial, c.pos, c.past, c.id))
}

func parseCursor(s string) (c cursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		_, err = fmt.Sscanf(string(raw), "%d %d %d", &c.serial, &c.pos, &c.past)
	}
	if err == nil {
		// The id may hold spaces.
		_, c.id, _ = strings.Cut(string(raw), fmt.Sprintf("%d %d %d ", c.serial, c.pos, c.past))
	}
	if err != nil {
		return c, fmt.Errorf("%w: the cursor %q is none; give Next of the page before, or nothing", backend.ErrRejected, s)
	}
	return c, nil
}

// after returns the job behind the one of the cursor, and the position of which those
// before it are passed over. Where the job of the cursor has moved since, it is the
// first of the list.
func (q *queue) after(c cursor, l *list) (next *job, past int64) {
	j := q.jobs[c.id]
	switch {
	case j == nil || j.in != l || j.pos != c.pos:
		return l.front, c.past
	case c.past > c.pos:
		return j.next, c.past
	}
	return j.next, math.MinInt64
}

// seek returns the index of the first of some lists, by their serials, that is not
// before a serial.
func seek(lists []*list, serial int64) int {
	i, _ := slices.BinarySearchFunc(lists, serial, func(l *list, serial int64) int {
		return cmp.Compare(l.serial, serial)
	})
	return i
}
