package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestTheJobsOfTheShopAreSeenBesideItsPages(t *testing.T) {
	t.Parallel()
	store, err := backend.Open("memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, store, listener, 2*time.Second, 0) }()
	read := func(path string) string {
		answer, err := http.Get("http://" + listener.Addr().String() + path)
		require.NoError(t, err)
		defer func() { require.NoError(t, answer.Body.Close()) }()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Eventually(t, func() bool {
		return strings.Contains(read("/jobs/errors"), "panic: image: unknown format") &&
			strings.Contains(read("/jobs/"), "no worker takes from it")
	}, 20*time.Second, 20*time.Millisecond)
	require.Contains(t, read("/"), "This is the shop")
	stop()
	require.NoError(t, <-ended)
}

func TestWhoAsksForHelpGetsNoError(t *testing.T) {
	t.Parallel()
	require.NoError(t, run(t.Context(), []string{"-h"}))
}
