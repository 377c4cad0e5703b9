package sqlite

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"

	"github.com/caddis-go/caddis/backend"
)

// Jobs implements backend.Inspector. Waiting jobs come in the order in which they
// will be leased, those that wait in lanes after all others, scheduled ones by when they
// are due, running ones by the end of their leases, blocked ones by what they wait for,
// finished ones in the order in which they ended.
func (b *Backend) Jobs(ctx context.Context, query backend.JobsQuery) (backend.JobsPage, error) {
	err := query.Check()
	var from cursor
	if err == nil && query.Cursor != "" {
		from, err = parseCursor(query.Cursor)
	}
	if err != nil {
		return backend.JobsPage{}, &backend.Error{Op: "jobs", Queue: query.Queue, Err: err}
	}
	var page backend.JobsPage
	err = b.readMoved(ctx, "jobs", query.Queue, func(x executor) (err error) {
		page, err = readPage(x, &query, from)
		return err
	})
	return page, err
}

// orders are the columns by which the jobs of each state are paged; their indexes
// begin with the queue.
var orders = map[backend.State]struct{ where, columns, after string }{
	backend.StateScheduled: {`state = 0`, `at, rank`, `(at, rank) > (?, ?)`},
	backend.StateWaiting:   {`state = 1`, `level, rank`, `(level, rank) > (?, ?)`},
	backend.StateBlocked:   {`state = 2`, `key, rank`, `(key, rank) > (?, ?)`},
	backend.StateRunning:   {`state = 3`, `at, seq`, `(at, seq) > (?, ?)`},
	backend.StateCompleted: {`state >= 4 AND state = 4`, `rank, seq`, `(rank, seq) > (?, ?)`},
	backend.StateCancelled: {`state >= 4 AND state = 5`, `rank, seq`, `(rank, seq) > (?, ?)`},
	backend.StateDead:      {`state >= 4 AND state = 6`, `rank, seq`, `(rank, seq) > (?, ?)`},
}

func readPage(x executor, query *backend.JobsQuery, from cursor) (page backend.JobsPage, err error) {
	var queue int64
	if found, err := one(x, `SELECT id FROM caddis_queue WHERE name = ?`, []any{query.Queue}, &queue); !found || err != nil {
		return page, err
	}
	order := orders[query.State]
	text, args := `SELECT seq, bytes FROM caddis_job WHERE queue = ? AND `+order.where, []any{queue}
	if query.Cursor != "" {
		text += ` AND ` + order.after
		if args = append(args, from.First); query.State == backend.StateBlocked {
			args[1] = string(from.Key)
		}
		args = append(args, from.Second)
	}
	text += ` ORDER BY ` + order.columns + ` LIMIT ?`
	type found struct{ seq, bytes int64 }
	var all []found
	err = each(x, text, append(args, query.Limit+1), func(rows *sql.Rows) error {
		var f found
		err := rows.Scan(&f.seq, &f.bytes)
		all = append(all, f)
		return err
	})
	if err != nil {
		return page, err
	}
	var size int64
	for i, f := range all {
		size += f.bytes
		if i == query.Limit || i > 0 && size > backend.MaxPageBytes {
			page.Next = from.String()
			break
		}
		jobs, err := whole(x, `SELECT `+jobColumns+` FROM caddis_job WHERE seq = ?`, f.seq)
		if err != nil {
			return page, err
		}
		page.Jobs = append(page.Jobs, jobs[0].info(query.Queue))
		from = jobs[0].cursor()
	}
	return page, nil
}

// cursor is the place of the last job of a page.
type cursor struct {
	First, Second int64
	Key           []byte `json:",omitempty"`
}

func (j *job) cursor() cursor {
	switch j.state {
	case scheduled:
		return cursor{First: j.at, Second: j.rank}
	case waiting:
		if j.lined {
			return cursor{First: j.level + inLane, Second: j.rank}
		}
		return cursor{First: j.level, Second: j.rank}
	case blocked:
		return cursor{Key: []byte(j.key), Second: j.rank}
	case running:
		return cursor{First: j.at, Second: j.seq}
	}
	return cursor{First: j.rank, Second: j.seq}
}

func (c cursor) String() string {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err) // there is no such cursor
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parseCursor(s string) (c cursor, err error) {
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, reject("the cursor %q is none; give Next of the page before, or nothing", s)
	}
	return c, nil
}
