package redis

import (
	"context"
	"crypto/tls"
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
		busy, _ := connect(calls, "a")
		ask(listener)
		answer(listener, theirs)
		await(listener, timeout)
		require.Equal(t, 6, open(), "one that listens is owed nothing")
		ask(listener)
		await(listener, timeout/10)
		require.Equal(t, 6, open(), "that was too short to tell")

		_, err := busy.Write(make([]byte, 2*perSecond)) // takes two seconds
		require.NoError(t, err)
		ask(listener)
		answer(tail, tailsServer) // it was on its way when the line broke
		go func() {
			time.Sleep(timeout * 3 / 4)
			answer(alive, alivesServer)
		}()
		await(listener, timeout)
		require.Equal(t, 3, open())
		for _, gone := range []*trackedConn{listener, idle, tail} {
			_, err := gone.Write([]byte("?"))
			require.ErrorIs(t, err, errSevered)
			_, err = gone.SyscallConn()
			require.ErrorIs(t, err, errSevered)
			require.NoError(t, gone.Close())
		}
		ask(alive)
		ask(other)
		ask(busy)

		waits.cut()
		require.Equal(t, 1, open())
		calls.cut()
		require.Zero(t, open())
		late, _ := net.Pipe()
		_, err = waits.add(late, "a")
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestAnEndSpeaksForTheIdleWhoseEndNobodySees(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHub(time.Second)
		connect := func(server string) (*trackedConn, net.Conn) {
			ours, theirs := net.Pipe()
			conn, err := h.tracker().add(ours, server)
			require.NoError(t, err)
			t.Cleanup(func() { _, _ = conn.Close(), theirs.Close() })
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			time.Sleep(time.Millisecond)
			return conn.(*trackedConn), theirs
		}
		older, _ := connect("a")
		asked, _ := connect("a")
		listener, _ := connect("a")
		elsewhere, _ := connect("b")
		closed, theirs := connect("a")
		newer, _ := connect("a")
		_, err := asked.Write([]byte("?"))
		require.NoError(t, err)
		go func() { _, _ = listener.Read(make([]byte, 1)) }()
		synctest.Wait()

		_, err = closed.Write([]byte("?"))
		require.NoError(t, err)
		require.NoError(t, theirs.Close())
		_, err = closed.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		require.True(t, wasLost(err))

		_, err = older.SyscallConn()
		require.ErrorIs(t, err, errSevered, "it was idle for longer")
		for _, alive := range []*trackedConn{asked, listener, elsewhere, newer} {
			_, err := alive.SyscallConn()
			require.NoError(t, err)
		}
		_, err = older.Write([]byte("?"))
		require.True(t, wasLost(err), "nothing of it was sent, so it may be asked elsewhere")
	})
}

func TestADialThatFailsLateLeavesAloneWhatComesBesideItsError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := dialWithin(ctx, func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(2 * time.Second)
			return (*tls.Conn)(nil), io.EOF
		}, "tcp", "host:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(2 * time.Second)
		synctest.Wait()

		_, err = dialWithin(context.Background(), func(context.Context, string, string) (net.Conn, error) {
			return (*tls.Conn)(nil), io.EOF
		}, "tcp", "host:1")
		require.ErrorIs(t, err, io.EOF)
	})
}

// Of a dialer that fails the client library writes to the standard error.
func TestADialThatFailsIsAConnectionThatSaysSo(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	track := newHub(time.Second).tracker()
	fails := func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrClosedPipe }
	opens := func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		return ours, nil
	}

	conn, err := prompt(fails, track)(ctx, "tcp", "host:1")
	require.NoError(t, err)
	_, err = conn.Write([]byte("?"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	require.ErrorContains(t, err, "connecting to host:1")

	track.cut()
	conn, err = prompt(opens, track)(ctx, "tcp", "host:1")
	require.NoError(t, err, "also when the store was closed meanwhile")
	_, err = conn.Write([]byte("?"))
	require.ErrorIs(t, err, net.ErrClosed)
}
