package sqlite

import (
	"database/sql"
	"fmt"
	"time"
)

const (
	// maintainEvery is the pause between two rounds while there are writes.
	maintainEvery = 500 * time.Millisecond
	// longLog is how many pages of the write-ahead log are many: 64 MB.
	longLog = 1000
	// A file gives room back that it does not need, so many pages in a round, if
	// that is more than half of it and more than 16 MB.
	freePages = 4096
	giveBack  = 1024
)

// maintain brings what was written from the log to its place in the file, and gives
// room back. It does so beside the writer, while there are writes: an idle process has
// nothing to do.
func (b *Backend) maintain() {
	timer := time.NewTimer(maintainEvery)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-b.writer.wrote:
			timer.Reset(maintainEvery)
		case <-b.ctx.Done():
			return
		}
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			return
		}
		if err := b.checkpoint(); err != nil && b.ctx.Err() == nil {
			b.log.Debug("the write-ahead log stays as long as it is for now", "error", err)
		}
		if b.file.own {
			if err := b.vacuum(); err != nil && b.ctx.Err() == nil {
				b.log.Debug("the file stays as large as it is for now", "error", err)
			}
		}
	}
}

// checkpoint copies what it can without holding up anybody. The log begins anew only
// after all of it was copied; while writers leave no gap for that the writer itself
// does the rest, which is short then.
func (b *Backend) checkpoint() error {
	conn, err := b.readers.Conn(b.ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var busy, pages, copied sql.NullInt64
	err = conn.QueryRowContext(b.ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &pages, &copied)
	if err != nil || pages.Int64 < longLog {
		return err
	}
	return b.writer.beside(func(c *connection) error { return c.pragma("wal_checkpoint(PASSIVE)") })
}

func (b *Backend) vacuum() error {
	var free, all int64
	return b.writer.beside(func(c *connection) error {
		if _, err := one(c, `PRAGMA freelist_count`, nil, &free); err != nil {
			return err
		}
		if _, err := one(c, `PRAGMA page_count`, nil, &all); err != nil || free < freePages || free < all/2 {
			return err
		}
		signal(b.writer.wrote) // there may be more
		return c.pragma(fmt.Sprintf("incremental_vacuum(%d)", giveBack))
	})
}
