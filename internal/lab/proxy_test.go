//go:build unix

package lab_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
)

// behind is a client of a server behind a proxy, which repeats nothing.
func behind(t *testing.T) (*lab.Proxy, *goredis.Client, *redistest.Server) {
	t.Helper()
	server := redistest.Start(t, redistest.Options{})
	proxy := lab.StartProxy(t, server.Addr)
	options := server.Options()
	options.Addr, options.MaxRetries, options.ContextTimeoutEnabled = proxy.Addr, -1, true
	client := goredis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return proxy, client, server
}

func TestAProxyCutsBeforeARequestOrAfterItWasWorkedOff(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	proxy, client, _ := behind(t)
	require.NoError(t, client.Set(ctx, "n", 0, 0).Err())

	trap := proxy.CutBefore("incr", 2)
	require.Error(t, client.Incr(ctx, "n").Err())
	require.Error(t, client.Incr(ctx, "n").Err())
	<-trap.Sprung
	require.Equal(t, "0", client.Get(ctx, "n").Val(), "the requests did not arrive")

	trap = proxy.CutAfter("incr", 1)
	require.Error(t, client.Incr(ctx, "n").Err())
	<-trap.Sprung
	require.Equal(t, "1", client.Get(ctx, "n").Val(), "the request was worked off, and its reply lost")

	trap = proxy.CutAfter("incr", 1)
	pipe := client.Pipeline()
	pipe.Set(ctx, "m", 7, 0)
	pipe.Incr(ctx, "n")
	_, err := pipe.Exec(ctx)
	require.Error(t, err)
	<-trap.Sprung
	require.Equal(t, []any{"7", "2"}, client.MGet(ctx, "m", "n").Val(), "all of a pipeline was worked off")
}

func TestAProxyDelaysThrottlesSwallowsAndRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	proxy, client, _ := behind(t)
	took := func(f func()) time.Duration {
		begin := time.Now()
		f()
		return time.Since(begin)
	}
	require.NoError(t, client.Ping(ctx).Err())

	proxy.Set(lab.Weather{Delay: 30 * time.Millisecond})
	slow := took(func() {
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() { _ = client.Ping(ctx).Err() })
		}
		all.Wait()
	})
	require.GreaterOrEqual(t, slow, 60*time.Millisecond)
	require.Less(t, slow, 15*time.Second, "the delay does not add up: that would be 30 s")

	proxy.Set(lab.Weather{BytesPerSecond: 100_000})
	require.GreaterOrEqual(t, took(func() {
		require.NoError(t, client.Set(ctx, "k", strings.Repeat("x", 30_000), 0).Err())
	}), 200*time.Millisecond)

	proxy.Set(lab.Weather{HalfOpen: true})
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, client.Ping(short).Err(), "timeout")

	proxy.Set(lab.Weather{Refuse: true})
	proxy.Cut()
	require.Error(t, client.Ping(ctx).Err())

	proxy.Set(lab.Weather{})
	require.NoError(t, client.Ping(ctx).Err())

	links := proxy.Links()
	require.NotEmpty(t, links)
	for _, l := range links {
		l.Set(lab.Weather{HalfOpen: true})
	}
	short, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	require.Error(t, client.Ping(short).Err(), "the connection is dead")
	require.NoError(t, client.Ping(ctx).Err(), "a new one is not")
}

func TestVerbsAreToldApartByTheirKeys(t *testing.T) {
	t.Parallel()
	verbs := lab.ReadVerbs(t)
	keys := func(names ...string) (words []string) {
		words = []string{"EVALSHA", "sha", fmt.Sprint(len(names))}
		for _, name := range names {
			words = append(words, "caddis:{mail/3}:"+name)
		}
		return append(words, "argument")
	}
	require.Equal(t, "renew", verbs.Of(keys("leases", "running", "meta")))
	require.Equal(t, "announce", verbs.Of(keys("workers", "expire", "mark")))
	require.Equal(t, "lease", verbs.Of(keys("jobs", "w-2", "w-1", "w0", "w1", "w2", "scheduled", "leases", "running",
		"history", "blocked", "blockedon", "completed", "cancelled", "dead", "ghosts", "laneof", "lanes", "meta", "bell", "holders", "holds", "holdtimes",
		"limited", "classes", "slots", "rates", "ready", "last:l:someone")))
	require.Equal(t, "blpop", verbs.Of([]string{"BLPOP", "x"}))
}
