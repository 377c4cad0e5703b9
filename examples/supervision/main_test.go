package main

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEachPanicMeetsItsStrategy(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer

	err := run(t.Context(), &stdout, slog.New(slog.DiscardHandler))

	require.NoError(t, err)
	require.Equal(t, `import, attempt 1 of 1: line 7: the input is not valid: go on
flaky, attempt 1 of 5: the connection is in a strange state: restart after a pause
flaky, attempt 2 of 5: the connection is in a strange state: restart after a pause
flaky, attempt 3 of 5: done
lookup, attempt 1 of 25: the index is corrupt: escalate
the worker is crashed: the index is corrupt
1 completed, 3 retried, 1 dead
`, stdout.String())
}
