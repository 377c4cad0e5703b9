package jobs

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

type pointed struct{ N int }

func (*pointed) Kind() string { return "pointed" }

func TestARegistryMakesEmptyArgsOfItsKinds(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	Handle(r, ignore[welcome])
	Declare[*pointed](r)

	args, ok := r.NewArgs("welcome")
	require.True(t, ok)
	require.NoError(t, json.Unmarshal([]byte(`{"user_id": 42}`), args))
	require.Equal(t, &welcome{UserID: 42}, args)
	require.Equal(t, "welcome", args.Kind())
	again, _ := r.NewArgs("welcome")
	require.Equal(t, &welcome{}, again, "each is a new one")

	args, ok = r.NewArgs("pointed")
	require.True(t, ok)
	require.Equal(t, &pointed{}, args)

	_, ok = r.NewArgs("unheard-of")
	require.False(t, ok)
}

func TestArgsThatWereMadeByTheirKindAreEnqueuedLikeOthers(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	Handle(r, ignore[welcome], Queue("mail"))
	store := &fakeStore{}
	args, _ := r.NewArgs("welcome")
	args.(*welcome).UserID = 42
	_, err := newClient(t, store, r).Enqueue(t.Context(), args)
	require.NoError(t, err)
	require.Equal(t, "mail", store.stored[0].Queue)
	require.JSONEq(t, `{"user_id": 42}`, string(store.stored[0].Payload))
}
