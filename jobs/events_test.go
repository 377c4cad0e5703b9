package jobs

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestAClientTellsItsHookWhatIsStoredNow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []Event
		store := &fakeStore{}
		client, err := NewClient(store, ClientConfig{OnEvent: func(e Event) { told = append(told, e) }})
		require.NoError(t, err)
		enqueue := func(options ...EnqueueOption) { _, _ = client.Enqueue(t.Context(), welcome{}, options...) }
		enqueue(ID("a"), Tags("new"), Header("user", "ann"), MaxAttempts(3))
		enqueue(ID("a"))
		synctest.Wait()
		require.Len(t, told, 1, "the same id again is no news")
		require.Equal(t, EventEnqueued, told[0].Type)
		require.Equal(t, "a", told[0].Job.ID)
		require.Equal(t, []any{"welcome", DefaultQueue, 3, []string{"new"}, "ann", 1},
			[]any{told[0].Job.Kind, told[0].Job.Queue, told[0].Job.MaxAttempts, told[0].Job.Tags, told[0].Job.Headers["user"], told[0].Jobs})

		store.enqueue = func(_ context.Context, batch []backend.NewJob) ([]Receipt, error) {
			return []Receipt{{Queue: batch[0].Queue, ID: batch[0].ID, State: backend.StateScheduled}}, nil
		}
		enqueue(ID("later"), In(time.Hour))
		store.enqueue = func(context.Context, []backend.NewJob) ([]Receipt, error) { return nil, backend.ErrUnavailable }
		enqueue(ID("lost"))
		synctest.Wait()
		require.Len(t, told, 2)
		require.Equal(t, EventScheduled, told[1].Type)
	})
}

func TestEventsComeInOrderAndOneAtATimeAndThoseBeyondTheBoundAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var mu sync.Mutex
		var told []int
		e := NewEvents(func(e Event) {
			require.True(t, mu.TryLock(), "two at a time")
			defer mu.Unlock()
			<-gate
			told = append(told, e.Jobs)
		})
		e.Tell(Event{Jobs: 0})
		synctest.Wait() // the hook has the first one
		dropped := 0
		for i := range MaxEvents + 5 {
			dropped += e.Tell(Event{Jobs: i + 1})
		}
		require.Equal(t, 5, dropped)
		require.EqualValues(t, 5, e.Dropped())
		began := time.Now()
		e.Flush(time.Second)
		require.Equal(t, time.Second, time.Since(began), "it is still told of the first")
		close(gate)
		e.Flush(time.Hour)
		require.Equal(t, time.Second, time.Since(began))
		require.Len(t, told, MaxEvents+1)
		for i := range told {
			require.Equal(t, i, told[i])
		}
	})
}

func TestAHookThatPanicsOrEndsItsGoroutineIsToldOfTheNextEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := 0
		e := NewEvents(func(e Event) {
			told++
			if e.Jobs == 1 {
				panic("in the hook")
			}
			runtime.Goexit()
		})
		e.Tell(Event{Jobs: 1}, Event{Jobs: 2}, Event{Jobs: 3})
		synctest.Wait()
		require.Equal(t, 3, told)
		e.Tell(Event{Jobs: 4})
		e.Flush(time.Hour)
		require.Equal(t, 4, told)
	})
	var none *Events
	require.Zero(t, none.Tell(Event{}))
	require.Zero(t, none.Dropped())
	none.Flush(time.Hour)
	none.Around(nil)
	require.False(t, NewEvents(nil).Hooked())
}
