package sqlite

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// machine is one whose clocks a test sets.
type machine struct {
	anchor anchor
	reading
	leaps int64
}

func (m *machine) pass(ms int64) { m.steady += ms; m.wall += ms }

// write is a transaction that writes.
func (m *machine) write() int64 {
	next, leap, _ := m.anchor.adjust(m.reading)
	m.anchor = next
	m.leaps += leap
	return m.anchor.read(m.reading)
}

func newMachine() *machine {
	m := &machine{reading: reading{boot: "first", steady: 5000, wall: 1_000_000}}
	m.write()
	return m
}

func TestTheClockFollowsTheWallClock(t *testing.T) {
	t.Parallel()
	m := newMachine()
	anchor := m.anchor
	for range 10 {
		m.pass(1000)
		require.Equal(t, m.wall, m.write())
	}
	require.Equal(t, anchor, m.anchor, "nothing is written while nothing is set")
}

func TestTheClockGoesOnWhenTheWallClockIsSetBackUntilTheTwoAgree(t *testing.T) {
	t.Parallel()
	m := newMachine()
	m.pass(1000)
	before := m.write()
	m.wall -= 60_000
	require.Equal(t, before, m.write())
	m.pass(10_000)
	require.Equal(t, before+9000, m.write(), "a little slower")
	for range 100 {
		last := m.anchor.read(m.reading)
		m.pass(10_000)
		require.Greater(t, m.write(), last)
	}
	require.InDelta(t, m.wall, m.write(), tolerance)
	require.Zero(t, m.leaps)
	require.EqualValues(t, normal, m.anchor.rate)
}

func TestTheClockFollowsAWallClockThatIsSetForwardAndSaysByHowMuch(t *testing.T) {
	t.Parallel()
	m := newMachine()
	m.leaps = 0
	m.pass(1000)
	m.wall += 3_600_000
	require.Equal(t, m.wall, m.write())
	require.EqualValues(t, 3_600_000, m.leaps)
	m.pass(1000)
	require.Equal(t, m.wall, m.write())
	require.EqualValues(t, 3_600_000, m.leaps, "once")
}

func TestTheClockDoesNotRunBackWhenTheMachineIsStartedAnew(t *testing.T) {
	t.Parallel()
	m := newMachine()
	m.pass(50_000)
	m.reading = reading{boot: "second", steady: 10, wall: 900_000}
	first := m.write()
	require.GreaterOrEqual(t, first, int64(1_000_000), "no earlier than what was written")
	m.pass(1000)
	require.Greater(t, m.write(), first)
}

func TestWhereThereIsNoSteadyClockTheLastSecondIsKept(t *testing.T) {
	t.Parallel()
	m := &machine{reading: reading{wall: 1_000_000}}
	require.EqualValues(t, 1_000_000, m.write())
	m.wall += 5000
	require.EqualValues(t, 1_005_000, m.write())
	m.wall -= 60_000
	require.EqualValues(t, 1_005_000, m.write())
	require.Zero(t, m.leaps)
}

func TestAWallClockThatIsSetEndsNoLeaseAndHoldsUpNoJob(t *testing.T) {
	t.Parallel()
	store, err := newBackend(source{path: filepath.Join(t.TempDir(), "jobs.db")}, Config{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	var set atomic.Int64
	store.clocks = func() reading {
		r := readClocks()
		r.wall += set.Load()
		return r
	}
	tokens := 0
	lease := func() backend.LeaseReply {
		tokens++
		reply, err := store.Lease(t.Context(), backend.LeaseRequest{
			Worker: "w", Token: "w." + string(rune('a'+tokens)), Queues: []string{"q"}, Max: 1, Duration: time.Minute,
		})
		require.NoError(t, err)
		return reply
	}
	later := newJob("in ten minutes")
	later.Delay = 10 * time.Minute
	_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob("running"), later})
	require.NoError(t, err)
	require.Len(t, lease().Leases, 1)

	set.Store(time.Hour.Milliseconds())
	reply := lease()
	require.Len(t, reply.Leases, 1, "it is due by the clock on the wall")
	require.Equal(t, "in ten minutes", reply.Leases[0].Job.ID)
	require.WithinDuration(t, time.Now().Add(time.Hour), reply.Now, 10*time.Second)
	running, err := store.Job(t.Context(), "q", "running")
	require.NoError(t, err)
	require.Equal(t, backend.StateRunning, running.State, "its lease was prolonged")
	require.True(t, running.LeaseExpiresAt.After(reply.Now))

	set.Store(-time.Hour.Milliseconds())
	soon := newJob("soon")
	soon.Delay = 100 * time.Millisecond
	_, err = store.Enqueue(t.Context(), []backend.NewJob{soon})
	require.NoError(t, err)
	last := reply.Now
	require.Eventually(t, func() bool {
		reply := lease()
		require.False(t, reply.Now.Before(last), "it runs back")
		last = reply.Now
		return len(reply.Leases) == 1
	}, 20*time.Second, 10*time.Millisecond)
}

func TestAnIdleStoreWritesNothingWhereThereIsNoClockButTheWalls(t *testing.T) {
	t.Parallel()
	store, err := Open("sqlite:" + filepath.Join(t.TempDir(), "jobs.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	wall := time.Now().UnixMilli()
	store.clocks = func() reading { return reading{wall: wall} }
	call := func(n int) {
		wall += 5000
		_, err := store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: fmt.Sprint("w.", n), Queues: []string{"q"}, Max: 1, Duration: time.Minute})
		require.NoError(t, err)
	}
	written := func() (at int64) {
		require.NoError(t, store.read(t.Context(), "clock", "", func(x executor) error {
			a, err := readAnchor(x)
			at = a.time
			return err
		}))
		return at
	}
	call(1)
	before := written()
	require.Equal(t, wall, before, "the queue is new")
	call(2)
	call(3)
	require.Equal(t, before, written())
	_, err = store.Enqueue(t.Context(), []backend.NewJob{newJob("a")})
	require.NoError(t, err)
	require.Equal(t, wall, written())
}
