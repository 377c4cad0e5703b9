package redis

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// trackedPair is a tracked connection and the server's end of it.
func trackedPair(t *testing.T) (client *trackedConn, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			accepted <- conn
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	tracked, err := newHub(time.Second).tracker().add(conn, "server")
	require.NoError(t, err)
	client, server = tracked.(*trackedConn), <-accepted
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// hurried makes the connection one whose answers usually come at once.
func hurried(t *testing.T, client *trackedConn) {
	t.Helper()
	if client.near == nil {
		t.Log("answers are not looked for here; the usual way of reading is tested")
		return
	}
	client.near.usual = nearby
}

func TestWhoLooksForAnAnswerReadsWhatTheServerSends(t *testing.T) {
	client, server := trackedPair(t)
	go func() { _, _ = io.Copy(server, server) }()
	for range 200 {
		hurried(t, client)
		_, err := client.Write([]byte("question"))
		require.NoError(t, err)
		answer := make([]byte, 8)
		_, err = io.ReadFull(client, answer)
		require.NoError(t, err)
		require.Equal(t, "question", string(answer))
	}
}

func TestAnAnswerThatComesLateIsWaitedForInTheUsualWay(t *testing.T) {
	client, server := trackedPair(t)
	hurried(t, client)
	_, err := client.Write([]byte("question"))
	require.NoError(t, err)
	asked := make([]byte, 8)
	_, err = io.ReadFull(server, asked)
	require.NoError(t, err)
	time.AfterFunc(20*time.Millisecond, func() { _, _ = server.Write([]byte("answer")) })
	answer := make([]byte, 6)
	_, err = io.ReadFull(client, answer)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))
	if client.near != nil {
		require.Greater(t, client.near.usual, nearby, "the next answer is not looked for")
	}
}

func TestWhoLooksForAnAnswerHearsOfTheEndAndOfTheDeadline(t *testing.T) {
	t.Run("the end of the connection", func(t *testing.T) {
		client, server := trackedPair(t)
		hurried(t, client)
		_, err := client.Write([]byte("question"))
		require.NoError(t, err)
		asked := make([]byte, 8)
		_, err = io.ReadFull(server, asked)
		require.NoError(t, err)
		require.NoError(t, server.Close())
		_, err = client.Read(make([]byte, 8))
		require.ErrorIs(t, err, io.EOF)
	})
	t.Run("the deadline", func(t *testing.T) {
		client, _ := trackedPair(t)
		hurried(t, client)
		_, err := client.Write([]byte("question"))
		require.NoError(t, err)
		require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err = client.Read(make([]byte, 8))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	t.Run("a connection that was given up", func(t *testing.T) {
		client, _ := trackedPair(t)
		hurried(t, client)
		_, err := client.Write([]byte("question"))
		require.NoError(t, err)
		client.sever()
		_, err = client.Read(make([]byte, 8))
		require.ErrorIs(t, err, errSevered)
	})
}
