package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// argsEnv makes the test binary the program, with these arguments.
const argsEnv = "CADDIS_QUICKSTART_ARGS"

func TestMain(m *testing.M) {
	if text := os.Getenv(argsEnv); text != "" {
		os.Args = append(os.Args[:1], strings.Split(text, "\n")...)
		main()
	}
	os.Exit(m.Run())
}

// program is the program as a process, with a home of its own.
func program(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(binary)
	command.Env = append(os.Environ(), argsEnv+"="+strings.Join(args, "\n"),
		"HOME="+home, "XDG_CACHE_HOME="+home, "LocalAppData="+home)
	return command
}

func TestAProgramThatIsKilledGoesOnWhereItWasWithNothingInstalled(t *testing.T) {
	t.Parallel()
	dir, files, size, want := tree(t, 3000)
	home := filepath.Join(dir, "no files") // what the program keeps there is none of the files
	journal := filepath.Join(t.TempDir(), "journal")
	args := []string{"-json", "-dir", dir, "-journal", journal, "-concurrency", "2"}

	const kills = 3
	for kill := 1; kill <= kills; kill++ {
		first := program(t, home, args...)
		require.NoError(t, first.Start())
		require.Eventually(t, func() bool {
			text, err := os.ReadFile(journal)
			return err == nil && bytes.Count(text, []byte(" ok\n")) >= kill*files/10
		}, 30*time.Second, time.Millisecond, "no file was read")
		require.NoError(t, first.Process.Kill())
		require.Error(t, first.Wait())
	}
	began := time.Now()
	stdout, err := program(t, home, args...).Output()

	require.NoError(t, err)
	t.Logf("the last start took %v", time.Since(began).Round(time.Millisecond))
	var got summary
	require.NoError(t, json.Unmarshal(stdout, &got))
	require.Equal(t, want, got.Digest)
	require.Equal(t, files, got.Files)
	require.Equal(t, size, got.Bytes)
	require.Less(t, got.Completed, files, "what was done is not done again")
	ok, _ := journalOf(t, journal)
	require.Len(t, ok, files)
	again := 0
	for _, n := range ok {
		again += n - 1
	}
	require.LessOrEqual(t, again, kills*200, "only what a killed process had in hand is read twice")
}
