package operate_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/operate"
)

// audited reads the whole audit log in pages.
func (f *fleet) audited(limit int) (all []operate.AuditEntry) {
	f.t.Helper()
	var q operate.AuditQuery
	for q.Limit = limit; ; {
		page, more, err := operate.Audit(f.t.Context(), f.client, q)
		require.NoError(f.t, err)
		require.LessOrEqual(f.t, len(page), limit)
		if all = append(all, page...); !more {
			return all
		}
		q.Before = page[len(page)-1].Number
	}
}

func TestActsAreNotedByManyAtOnceAndReadTheNewestFirst(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		require.Empty(t, f.audited(100))
		var all sync.WaitGroup
		errs := make([]error, 4)
		for who := range errs {
			all.Go(func() {
				for i := range 50 {
					err := operate.Note(t.Context(), f.client, operate.AuditEntry{Who: fmt.Sprint(who), Via: "dashboard", Act: "retry", On: fmt.Sprint(i), Outcome: "done"})
					if err != nil {
						errs[who] = err
						return
					}
				}
			})
		}
		all.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		next := map[string]int{"0": 49, "1": 49, "2": 49, "3": 49}
		entries := f.audited(30)
		require.Len(t, entries, 200)
		for i, e := range entries {
			require.Equal(t, fmt.Sprint(next[e.Who]), e.On)
			next[e.Who]--
			require.EqualValues(t, 199-i, e.Number)
			require.False(t, e.At.IsZero())
		}
	})
}

func TestTheAuditLogIsBoundedAndKeepsTheNewest(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"short": "x", "long": strings.Repeat("<ä", 2000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, "memory:")
			const noted = operate.AuditKept + 500
			for i := range noted {
				require.NoError(t, operate.Note(t.Context(), f.client, operate.AuditEntry{Who: fmt.Sprint(i), Act: "retry", On: text, Outcome: text}))
			}
			entries := f.audited(77)
			if name == "short" {
				require.GreaterOrEqual(t, len(entries), operate.AuditKept)
			}
			require.Less(t, len(entries), noted)
			require.NotEmpty(t, entries)
			for i, e := range entries {
				require.Equal(t, fmt.Sprint(noted-1-i), e.Who, "none is missing in between")
			}
		})
	}
}
