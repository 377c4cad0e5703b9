package jobs

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// Lesson: ids from the clock plus a small random number collide. These all come
// from the same millisecond.
func TestLesson_IDsDoNotCollide(t *testing.T) {
	t.Parallel()
	const goroutines, each = 16, 62_500
	parts := make([][]string, goroutines)
	var group sync.WaitGroup
	for i := range parts {
		group.Go(func() {
			ids := make([]string, each)
			for j := range ids {
				ids[j] = newID(instant)
			}
			parts[i] = ids
		})
	}
	group.Wait()
	all := slices.Concat(parts...)
	slices.Sort(all)
	require.Len(t, slices.Compact(all), goroutines*each)
}

func TestIDsAreULIDsThatSortByTheirTime(t *testing.T) {
	t.Parallel()
	before := newID(instant)
	id, err := ulid.ParseStrict(before)
	require.NoError(t, err)
	require.True(t, instant.Equal(id.Timestamp()))
	require.Less(t, before, newID(instant.Add(time.Millisecond)))
	require.NoError(t, backend.CheckID(NewID()))
}

// All 80 bits must be random: over 1,000 ids each of them is seen as 0 and as 1.
func TestIDsHave80RandomBits(t *testing.T) {
	t.Parallel()
	var zeros, ones [10]byte
	for range 1000 {
		id, err := ulid.ParseStrict(newID(instant))
		require.NoError(t, err)
		for i, b := range id.Entropy() {
			ones[i] |= b
			zeros[i] |= ^b
		}
	}
	for i := range 10 {
		require.Equal(t, byte(0xff), ones[i])
		require.Equal(t, byte(0xff), zeros[i])
	}
}
