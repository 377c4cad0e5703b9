package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the commands' help into docs/cli.md")

// marker is the line of docs/cli.md after which the commands follow.
const marker = "<!-- What follows is made from the commands' help by `go test ./cli -update`, in cmd/caddis. -->\n"

func TestTheDocumentTellsOfEveryCommandWhatItsHelpSays(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "..", "docs", "cli.md")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, after, found := strings.Cut(string(text), marker)
	require.True(t, found, "docs/cli.md has no line %s", marker)
	root := newTool(handling()).root()
	want := flags(root.PersistentFlags().FlagUsages())
	for _, c := range leaves(root) {
		want += document(c)
	}
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(before+marker+"\nAll of them take these flags:\n"+want), 0o644))
		return
	}
	require.Equal(t, "\nAll of them take these flags:\n"+want, after, "docs/cli.md is not what the commands say: run go test ./cli -update")
}

// document is the section on a command.
func document(c *cobra.Command) string {
	c.InitDefaultHelpFlag()
	c.Flags().Lookup("help").Hidden = true
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n", c.CommandPath())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(&b, "%s\n", text)
	fmt.Fprintf(&b, "\n```\n%s\n", c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(&b, "\n%s\n", c.Example)
	}
	b.WriteString("```\n")
	b.WriteString(flags(c.LocalNonPersistentFlags().FlagUsages()))
	return b.String()
}

// flags is the block on some flags.
func flags(usages string) string {
	if usages == "" {
		return ""
	}
	return "\n```\n" + usages + "```\n"
}
