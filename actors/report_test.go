package actors_test

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
)

// What the log calls "handed back" must not be another key for whoever reads probes.
func TestAReportHasTheSameKeysInTheLogInJSONAndInTheStatus(t *testing.T) {
	t.Parallel()
	counts := actors.Counts{
		Leased: 1, Completed: 2, Retried: 3, Dead: 4, Cancelled: 5, Snoozed: 6, Blocked: 7,
		HandedBack: 8, Returned: 9, Interrupted: 10, Abandoned: 11, Lost: 12, Unconfirmed: 13,
	}
	document := func(value any) (keys map[string]any) {
		text, err := json.Marshal(value)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &keys))
		return keys
	}
	report := &actors.Report{State: actors.StateStopped, Reason: "r", Counts: counts, StopTook: time.Second, Stuck: []string{"s"}}
	inJSON, numbers := document(report), document(counts)
	require.Len(t, numbers, 13)
	require.Subset(t, inJSON, numbers)
	require.Equal(t, numbers, document(actors.Status{Counts: counts})["counts"])

	logged := map[string]bool{}
	for _, attr := range report.LogValue().Group() {
		logged[attr.Key] = true
		require.Contains(t, inJSON, attr.Key)
		if attr.Value.Kind() == slog.KindInt64 {
			require.EqualValues(t, inJSON[attr.Key], attr.Value.Int64(), attr.Key)
		}
	}
	for key := range numbers {
		require.True(t, logged[key], "the log leaves out %s", key)
	}
}
