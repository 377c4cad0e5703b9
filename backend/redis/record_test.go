package redis_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// told is a record of queue "mail": n jobs of each kind, and their ends as events.
func told(call uint64, n int, kinds ...string) backend.Record {
	r := backend.Record{Worker: "w", Call: call}
	for _, kind := range kinds {
		f := backend.Figure{Queue: "mail", Kind: kind, Minute: time.Now().Truncate(time.Minute)}
		for i := range n {
			f.Completed++
			f.Running.Observe(time.Second)
			r.Events = append(r.Events, backend.Event{Type: "completed", Queue: "mail", Kind: kind, ID: fmt.Sprint(kind, i), At: time.Now()})
		}
		r.Figures = append(r.Figures, f)
	}
	r.Events = append(r.Events, backend.Event{Type: "worker-quiet", Worker: "w"})
	return r
}

func completed(t *testing.T, store backend.Backend, kind string) int64 {
	t.Helper()
	s, err := store.Figures(t.Context(), backend.FiguresQuery{Queue: "mail", Kind: kind})
	require.NoError(t, err)
	total := s.Total()
	return total.Completed
}

func journal(t *testing.T, store backend.Backend, queue string) []backend.Event {
	t.Helper()
	page, err := store.Events(t.Context(), backend.EventsQuery{Queue: queue, Limit: backend.MaxEvents})
	require.NoError(t, err)
	return page.Events
}

func TestARecordWhoseReplyIsLostCountsOnce(t *testing.T) {
	t.Parallel()
	store, c := cutting(t)
	record := told(7, 3, "k")
	c.armed.Store(twice)
	require.ErrorIs(t, store.Record(t.Context(), record), backend.ErrUnavailable)
	require.Positive(t, c.lost.Load())
	c.armed.Store(0)
	require.NoError(t, store.Record(t.Context(), record))
	require.EqualValues(t, 3, completed(t, store, "k"))
	require.Len(t, journal(t, store, "mail"), 3)
	require.Len(t, journal(t, store, ""), 1)
}

func TestAllThatIsRecordedIsForgottenByItself(t *testing.T) {
	t.Parallel()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{Namespace: "rec"})
	_, err := store.Enqueue(t.Context(), ids("a-", 0, 1))
	require.NoError(t, err)
	before := client.Keys(t.Context(), "*").Val()
	for call := range uint64(3) {
		require.NoError(t, store.Record(t.Context(), told(call+1, 1, "k", "other")))
	}
	fresh := 0
	for _, key := range client.Keys(t.Context(), "*").Val() {
		if strings.Contains(strings.Join(before, " "), key) {
			continue
		}
		fresh++
		in := client.PTTL(t.Context(), key).Val()
		require.Positive(t, in, key)
		require.LessOrEqual(t, in, backend.HoursKept+24*time.Hour, key)
	}
	require.Contains(t, []int{7, 8}, fresh, "figures of one hour, or two, and of a day; kinds, two journals, and two memories of the caller")

	require.NoError(t, client.ZAdd(t.Context(), "rec:{mail}:figurekinds", goredis.Z{Score: float64(time.Now().Add(-9 * 24 * time.Hour).UnixMilli()), Member: "k"}).Err())
	s, err := store.Figures(t.Context(), backend.FiguresQuery{Queue: "mail"})
	require.NoError(t, err)
	require.Equal(t, []string{"other"}, s.Kinds)
	require.NoError(t, store.Record(t.Context(), told(9, 1, "third")))
	require.Equal(t, []string{"other", "third"}, client.ZRange(t.Context(), "rec:{mail}:figurekinds", 0, -1).Val())
	require.NoError(t, store.SignOff(t.Context(), "w", []string{"mail"}))
	require.Empty(t, client.Keys(t.Context(), "*last:r:*").Val())
}

func TestAQueueWithShardsHasOneJournalAndOneSeries(t *testing.T) {
	t.Parallel()
	_, client := standalone(t, redistest.Options{})
	config := redis.Config{Namespace: "shards", DefaultShards: 3}
	store := open(t, client, config)
	_, err := store.Enqueue(t.Context(), ids("a-", 0, 30))
	require.NoError(t, err)
	require.NoError(t, store.Record(t.Context(), told(1, 2, "k", "other")))
	// Who only looks need not know of the shards.
	looker := open(t, client, redis.Config{Namespace: "shards"})
	for _, s := range []backend.Backend{store, looker} {
		require.EqualValues(t, 4, completed(t, s, ""))
		require.Len(t, journal(t, s, "mail"), 4)
	}
}

func TestFiguresAndEventsThatCannotBeReadAreLeftOut(t *testing.T) {
	t.Parallel()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{Namespace: "rec"})
	_, err := store.Enqueue(t.Context(), ids("a-", 0, 1))
	require.NoError(t, err)
	record := told(1, 1, "k", "other")
	require.NoError(t, store.Record(t.Context(), record))
	minute := record.Figures[0].Minute.Unix() / 60
	hash := fmt.Sprint("rec:{mail}:figures:m:", minute/60)
	require.NoError(t, client.HSet(t.Context(), hash, fmt.Sprint(minute, " k"), "c=many").Err())
	require.NoError(t, client.XAdd(t.Context(), &goredis.XAddArgs{Stream: "rec:{mail}:journal", ID: "3-0", Values: []string{"e", "{"}}).Err())
	require.Zero(t, completed(t, store, "k"))
	require.EqualValues(t, 1, completed(t, store, "other"))
	events := journal(t, store, "mail")
	require.Len(t, events, 3)
	require.Empty(t, events[2].Type)
	require.NoError(t, store.Record(t.Context(), told(2, 1, "k")))
	require.EqualValues(t, 1, completed(t, store, "k"), "it goes on with what can be read")
}

func TestAFullStoreTakesNoRecordAndGoesOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{})
	_, err := store.Enqueue(ctx, ids("a-", 0, 1))
	require.NoError(t, err)
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	require.ErrorIs(t, store.Record(ctx, told(1, 1, "k")), backend.ErrFull)
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
	require.NoError(t, store.Record(ctx, told(1, 1, "k")))
	require.EqualValues(t, 1, completed(t, store, "k"), "nothing was half done")
}
