package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func crashed(string) backend.Failure { return backend.Failure{Attempt: 1, Error: "no such user"} }

func TestADeadJobIsEditedAndRunsAgainAsANewOne(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		one := jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(func(Welcome) string { return "acme" }))
		_, err := f.client.Enqueue(t.Context(), Welcome{UserID: 1}, jobs.Queue("q"), jobs.ID("old"), jobs.Priority(2), jobs.MaxAttempts(3), jobs.Timeout(time.Minute),
			jobs.Retention(time.Hour), jobs.ExpireAfter(time.Hour), jobs.Tags("vip"), jobs.Header("trace", "abc"), one)
		require.NoError(t, err)
		f.die("q", crashed)
		old, err := f.client.Job(t.Context(), "q", "old")
		require.NoError(t, err)

		receipt, err := operate.EditAndRetry(t.Context(), f.client, "q", "old", json.RawMessage(` {"user_id": 12345678901234567890123} `))
		require.NoError(t, err)
		require.NotEqual(t, "old", receipt.ID)
		_, err = f.client.Job(t.Context(), "q", "old")
		require.ErrorIs(t, err, backend.ErrNotFound)
		edited, err := f.client.Job(t.Context(), "q", receipt.ID)
		require.NoError(t, err)
		require.Equal(t, backend.StateWaiting, edited.State)
		require.JSONEq(t, `{"user_id": 12345678901234567890123}`, string(edited.Payload), "numbers stay as they are")
		require.Empty(t, edited.Failures)
		want := old.Job
		want.ID, want.Payload, want.EnqueuedAt, want.DueAt = edited.ID, edited.Payload, edited.EnqueuedAt, edited.DueAt
		require.Equal(t, want, edited.Job, "everything else is as it was")
	})
}

func TestAJobThatIsNotAcceptedLeavesTheOldOne(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("q", "old")
		f.die("q", crashed)
		for _, payload := range []string{"", "{", `{"user_id": 1} 2`} {
			_, err := operate.EditAndRetry(t.Context(), f.client, "q", "old", json.RawMessage(payload))
			require.ErrorIs(t, err, backend.ErrRejected, payload)
		}
		veto := errors.New("not today")
		registry := jobs.NewRegistry(jobs.WithEnqueueMiddleware(func(jobs.EnqueueFunc) jobs.EnqueueFunc {
			return func(context.Context, []backend.NewJob) ([]backend.Receipt, error) { return nil, veto }
		}))
		jobs.Declare[Welcome](registry, jobs.Queue("q"))
		strict, err := jobs.NewClient(f.store, jobs.ClientConfig{Registry: registry})
		require.NoError(t, err)
		_, err = operate.EditAndRetry(t.Context(), strict, "q", "old", json.RawMessage(`{"user": 1}`))
		require.ErrorContains(t, err, "it has a field that the args do not have")
		require.NotContains(t, err.Error(), `"user"`, "an error shows nothing of a payload")
		require.Contains(t, operate.PayloadFault(err), `unknown field "user"`, "but to who wrote it")
		_, err = operate.EditAndRetry(t.Context(), strict, "q", "old", json.RawMessage(`{"user_id": 1}`))
		require.ErrorIs(t, err, veto)
		require.EqualValues(t, 1, f.count("q", backend.StateDead))
		require.Zero(t, f.count("q", backend.StateWaiting))
	})
}

func TestAJobThatMayRunIsNotEditedAndAnyIsCopied(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("q", "waiting")
		_, err := operate.EditAndRetry(t.Context(), f.client, "q", "waiting", json.RawMessage("{}"))
		require.ErrorIs(t, err, backend.ErrState)
		_, err = operate.EditAndRetry(t.Context(), f.client, "q", "none", json.RawMessage("{}"))
		require.ErrorIs(t, err, backend.ErrNotFound)
		receipt, err := f.client.Copy(t.Context(), "q", "waiting")
		require.NoError(t, err)
		require.NotEqual(t, "waiting", receipt.ID)
		require.EqualValues(t, 2, f.count("q", backend.StateWaiting))
		_, err = f.client.Copy(t.Context(), "q", "none")
		require.ErrorIs(t, err, backend.ErrNotFound)
	})
}

func TestACopyNeedsNoKeyOfItsCodecAndAnEditDoes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	_, err := f.store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{Queue: "q", ID: "sealed", Kind: "welcome", Codec: "secret", Payload: []byte{1, 2, 3}}}})
	require.NoError(t, err)
	receipt, err := f.client.Copy(t.Context(), "q", "sealed")
	require.NoError(t, err)
	copied, err := f.client.Job(t.Context(), "q", receipt.ID)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3}, copied.Payload)
	require.Equal(t, "secret", copied.Codec)
	_, err = f.client.CopyWith(t.Context(), "q", "sealed", json.RawMessage("{}"))
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, `the codec "secret" of the job is not known here`)
}
