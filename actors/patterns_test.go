package actors

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPatternsTakeWhatTheySayInTheOrderOfTheEntries(t *testing.T) {
	t.Parallel()
	known := []string{"bulk", "default", "mail", "mail.a", "mail.b", "mail.b.late", "test.a"}
	for name, c := range map[string]struct{ entries, want []string }{
		"names, known or not":        {[]string{"z", "mail"}, []string{"z", "mail"}},
		"a family":                   {[]string{"mail.*"}, []string{"mail.a", "mail.b", "mail.b.late"}},
		"all":                        {[]string{"*"}, known},
		"all but some":               {[]string{"*", "!mail*", "!bulk"}, []string{"default", "test.a"}},
		"some of a family first":     {[]string{"mail.b", "bulk", "mail.*"}, []string{"mail.b", "bulk", "mail.a", "mail.b.late"}},
		"a star in the middle":       {[]string{"m*.late", "*st.*"}, []string{"mail.b.late", "test.a"}},
		"an exclusion that is first": {[]string{"!bulk", "*k", "default"}, []string{"default"}},
		"no two stars on one letter": {[]string{"mail.b*b*"}, nil},
	} {
		require.NoError(t, patterns(c.entries).check(), name)
		require.Equal(t, c.want, patterns(c.entries).take(known), name)
	}
}

func TestAStarStandsForAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[ab.]{0,3}`), 1, 4).Draw(t, "parts")
		fill := rapid.SliceOfN(rapid.StringMatching(`[ab.]{0,3}`), len(parts)-1, len(parts)-1).Draw(t, "fill")
		pattern, queue := parts[0], parts[0]
		for i, text := range fill {
			pattern, queue = pattern+"*"+parts[i+1], queue+text+parts[i+1]
		}
		require.True(t, matches(pattern, queue), "%q and %q", pattern, queue)
		require.False(t, matches(pattern+"c", queue), "%q and %q", pattern+"c", queue)
	})
}
