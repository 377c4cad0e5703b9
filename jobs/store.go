package jobs

import (
	"context"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// CheckStore asks the store whether jobs are safe in it. It returns an error if the store
// cannot be used at all, and warnings about settings that can lose jobs.
func (c *Client) CheckStore(ctx context.Context) ([]backend.Warning, error) {
	return c.backend.Check(ctx)
}

// StoreVersion names the software that the store is kept in and its version, such as
// "Redis 7.2.4", for people. It is empty for a store that has none of its own.
func (c *Client) StoreVersion(ctx context.Context) (string, error) {
	if store, ok := c.backend.(backend.Versioned); ok {
		return store.Version(ctx)
	}
	return "", nil
}

// StoreTime reads the store's clock, which decides what is due and what has expired.
func (c *Client) StoreTime(ctx context.Context) (time.Time, error) {
	return c.storeNow(ctx, DefaultQueue)
}
