package memory

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

const lease = 8 * time.Second // so that the clock is read every second

func TestALeaseClockThatIsReadInTimeCountsAllTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var c leaseClock
		now := time.Duration(0)
		timer := now + c.runs(lease)
		for now < 3*lease {
			step := time.Duration(rapid.Int64Range(1, int64(2*time.Second)).Draw(t, "step"))
			if now += step; timer > 0 && now > timer+time.Second {
				now = timer + time.Second // late, as timers are, but it rings
			}
			require.Equal(t, now, c.advance(now))
			if in := c.next(); in > 0 {
				timer = now + in
			} else if c.due == 0 {
				timer = 0
			}
		}
		require.Zero(t, timer, "no lease runs, and no timer")
	})
}

func TestALeaseClockDoesNotCountTheTimeInWhichTheProcessStood(t *testing.T) {
	t.Parallel()
	var c leaseClock
	require.Equal(t, time.Second, c.runs(lease))
	require.Equal(t, 500*time.Millisecond, c.advance(500*time.Millisecond))

	require.Equal(t, time.Second, c.advance(time.Hour), "until the timer was due")
	require.Equal(t, time.Second, c.next(), "it rings anew")
	require.Equal(t, 1200*time.Millisecond, c.advance(time.Hour+200*time.Millisecond))

	require.Equal(t, 2*time.Second, c.advance(10*time.Hour), "a second time")
}

func TestAShortLeaseBesideALongOneIsWatchedMoreOften(t *testing.T) {
	t.Parallel()
	var c leaseClock
	require.Equal(t, time.Hour, c.runs(8*time.Hour))
	require.Equal(t, time.Second, c.runs(lease))
	require.Equal(t, time.Second, c.advance(time.Minute))
}

func TestAnIdleStoreSetsNoTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := New(Config{})
		require.NoError(t, err)
		request := backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"q"}, Max: 1, Duration: lease}
		_, err = store.Lease(t.Context(), request)
		require.NoError(t, err)
		due := func() time.Duration {
			store.mu.Lock()
			defer store.mu.Unlock()
			return store.clock.due
		}
		require.Zero(t, due(), "none was leased")
		_, err = store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "a", Queue: "q", Kind: "k"}}})
		require.NoError(t, err)
		request.Token = "w.2"
		_, err = store.Lease(t.Context(), request)
		require.NoError(t, err)
		require.NotZero(t, due())

		time.Sleep(lease)
		synctest.Wait()

		require.Zero(t, due(), "the lease has ended")
		time.Sleep(time.Hour)
		store.mu.Lock()
		defer store.mu.Unlock()
		require.Equal(t, lease+time.Hour, store.clock.read())
	})
}

// lesson: an hour more or less of a sum that passes the end of the clock.
func TestWhatLiesBeyondTheClockIsItsEnd(t *testing.T) {
	t.Parallel()
	now := time.Now().UnixNano()
	for _, d := range []time.Duration{1<<63 - 1, 1<<63 - 2, 290 * 365 * 24 * time.Hour} {
		require.Greater(t, dueAt(now, d), now+int64(100*365*24*time.Hour), "%v", d)
	}
	require.Equal(t, int64(2*time.Millisecond), dueAt(int64(time.Millisecond), 1))
}
