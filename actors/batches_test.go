package actors

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// What the store cannot take keeps nothing else from it, no call is too large, nothing
// is lost and nothing is brought twice.
func TestBatchesBringEverythingThatTheStoreCanTake(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const bytes = 1000
		b := batches[int]{count: rapid.IntRange(1, 50).Draw(t, "count"), bytes: bytes, weigh: func(n int) int { return n }}
		l := &line{}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 1500), 1, 200).Draw(t, "sizes")
		limit := rapid.IntRange(100, 1500).Draw(t, "what the store takes")
		b.add(sizes...)

		var brought, refused []int
		for calls := 0; b.size() > 0; calls++ {
			require.Less(t, calls, 20*len(sizes), "it ends")
			batch, _ := b.next(l)
			sum := 0
			for _, n := range batch {
				sum += n
			}
			require.NotEmpty(t, batch)
			require.LessOrEqual(t, len(batch), b.count)
			require.True(t, len(batch) == 1 || sum <= bytes, "%d bytes in %d", sum, len(batch))
			if sum <= limit {
				brought = append(brought, b.answered()...)
				continue
			}
			why, divided := b.failed(l, backend.ErrRejected)
			require.Equal(t, faultOwn, why)
			if require.Equal(t, len(batch) > 1, divided); !divided {
				refused = append(refused, b.answered()...)
			}
		}
		for _, n := range refused {
			require.Greater(t, n, limit, "refused though the store takes it alone")
		}
		all := append(brought, refused...)
		slices.Sort(all)
		slices.Sort(sizes)
		require.Equal(t, sizes, all)
	})
}

func TestAFailureIsTheStoresAsLongAsItAnswersNobody(t *testing.T) {
	t.Parallel()
	l := &line{}
	b := batches[int]{count: 10, bytes: 1000, weigh: func(int) int { return 1 }}
	b.add(1, 2, 3, 4)
	first, fresh := b.next(l)
	require.True(t, fresh)
	for range 10 {
		why, divided := b.failed(l, fmt.Errorf("%w: no route to host", backend.ErrUnavailable))
		require.Equal(t, faultAway, why)
		require.False(t, divided)
		again, fresh := b.next(l)
		require.Equal(t, first, again, "it is repeated as it is")
		require.False(t, fresh)
	}
	l.answers.Add(1) // to another call
	why, divided := b.failed(l, errors.New("cut"))
	require.Equal(t, faultOwn, why)
	require.True(t, divided)
	half, fresh := b.next(l)
	require.True(t, fresh)
	require.Equal(t, []int{1, 2}, half)
}

func TestAFullStoreIsNoFaultOfTheCall(t *testing.T) {
	t.Parallel()
	l := &line{}
	tries := l.first()
	l.answers.Add(5)
	for range 10 {
		require.Equal(t, faultAway, l.failed(&tries, backend.ErrFull))
	}
}

func TestASweepNamesTheWorkersKeysInTurns(t *testing.T) {
	t.Parallel()
	k := &keeper{}
	for i := range 2500 {
		k.house.keys = append(k.house.keys, fmt.Sprintf("kind:%04d", i))
	}
	named := map[string]bool{}
	for range 3 {
		keys := k.blockKeys()
		require.Len(t, keys, backend.MaxSweepKeys)
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(keys))), len(keys), "none twice")
		for _, key := range keys {
			named[key] = true
		}
	}
	require.Len(t, named, 2500)

	k.house.keys = k.house.keys[:3]
	k.house.from = 0
	require.Equal(t, k.house.keys, k.blockKeys())
	require.Equal(t, k.house.keys, k.blockKeys())
}
