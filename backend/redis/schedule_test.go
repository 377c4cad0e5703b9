package redis_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

func TestASchedulesJobsAreInItsShard(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{Shards: map[string]int{"q": 8}, Timeout: unhurried.Timeout})
	first := time.UnixMilli(1_700_000_000_000).UTC()
	const schedules, ticks = 20, 3
	for n := range schedules {
		s, err := store.PutSchedule(ctx, backend.Schedule{Queue: "q", Name: fmt.Sprint("s", n), Next: first})
		require.NoError(t, err)
		for range ticks {
			job := backend.NewJob{Job: backend.Job{ID: backend.TickID(s.Name, s.Next), Queue: "q", Kind: "k"}}
			reply, err := store.Tick(ctx, []backend.Tick{{
				Queue: "q", Name: s.Name, Version: s.Version, At: s.Next, Next: s.Next.Add(time.Minute), Job: &job, Overlap: backend.OverlapAllow,
			}})
			require.NoError(t, err)
			require.Equal(t, backend.TickEnqueued, reply.Results[0].Outcome)
			s = reply.Results[0].Schedule
			info, err := store.Job(ctx, "q", job.ID)
			require.NoError(t, err, "%s is found by its id", job.ID)
			require.Equal(t, backend.StateWaiting, info.State)
		}
	}
	names := map[string]bool{}
	query := backend.SchedulesQuery{Queue: "q", Limit: 3}
	for pages := 0; ; pages++ {
		require.Less(t, pages, 100, "the pages come to an end")
		page, err := store.Schedules(ctx, query)
		require.NoError(t, err)
		for _, s := range page.Schedules {
			require.False(t, names[s.Name], "%s twice", s.Name)
			names[s.Name] = true
			require.Equal(t, uint64(ticks), s.Enqueued)
			require.Equal(t, backend.StateWaiting, s.LastState)
		}
		if page.After == "" {
			break
		}
		query.Cursor = page.After
	}
	require.Len(t, names, schedules)
	_, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: "q", Cursor: "99 s"})
	require.ErrorIs(t, err, backend.ErrRejected)
}

func TestAFullServerRefusesATickWithoutAnEffectAndTakesItLater(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, unhurried)
	at := time.UnixMilli(1_700_000_000_000).UTC()
	put := func(name string) (backend.Schedule, error) {
		return store.PutSchedule(ctx, backend.Schedule{Queue: "q", Name: name, Next: at})
	}
	s, err := put("nightly")
	require.NoError(t, err)
	job := backend.NewJob{Job: backend.Job{ID: backend.TickID("nightly", at), Queue: "q", Kind: "k"}}
	tick := []backend.Tick{{Queue: "q", Name: "nightly", Version: s.Version, At: at, Next: at.Add(time.Minute), Job: &job, Overlap: backend.OverlapCancel}}
	_, err = store.Tick(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "1").Err())
	_, err = store.Tick(ctx, tick)
	require.ErrorIs(t, err, backend.ErrFull)
	_, err = put("weekly")
	require.ErrorIs(t, err, backend.ErrFull)
	page, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: "q"})
	require.NoError(t, err)
	require.Equal(t, []backend.Schedule{s}, page.Schedules)
	require.NoError(t, client.ConfigSet(ctx, "maxmemory", "0").Err())
	reply, err := store.Tick(ctx, tick)
	require.NoError(t, err)
	require.Equal(t, backend.TickEnqueued, reply.Results[0].Outcome)
}

func TestAScheduleThatIsSpoiltKeepsNoOtherFromBeingListed(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{Namespace: "spoilt", Timeout: unhurried.Timeout})
	for _, name := range []string{"a", "b", "c"} {
		_, err := store.PutSchedule(ctx, backend.Schedule{Queue: "q", Name: name})
		require.NoError(t, err)
	}
	require.NoError(t, client.HSet(ctx, "spoilt:{q}:schedules", "b", "rubbish").Err())
	page, err := store.Schedules(ctx, backend.SchedulesQuery{Queue: "q"})
	require.NoError(t, err)
	require.Len(t, page.Schedules, 2)
	_, err = store.PutSchedule(ctx, backend.Schedule{Queue: "q", Name: "b", Spec: []byte("anew")})
	require.NoError(t, err, "it can be put anew")
	require.NoError(t, store.DeleteSchedule(ctx, "q", "b"))
}
