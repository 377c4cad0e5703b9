package redis

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Job implements backend.Inspector.
func (b *Backend) Job(ctx context.Context, queueName, id string) (backend.JobInfo, error) {
	wrap := func(err error) error {
		return &backend.Error{Op: "job", Queue: queueName, ID: id, Err: err}
	}
	if err := backend.CheckQueue(queueName); err != nil {
		return backend.JobInfo{}, wrap(err)
	}
	q, _, err := b.find(ctx, queueName)
	if err != nil {
		return backend.JobInfo{}, b.fail("job", queueName, err)
	}
	c := q.tagOf(id).call(jobScript, "", 1)
	c.add(id)
	if err := b.run(ctx, c); err != nil {
		return backend.JobInfo{}, b.fail("job", queueName, err)
	}
	reply, err := c.result()
	if err != nil {
		return backend.JobInfo{}, b.fail("job", queueName, err)
	}
	infos := b.readInfos(queueName, reply)
	if len(infos) != 1 {
		return backend.JobInfo{}, wrap(backend.ErrNotFound)
	}
	return infos[0], nil
}

// readInfos reads what scripts/lib/describe.lua answers.
func (b *Backend) readInfos(queueName string, reply any) []backend.JobInfo {
	rows, _ := reply.([]any)
	infos := make([]backend.JobInfo, 0, len(rows))
	for _, row := range rows {
		r, ok := row.([]any)
		if !ok || len(r) != 6 {
			continue
		}
		state := backend.State(asString(r[1]))
		if state == "" {
			continue // the body has gone
		}
		info := backend.JobInfo{State: state}
		info.ID, info.Queue = asString(r[0]), queueName
		if err := decodeBody(asString(r[4]), &info.Job); err != nil {
			b.log.Error("a stored job cannot be read", "queue", queueName, "id", info.ID, "error", err)
		}
		var err error
		info.History, info.Crashes, err = decodeHistory(asString(r[5]))
		if err != nil {
			b.log.Error("a stored history cannot be read", "queue", queueName, "id", info.ID, "error", err)
		}
		number, record := asInt(r[2]), asString(r[3])
		switch {
		case state == backend.StateScheduled:
			info.ScheduledFor = time.UnixMilli(number)
		case state == backend.StateBlocked && record != "":
			info.BlockedOn, _, _ = strings.Cut(record[1:], "\x00")
		case state == backend.StateRunning && len(record) > tokenAt:
			info.LeaseExpiresAt = time.UnixMilli(number)
			info.CancelRequested = record[0] == '1'
			token, progress, _ := strings.Cut(record[tokenAt:], "\x00")
			info.Token = token
			info.LeasedBy = worker(token)
			if progress != "" {
				info.Progress = []byte(progress)
			}
		case state.Final():
			info.KeptUntil = time.UnixMilli(number)
		}
		infos = append(infos, info)
	}
	return infos
}

// worker is the worker of a token: all before its last dot.
func worker(token string) string {
	if i := strings.LastIndexByte(token, '.'); i >= 0 {
		return token[:i]
	}
	return token
}

// tokenAt is where the record of a running job has its token; see base.lua.
const tokenAt = 40

// cursor is where a page begins: a shard and a place there, which is a level and an
// offset for waiting jobs, inLanes and the member that was read last for those that wait in
// lanes, for others the score and the member that were read last.
type cursor struct {
	shard         int
	first, second string
}

const inLanes = "lanes"

// startOf is the beginning of a shard.
func startOf(shard int, state backend.State) cursor {
	if state == backend.StateWaiting {
		return cursor{shard, strconv.Itoa(levels - 1), "0"}
	}
	return cursor{shard: shard}
}

func (c cursor) String() string {
	return strconv.Itoa(c.shard) + ":" + c.first + ":" + base64.RawURLEncoding.EncodeToString([]byte(c.second))
}

func parseCursor(s string, state backend.State) (cursor, error) {
	if s == "" {
		return startOf(0, state), nil
	}
	fields := strings.Split(s, ":")
	if len(fields) == 3 {
		shard, err := strconv.Atoi(fields[0])
		second, undecodable := base64.RawURLEncoding.DecodeString(fields[2])
		c := cursor{shard, fields[1], string(second)}
		if err == nil && undecodable == nil && shard >= 0 && c.fits(state) {
			return c, nil
		}
	}
	return cursor{}, fmt.Errorf("%w: the cursor %q is none of ours", backend.ErrRejected, s)
}

// fits reports whether the place is one among jobs of a state.
func (c cursor) fits(state backend.State) bool {
	if state != backend.StateWaiting {
		_, err := strconv.ParseFloat(c.first, 64)
		return err == nil || c.first == "" && c.second == ""
	}
	if c.first == inLanes {
		return true
	}
	level, err := strconv.Atoi(c.first)
	offset, wrong := strconv.Atoi(c.second)
	return err == nil && wrong == nil && level >= 0 && level < levels && offset >= 0
}

// A page ends short of its limit after so many bytes or scripts.
const (
	pageBytes   = 1 << 20
	pageScripts = 32
)

// sizeOfRows is how many bytes a script has read for jobs.
func sizeOfRows(reply any) (size int) {
	rows, _ := reply.([]any)
	for _, row := range rows {
		r, _ := row.([]any)
		for _, value := range r {
			size += len(asString(value))
		}
	}
	return size
}

