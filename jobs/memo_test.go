package jobs_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

func memoClient(t *testing.T, options ...jobs.RegistryOption) *jobs.Client {
	t.Helper()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: jobs.NewRegistry(options...)})
	require.NoError(t, err)
	return client
}

func TestAMemoKeepsValuesUntilTheyAreDeletedOrTheirTimeIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		memo := memoClient(t).Memo("import.orders")
		cursor := "untouched"
		found, err := memo.Get(ctx, "cursor", &cursor)
		require.NoError(t, err)
		require.False(t, found)
		require.Equal(t, "untouched", cursor)

		require.NoError(t, memo.Set(ctx, "cursor", "page 2"))
		require.NoError(t, memo.Set(ctx, "short", 1, jobs.ForgetAfter(time.Minute)))
		time.Sleep(time.Minute)
		found, err = memo.Get(ctx, "cursor", &cursor)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "page 2", cursor)
		found, err = memo.Get(ctx, "short", new(int))
		require.NoError(t, err)
		require.False(t, found)

		require.NoError(t, memo.Delete(ctx, "cursor"))
		require.NoError(t, memo.Delete(ctx, "cursor"), "there is none any more")
		found, err = memo.Get(ctx, "cursor", &cursor)
		require.NoError(t, err)
		require.False(t, found)
	})
}

func TestACounterOfAMemoCountsForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		memo := memoClient(t).Memo("mail")
		for want := range int64(3) {
			sum, err := memo.Increment(ctx, "sent", 1, jobs.ForgetAfter(time.Hour))
			require.NoError(t, err)
			require.Equal(t, want+1, sum)
			time.Sleep(10 * time.Minute)
		}
		var sent int
		_, err := memo.Get(ctx, "sent", &sent)
		require.NoError(t, err)
		require.Equal(t, 3, sent)
		time.Sleep(30 * time.Minute)
		sum, err := memo.Increment(ctx, "sent", -5)
		require.NoError(t, err)
		require.EqualValues(t, -5, sum)
	})
}

func TestUpdatesOfAMemoThatMeetAreAllCarriedOut(t *testing.T) {
	ctx := t.Context()
	memo := memoClient(t).Memo("set")
	type state struct{ Seen []int }
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			err := jobs.UpdateMemo(ctx, memo, "seen", func(s state) (state, error) {
				s.Seen = append(s.Seen, i)
				return s, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var s state
	_, err := memo.Get(ctx, "seen", &s)
	require.NoError(t, err)
	require.Len(t, s.Seen, 20)

	refused := errors.New("refused")
	err = jobs.UpdateMemo(ctx, memo, "seen", func(state) (state, error) { return state{}, refused })
	require.Equal(t, refused, err)
	require.NoError(t, memo.Set(ctx, "text", "text"))
	err = jobs.UpdateMemo(ctx, memo, "text", func(n int) (int, error) { return n, nil })
	require.ErrorIs(t, err, jobs.ErrPayload)
}

func TestAnUpdateThatIsAlwaysOvertakenEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		memo := memoClient(t).Memo("busy")
		err := jobs.UpdateMemo(ctx, memo, "key", func(n int) (int, error) {
			return n, memo.Set(t.Context(), "key", n+1)
		})
		require.ErrorIs(t, err, backend.ErrConflict)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestWhatAMemoCannotKeepIsRefusedWithTheReason(t *testing.T) {
	ctx := t.Context()
	client := memoClient(t)
	memo := client.Memo("memo")
	require.ErrorIs(t, client.Memo("a name").Set(ctx, "key", 1), backend.ErrRejected)
	require.ErrorIs(t, memo.Set(ctx, "", 1), backend.ErrRejected)
	require.ErrorIs(t, memo.Set(ctx, "key", 1, nil), backend.ErrRejected)
	require.ErrorIs(t, memo.Set(ctx, "key", 1, jobs.ForgetAfter(0)), backend.ErrRejected)
	require.ErrorIs(t, memo.Set(ctx, "key", func() {}), jobs.ErrPayload)
	err := memo.Set(ctx, "key", strings.Repeat("x", backend.MaxMemo))
	require.ErrorIs(t, err, jobs.ErrPayload)
	require.EqualError(t, err, `cannot encode a value of the memo "memo" with codec "json": it has 65538 bytes, 65536 are allowed`)
	require.NoError(t, memo.Set(ctx, "key", "text"))
	_, err = memo.Increment(ctx, "key", 1)
	require.ErrorIs(t, err, backend.ErrRejected)
	_, err = memo.Get(ctx, "key", new(int))
	require.ErrorIs(t, err, jobs.ErrPayload)
	require.NotContains(t, err.Error(), "text")
}

// hidden is a codec whose data shows nothing.
type hidden struct{}

func (hidden) Name() string { return "hidden" }

func (hidden) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return []byte(base64.StdEncoding.EncodeToString(data)), err
}

func (hidden) Unmarshal(data []byte, v any) error {
	text, err := base64.StdEncoding.DecodeString(string(data))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func TestAMemoIsEncodedByTheCodecAndReadWithAnyThatIsKnown(t *testing.T) {
	ctx := t.Context()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer store.Close()
	open := func(options ...jobs.RegistryOption) *jobs.Memo {
		client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: jobs.NewRegistry(options...)})
		require.NoError(t, err)
		return client.Memo("memo")
	}
	plain, coded := open(), open(jobs.WithCodec(hidden{}))
	require.NoError(t, plain.Set(ctx, "plain", "secret"))
	require.NoError(t, coded.Set(ctx, "coded", "secret"))
	_, err = plain.Increment(ctx, "count", 1)
	require.NoError(t, err)
	for _, key := range []string{"plain", "coded"} {
		var text string
		_, err := coded.Get(ctx, key, &text)
		require.NoError(t, err)
		require.Equal(t, "secret", text)
	}
	var count int
	_, err = coded.Get(ctx, "count", &count)
	require.NoError(t, err)
	require.Equal(t, 1, count)
	_, err = plain.Get(ctx, "coded", new(string))
	require.ErrorContains(t, err, "does not know the codec")
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: jobs.NewRegistry(jobs.WithCodec(hidden{}))})
	require.NoError(t, err)
	require.NoError(t, client.PlainMemo("memo").Set(ctx, "shared", "known to all"))
	var shared string
	_, err = plain.Get(ctx, "shared", &shared)
	require.NoError(t, err)
	require.Equal(t, "known to all", shared)
	stored, err := store.Memo(ctx, "memo", "coded")
	require.NoError(t, err)
	require.NotContains(t, string(stored.Value), "secret")
}
