package operate

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// AuditEntry is an act of somebody who looks after the jobs, as the audit log keeps it.
type AuditEntry struct {
	// Number grows with each entry; some are left out.
	Number int64 `json:"number"`
	// At is when it was done, by the clock of the program that noted it.
	At time.Time `json:"at"`
	// Who did it, with which Role of the dashboard if it was done there, and Via which
	// program: dashboard or command line.
	Who  string `json:"who"`
	Role string `json:"role,omitempty"`
	Via  string `json:"via"`
	// Act is what was done, On what it was done to, Outcome what came of it: done, or why
	// not. No payload is in them.
	Act     string `json:"act"`
	On      string `json:"on,omitempty"`
	Outcome string `json:"outcome"`
}

// The audit log is a ring of memos, each of which has room for chunkEntries. When one is
// full the next is begun, over what is oldest.
const (
	// AuditKept is how many entries are kept at least, unless they are long: then 512 KiB of
	// them are.
	AuditKept    = 2000
	chunkEntries = 125
	// chunkBytes is how many bytes of JSON a chunk has before the next one is begun. An
	// entry has no more than would fill it up to a memo.
	chunkBytes = 32 << 10
	ring       = AuditKept/chunkEntries + 1

	auditMemo  = "caddis:audit"
	newestKey  = "newest"
	maxWho     = 200
	maxOn      = 1000
	maxOutcome = 500
)

// auditChunk is a part of the log; it has the entries with the numbers that begin with its
// own, times chunkEntries.
type auditChunk struct {
	Number  int64        `json:"number"`
	Entries []AuditEntry `json:"entries"`
}

func (c *auditChunk) full() bool {
	text, err := json.Marshal(c)
	return len(c.Entries) >= chunkEntries || err != nil || len(text) >= chunkBytes
}

func chunkKey(number int64) string { return strconv.FormatInt(number%ring, 10) }

// errFull says that a chunk has no room, or was written over.
var errFull = errors.New("the chunk of the audit log is full")

// Note appends an act to the audit log of the store, in three calls as a rule. Its number is
// chosen here, its time is now if it has none, and its texts are cut where they are long.
// It may be called concurrently, in any number of programs.
func Note(ctx context.Context, client *jobs.Client, entry AuditEntry) error {
	memo := client.PlainMemo(auditMemo)
	if entry.At.IsZero() {
		entry.At = time.Now()
	}
	entry.At = entry.At.Round(0).UTC()
	entry.Who, entry.Role, entry.Via = cut(entry.Who, maxWho), cut(entry.Role, maxName), cut(entry.Via, maxName)
	entry.Act, entry.On, entry.Outcome = cut(entry.Act, maxWho), cut(entry.On, maxOn), cut(entry.Outcome, maxOutcome)
	for {
		var newest int64
		if _, err := memo.Get(ctx, newestKey, &newest); err != nil {
			return err
		}
		err := jobs.UpdateMemo(ctx, memo, chunkKey(newest), func(c auditChunk) (auditChunk, error) {
			if c.Number < newest {
				c = auditChunk{Number: newest} // it is from a round before
			}
			if c.Number > newest || c.full() {
				return c, errFull
			}
			entry.Number = newest*chunkEntries + int64(len(c.Entries))
			c.Entries = append(c.Entries, entry)
			return c, nil
		})
		if !errors.Is(err, errFull) {
			return err
		}
		err = jobs.UpdateMemo(ctx, memo, newestKey, func(stored int64) (int64, error) {
			if stored != newest {
				return stored, errFull // somebody else has begun the next one
			}
			return newest + 1, nil
		})
		if err != nil && !errors.Is(err, errFull) {
			return err
		}
	}
}

// AuditQuery says which part of the audit log is read.
type AuditQuery struct {
	// Before is the number of an entry: those before it are read; 0 begins with the newest.
	Before int64
	// Limit is how many are read, 100 if it is 0.
	Limit int
}

// Audit reads the audit log of the store, the newest act first. more is true if there are
// others before those. It costs a call, and one for each 125 entries.
func Audit(ctx context.Context, client *jobs.Client, q AuditQuery) (entries []AuditEntry, more bool, err error) {
	const usual = 100
	memo, limit := client.PlainMemo(auditMemo), q.Limit
	if limit <= 0 {
		limit = usual
	}
	var newest int64
	if _, err := memo.Get(ctx, newestKey, &newest); err != nil {
		return nil, false, err
	}
	number := newest
	if q.Before > 0 {
		number = min(newest, q.Before/chunkEntries)
	}
	for ; number >= 0 && number > newest-ring; number-- {
		var c auditChunk
		found, err := memo.Get(ctx, chunkKey(number), &c)
		if err != nil {
			return nil, false, err
		}
		if !found || c.Number != number {
			if number == newest {
				continue // nothing is in it yet
			}
			break // it was written over meanwhile
		}
		for i := len(c.Entries) - 1; i >= 0; i-- {
			switch {
			case q.Before > 0 && c.Entries[i].Number >= q.Before:
			case len(entries) == limit:
				return entries, true, nil
			default:
				entries = append(entries, c.Entries[i])
			}
		}
	}
	return entries, false, nil
}