// Jobs implements backend.Inspector. With several shards it walks one after the
// other.
func (b *Backend) Jobs(ctx context.Context, query backend.JobsQuery) (backend.JobsPage, error) {
	var page backend.JobsPage
	if err := query.Check(); err != nil {
		return page, b.fail("jobs", query.Queue, err)
	}
	at, err := parseCursor(query.Cursor, query.State)
	if err != nil {
		return page, b.fail("jobs", query.Queue, err)
	}
	q, _, err := b.find(ctx, query.Queue)
	if err != nil {
		return page, b.fail("jobs", query.Queue, err)
	}
	room := pageBytes
	for scripts := 0; at.shard < len(q.tags) && len(page.Jobs) < query.Limit; scripts++ {
		if room <= 0 || scripts == pageScripts {
			break
		}
		c := q.tags[at.shard].call(jobsScript, "", 6)
		c.add(string(query.State), at.first, at.second, query.Limit-len(page.Jobs), room, len(page.Jobs) == 0)
		before := at
		if err := b.run(ctx, c); err != nil {
			return backend.JobsPage{}, b.fail("jobs", query.Queue, err)
		}
		reply, err := c.result()
		r, ok := reply.([]any)
		if err == nil && (!ok || len(r) != 3) {
			err = fmt.Errorf("%w: the page was answered by %T", backend.ErrUnavailable, reply)
		}
		if err != nil {
			return backend.JobsPage{}, b.fail("jobs", query.Queue, err)
		}
		page.Jobs = append(page.Jobs, b.readInfos(query.Queue, r[2])...)
		room -= sizeOfRows(r[2])
		at.first, at.second = asString(r[0]), asString(r[1])
		if at == before {
			break // the next job is too large for the rest of the page
		}
		if at.first == "end" {
			at = startOf(at.shard+1, query.State)
		}
	}
	if at.shard < len(q.tags) {
		page.Next = at.String()
	}
	return page, nil
}

// Queues implements backend.Inspector.
func (b *Backend) Queues(ctx context.Context) ([]backend.QueueInfo, error) {
	known, err := b.known(ctx)
	if err != nil {
		return nil, b.fail("queues", "", err)
	}
	var queues []*queue
	for _, name := range slices.Sorted(maps.Keys(known)) {
		q := b.local(name)
		if len(q.tags) != known[name] {
			q = b.newQueue(name, known[name])
		}
		queues = append(queues, q)
	}
	return b.describeQueues(ctx, "queues", queues)
}

// QueueNames implements backend.Inspector. It is one command.
func (b *Backend) QueueNames(ctx context.Context) ([]string, error) {
	known, err := b.known(ctx)
	if err != nil {
		return nil, b.fail("queue names", "", err)
	}
	return slices.Sorted(maps.Keys(known)), nil
}

// Queue implements backend.Inspector.
func (b *Backend) Queue(ctx context.Context, name string) (backend.QueueInfo, error) {
	if err := backend.CheckQueue(name); err != nil {
		return backend.QueueInfo{}, b.fail("queue", "", err)
	}
	q, found, err := b.find(ctx, name)
	if err == nil && !found {
		err = backend.ErrNotFound
	}
	if err == backend.ErrNotFound {
		return backend.QueueInfo{}, &backend.Error{Op: "queue", Queue: name, Err: err}
	}
	if err != nil {
		return backend.QueueInfo{}, b.fail("queue", name, err)
	}
	infos, err := b.describeQueues(ctx, "queue", []*queue{q})
	if err != nil {
		return backend.QueueInfo{}, err
	}
	return infos[0], nil
}

// counted are the states in the order in which scripts/queue.lua counts them.
var counted = []backend.State{
	backend.StateScheduled, backend.StateWaiting, backend.StateBlocked, backend.StateRunning,
	backend.StateCompleted, backend.StateCancelled, backend.StateDead,
}

// notePause enters what one shard says of its pause: 1 for good, or until when. A queue is
// paused as long as any of its shards is.
func notePause(info *backend.QueueInfo, until int64) {
	const forGood = 1
	if until == 0 {
		return
	}
	lasts := info.Paused && info.PausedUntil.IsZero() // for good
	info.Paused = true
	switch at := time.UnixMilli(until); {
	case lasts || until == forGood:
		info.PausedUntil = time.Time{}
	case at.After(info.PausedUntil):
		info.PausedUntil = at
	}
}

func (b *Backend) describeQueues(ctx context.Context, op string, queues []*queue) ([]backend.QueueInfo, error) {
	var calls []*call
	for _, q := range queues {
		for _, t := range q.tags {
			calls = append(calls, t.call(queueScript, "", 0))
		}
	}
	if err := b.run(ctx, calls...); err != nil {
		return nil, b.fail(op, "", err)
	}
	infos := make([]backend.QueueInfo, len(queues))
	next := 0
	for i, q := range queues {
		info := &infos[i]
		info.Name, info.Shards = q.name, len(q.tags)
		info.Counts = make(map[backend.State]int64, len(counted))
		for range q.tags {
			reply, err := calls[next].result()
			next++
			r, ok := reply.([]any)
			if err == nil && (!ok || len(r) != 2+len(counted)+6) {
				err = fmt.Errorf("%w: the queue was answered by %T", backend.ErrUnavailable, reply)
			}
			if err != nil {
				return nil, b.fail(op, q.name, err)
			}
			notePause(info, asInt(r[0]))
			if oldest := asInt(r[1]); oldest > 0 {
				if at := time.UnixMilli(oldest); info.OldestWaiting.IsZero() || at.Before(info.OldestWaiting) {
					info.OldestWaiting = at
				}
			}
			for k, state := range counted {
				info.Counts[state] += asInt(r[2+k])
			}
			for k, total := range []*int64{&info.Completed, &info.Failed, &info.Cancelled, &info.Dead, &info.Crashed, &info.Trimmed} {
				*total += asInt(r[2+len(counted)+k])
			}
		}
	}
	return infos, nil
}
