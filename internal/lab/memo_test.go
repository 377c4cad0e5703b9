//go:build unix

package lab_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
)

func TestAWriteOfAMemoThatIsCutMayBeRepeatedAndIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	proxy := lab.StartProxy(t, server.Addr)
	store, err := backend.Open("redis://" + proxy.Addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	read := func() (backend.Memo, error) { return store.Memo(ctx, "memo", "count") }
	var sums []string
	add := func(call string) error {
		m, err := store.WriteMemo(ctx, backend.MemoWrite{Name: "memo", Key: "count", Act: backend.MemoAdd, Add: 1, Call: call})
		if err == nil {
			sums = append(sums, string(m.Value))
		}
		return err
	}
	require.NoError(t, add("warm")) // a first time, for the server to know the scripts
	_, err = read()
	require.NoError(t, err)

	// One cut is healed by the store, the caller hears of two.
	cuts := 0
	for _, cut := range []func(string, int) *lab.Trap{proxy.CutBefore, proxy.CutAfter} {
		for _, n := range []int{1, 2} {
			cuts++
			call := fmt.Sprint("call-", cuts)
			trap := cut("write_memo", n)
			if err := add(call); n == 1 {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, backend.ErrUnavailable)
			}
			<-trap.Sprung
			require.NoError(t, add(call))
			trap = cut("memo", n)
			if _, err := read(); n == 1 {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, backend.ErrUnavailable)
			}
			<-trap.Sprung
			m, err := read()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(1+cuts), string(m.Value))
		}
	}
	require.Equal(t, []string{"1", "2", "2", "3", "4", "4", "5"}, sums)
}
