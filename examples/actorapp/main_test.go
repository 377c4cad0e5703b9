package main

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheAppSendsItsLettersAndAwaitsTheStop(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer

	err := run(t.Context(), &stdout, slog.New(slog.DiscardHandler))

	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	require.Equal(t, "the worker is stopped: 6 leased, 6 completed, 0 handed back", lines[len(lines)-1])
	require.Equal(t, []string{
		"reminder to ada@example.org", "reminder to grace@example.org", "reminder to rob@example.org",
		"welcome to ada@example.org", "welcome to grace@example.org", "welcome to rob@example.org",
	}, slices.Sorted(slices.Values(lines[:6])))
}

func TestAnAppThatEndsEarlyStopsItsWorkerToo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var stdout bytes.Buffer
	end := writerFunc(func(text []byte) (int, error) { // at the first letter
		cancel()
		return stdout.Write(text)
	})

	err := run(ctx, end, slog.New(slog.DiscardHandler))

	require.NoError(t, err)
	require.Contains(t, stdout.String(), "the worker is stopped")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(text []byte) (int, error) { return f(text) }
