package redis

import (
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOnlyTheSilentOfTheSameServerAreGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Second
		h := newHub(timeout)
		connect := func(track *tracker, server string) (*trackedConn, net.Conn) {
			ours, theirs := net.Pipe()
			conn, err := track.add(ours, server)
			require.NoError(t, err)
			t.Cleanup(func() { _ = theirs.Close() })
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			return conn.(*trackedConn), theirs
		}
		answer := func(conn *trackedConn, theirs net.Conn) {
			go func() { _, _ = theirs.Write([]byte("x")) }()
			_, err := conn.Read(make([]byte, 1))
			require.NoError(t, err)
		}
		ask := func(conn *trackedConn) {
			_, err := conn.Write([]byte("?"))
			require.NoError(t, err)
		}
		await := func(conn *trackedConn, d time.Duration) {
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(d)))
			_, err := conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		open := func() int { return len(h.pick(func(*trackedConn) bool { return true })) }

		calls, waits := h.tracker(), h.tracker()
		listener, theirs := connect(calls, "a")
		idle, _ := connect(waits, "a")
		alive, alivesServer := connect(waits, "a")
		tail, tailsServer := connect(waits, "a")
		other, _ := connect(waits, "b")
		ask(listener)
		answer(listener, theirs)
		await(listener, timeout)
		require.Equal(t, 5, open(), "one that listens is owed nothing")
		ask(listener)
		await(listener, timeout/10)
		require.Equal(t, 5, open(), "that was too short to tell")

		ask(listener)
		answer(tail, tailsServer) // it was on its way when the line broke
		go func() {
			time.Sleep(timeout * 3 / 4)
			answer(alive, alivesServer)
		}()
		await(listener, timeout)
		require.Equal(t, 2, open())
		for _, gone := range []*trackedConn{listener, idle, tail} {
			_, err := gone.Write([]byte("?"))
			require.ErrorIs(t, err, errSevered)
			_, err = gone.SyscallConn()
			require.ErrorIs(t, err, errSevered)
			require.NoError(t, gone.Close())
		}
		ask(alive)
		ask(other)

		waits.cut()
		require.Zero(t, open())
		late, _ := net.Pipe()
		_, err := waits.add(late, "a")
		require.ErrorIs(t, err, net.ErrClosed)
	})
}
