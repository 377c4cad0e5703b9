package examples_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// orders is what is imported from, page by page.
type orders interface {
	Since(ctx context.Context, cursor string) (next string, n int64, err error)
}

func importOrders(ctx context.Context, client *jobs.Client, orders orders) error {
	memo := client.Memo("import.orders")
	var cursor string // empty the first time
	if _, err := memo.Get(ctx, "cursor", &cursor); err != nil {
		return err
	}
	next, n, err := orders.Since(ctx, cursor)
	if err != nil {
		return err
	}
	if _, err := memo.Increment(ctx, "imported", n, jobs.ForgetAfter(24*time.Hour)); err != nil {
		return err
	}
	return memo.Set(ctx, "cursor", next)
}

func addHost(ctx context.Context, client *jobs.Client, host string) error {
	return jobs.UpdateMemo(ctx, client.Memo("crawl"), "hosts", func(hosts []string) ([]string, error) {
		return append(hosts, host), nil
	})
}

type pages []string

func (p pages) Since(_ context.Context, cursor string) (string, int64, error) {
	for i, page := range p {
		if page == cursor {
			return p[i+1], 10, nil
		}
	}
	return p[0], 10, nil
}

func TestTheMemosOfTheDocumentsWork(t *testing.T) {
	ctx := t.Context()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer store.Close()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	for _, want := range []string{"one", "two", "three"} {
		require.NoError(t, importOrders(ctx, client, pages{"one", "two", "three"}))
		var cursor string
		_, err := client.Memo("import.orders").Get(ctx, "cursor", &cursor)
		require.NoError(t, err)
		require.Equal(t, want, cursor)
	}
	require.NoError(t, addHost(ctx, client, "a"))
	require.NoError(t, addHost(ctx, client, "b"))
	var hosts []string
	_, err = client.Memo("crawl").Get(ctx, "hosts", &hosts)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, hosts)
}
