package operate_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
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

// together is a store that has two enqueues wait for each other.
type together struct {
	backend.Backend
	both sync.WaitGroup
}

func (s *together) Enqueue(ctx context.Context, batch []backend.NewJob) ([]backend.Receipt, error) {
	s.both.Done()
	s.both.Wait()
	return s.Backend.Enqueue(ctx, batch)
}

func TestTwoWhoEditAJobAtTheSameTimeMakeOneNewJob(t *testing.T) {
	for name, payloads := range map[string][2]string{
		"a second click": {`{"user_id": 1}`, `{"user_id":1}`},
		"two people":     {`{"user_id": 1}`, `{"user_id": 2}`},
	} {
		t.Run(name, func(t *testing.T) {
			onStores(t, func(t *testing.T, f *fleet) {
				f.enqueue("q", "old")
				f.die("q", crashed)
				store := &together{Backend: f.store}
				store.both.Add(2)
				client := mustClient(t, store)
				var all sync.WaitGroup
				var receipts [2]jobs.Receipt
				var errs [2]error
				for i, payload := range payloads {
					all.Go(func() {
						receipts[i], errs[i] = operate.EditAndRetry(t.Context(), client, "q", "old", json.RawMessage(payload))
					})
				}
				all.Wait()
				require.EqualValues(t, 1, f.count("q", backend.StateWaiting))
				require.Zero(t, f.count("q", backend.StateDead))
				require.NotEmpty(t, receipts[0].ID)
				require.Equal(t, receipts[0].ID, receipts[1].ID)
				if name == "a second click" {
					require.NoError(t, errors.Join(errs[0], errs[1]))
					return
				}
				refused := errors.Join(errs[0], errs[1])
				require.ErrorIs(t, refused, backend.ErrConflict)
				require.True(t, errs[0] == nil || errs[1] == nil, refused)
			})
		})
	}
}

func TestAJobThatDiedAgainIsEditedAgain(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("q", "old")
		f.die("q", func(id string) backend.Failure { time.Sleep(2 * time.Millisecond); return crashed(id) })
		first, err := operate.EditAndRetry(t.Context(), f.client, "q", "old", json.RawMessage(`{"user_id": 1}`))
		require.NoError(t, err)
		f.die("q", crashed)
		second, err := operate.EditAndRetry(t.Context(), f.client, "q", first.ID, json.RawMessage(`{"user_id": 1}`))
		require.NoError(t, err)
		require.False(t, second.Existing)
		require.NotEqual(t, first.ID, second.ID)
		require.EqualValues(t, 1, f.count("q", backend.StateWaiting))
	})
}

func TestACopyThatIsAskedForTwiceIsMadeOnce(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		one := jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(func(Welcome) string { return "acme" }))
		_, err := f.client.Enqueue(t.Context(), Welcome{}, jobs.Queue("q"), jobs.ID("old"), one)
		require.NoError(t, err)
		f.die("q", crashed)
		first, err := f.client.Copy(t.Context(), "q", "old", jobs.CopyOnce("x"))
		require.NoError(t, err)
		require.False(t, first.Existing)
		f.die("q", crashed)
		again, err := f.client.Copy(t.Context(), "q", "old", jobs.CopyOnce("x"))
		require.NoError(t, err, "whatever has become of it")
		require.True(t, again.Existing)
		require.Equal(t, first.ID, again.ID)
		other, err := f.client.Copy(t.Context(), "q", "old", jobs.CopyOnce("y"))
		require.NoError(t, err)
		require.NotEqual(t, first.ID, other.ID)
		_, err = f.client.Copy(t.Context(), "q", "old", nil)
		require.ErrorIs(t, err, backend.ErrRejected)
	})
}
