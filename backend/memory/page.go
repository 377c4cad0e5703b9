package memory

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/caddis-go/caddis/backend"
)

// Jobs returns a page. Waiting jobs come in the order in which they will be
// leased, running ones by the end of their leases, all others in the order in
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
	q.tidy(now())
	var page backend.JobsPage
	var last *job
	for _, l := range q.lists(query.State) {
		j := l.front
		if query.Cursor != "" {
			j = q.after(from, l)
		}
		for ; j != nil; j = j.next {
			if len(page.Jobs) == query.Limit {
				page.Next = cursor{last.in.serial, last.pos, last.ID}.String()
				return page, nil
			}
			page.Jobs = append(page.Jobs, j.info())
			last = j
		}
	}
	return page, nil
}

// cursor is the place of the last job of a page.
type cursor struct {
	serial, pos int64
	id          string
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %d %s", c.serial, c.pos, c.id))
}

func parseCursor(s string) (c cursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		_, err = fmt.Sscanf(string(raw), "%d %d", &c.serial, &c.pos)
	}
	if err == nil {
		// The id may hold spaces.
		c.id = string(raw[len(fmt.Sprintf("%d %d ", c.serial, c.pos)):])
	}
	if err != nil {
		return c, fmt.Errorf("%w: the cursor %q is none; give Next of the page before, or nothing", backend.ErrRejected, s)
	}
	return c, nil
}

// after returns the first job of a list that lies behind the cursor. Only where
// the job of the cursor has moved since does it have to look for it.
func (q *queue) after(c cursor, l *list) *job {
	switch {
	case l.serial < c.serial:
		return nil
	case l.serial > c.serial:
		return l.front
	}
	if j := q.jobs[c.id]; j != nil && j.in == l && j.pos == c.pos {
		return j.next
	}
	j := l.front
	for j != nil && j.pos <= c.pos {
		j = j.next
	}
	return j
}
