package redis

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// documented reads from docs/redis.md what a role is given.
func documented(t *testing.T, role string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis.md")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^ACL SETUSER ` + role + ` ((?:.*\\\n)*.*)`).FindString(string(text))
	require.NotEmpty(t, line, "docs/redis.md has no ACL SETUSER %s", role)
	var commands []string
	for _, word := range strings.Fields(line) {
		if command, given := strings.CutPrefix(word, "+"); given {
			commands = append(commands, command)
		}
	}
	slices.Sort(commands)
	return commands
}

func TestTheDocumentedRightsAreThoseThatAreUsed(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]struct {
		role
		more []string
	}{
		"producer": {producing, nil},
		"worker":   {working, []string{"config|get", "info", "ping", "publish", "subscribe"}},
		"operator": {operating, nil},
		"memos":    {noting, nil},
	} {
		want := append(r.rights(), r.more...)
		slices.Sort(want)
		require.Equal(t, want, documented(t, name), "ACL SETUSER %s in docs/redis.md should give +%s", name, strings.Join(want, " +"))
	}
}

func TestEachScriptIsSomebodys(t *testing.T) {
	t.Parallel()
	for _, s := range scripts {
		require.True(t, producing.runs(s) || working.runs(s) || operating.runs(s) || noting.runs(s),
			"%s is in no role of rights.go, so Check does not ask for its rights", s.name)
	}
}
