package backend_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestANameThatIsRefusedIsQuotedByWholeCharacters(t *testing.T) {
	t.Parallel()
	for name, says := range map[string]string{
		"Ärger":                       `queue name "Ärger" has 'Ä' at byte 0; letters from a to z, digits and _ - . are allowed`,
		"mail für":                    `has ' ' at byte 4`,
		"große":                       `has 'ß' at byte 3`,
		"a\xff":                       `queue name "a\xff" has`,
		"x" + strings.Repeat("ä", 60): `has 121 bytes, 100 are allowed: "xäääääääää"…`,
		"":                            "the queue has no name",
	} {
		err := backend.CheckQueue(name)
		require.ErrorIs(t, err, backend.ErrRejected)
		require.ErrorContains(t, err, says)
	}
	require.ErrorContains(t, backend.CheckKind("käse"), `kind "käse" has 'ä' at byte 1; letters from a to z, digits and _ - . : / are allowed`)
	require.NoError(t, backend.CheckKind("a/B-1_c.d:e"))
}

func TestAReceiptAndAResultKeepTheirErrorInJSON(t *testing.T) {
	t.Parallel()
	for value, want := range map[any]string{
		backend.Receipt{Queue: "q", ID: "a", State: backend.StateWaiting, Existing: true}: `{"queue":"q","id":"a","state":"waiting","existing":true}`,
		backend.Receipt{Queue: "q", ID: "a", Err: backend.ErrFull}:                        `{"queue":"q","id":"a","error":"the job store is full"}`,
		backend.ActResult{ID: "a", Err: errors.New("no")}:                                 `{"id":"a","error":"no"}`,
		backend.ActResult{ID: "a", State: backend.StateDead}:                              `{"id":"a","state":"dead"}`,
	} {
		text, err := json.Marshal(value)
		require.NoError(t, err)
		require.JSONEq(t, want, string(text))
	}
}

// lesson: keys of one document are written in one way.
func TestTheJSONOfAJobHasKeysOfOneKind(t *testing.T) {
	t.Parallel()
	now := time.Now()
	text, err := json.Marshal([]any{backend.JobInfo{
		Job: backend.Job{
			ID: "a", Queue: "q", Kind: "k", Payload: []byte("{}"), Codec: "c", Priority: 1, MaxAttempts: 1, MaxCrashes: 1, Timeout: 1,
			Deadline: now, ExpireAfter: 1, Retention: 1, Tags: []string{"t"}, Headers: map[string]string{"h": "v"}, Limits: []backend.Limit{{Class: "c"}}, EnqueuedAt: now, DueAt: now,
		},
		State: backend.StateDead,
		History: backend.History{
			Attempts: 1, AttemptLimit: 1, Snoozes: 1, Failures: []backend.Failure{{}}, Result: []byte("1"), Progress: []byte("1"),
			Worker: "w", StartedAt: now, FinishedAt: now,
		},
		Crashes: 1, ScheduledFor: now, BlockedOn: "b", LeasedBy: "w", Token: "t", LeaseExpiresAt: now, CancelRequested: true, KeptUntil: now,
	}, backend.QueueInfo{OldestWaiting: now}, backend.JobsPage{Next: "n"}, backend.WorkerInfo{}})
	require.NoError(t, err)
	var documents []map[string]any
	require.NoError(t, json.Unmarshal(text, &documents))
	for i, fields := range []int{35, 11, 2, 10} {
		require.Len(t, documents[i], fields)
		for key := range documents[i] {
			require.Regexp(t, "^[a-z_]+$", key)
		}
	}
}

func TestASchemeThatIsNotKnownNamesTheImport(t *testing.T) {
	t.Parallel()
	for url, says := range map[string]string{
		"memory:":                    `add import _ "github.com/caddis-go/caddis/backend/memory"`,
		"redis://localhost":          `add import _ "github.com/caddis-go/caddis/backend/redis"`,
		"redis+sentinel://a,b/m/0":   `add import _ "github.com/caddis-go/caddis/backend/redis"`,
		"postgres://user:secret@db/": "no scheme is known to this program",
	} {
		_, err := backend.Open(url)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret")
	}
}
