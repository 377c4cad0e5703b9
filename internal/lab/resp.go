//go:build unix

package lab

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Verbs tells the scripts of backend/redis apart by the keys that they declare.
// Two with the same keys have the name of the first, and the common case of a verb has
// that of the verb.
type Verbs map[string]string

// scriptsDir is where the scripts are, seen from the folder of this package.
const scriptsDir = "../../backend/redis/scripts"

// ReadVerbs reads the heads of the scripts.
func ReadVerbs(t testing.TB) Verbs {
	t.Helper()
	verbs := Verbs{}
	files, err := filepath.Glob(scriptsDir + "/*.lua")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".lua"), "_common")
		_, keys, ok := strings.Cut(string(source), "\n-- KEYS ")
		require.True(t, ok, "%s names no keys", file)
		keys, _, _ = strings.Cut(keys, "\n")
		keys = strings.Join(strings.Fields(keys), " ")
		keys = strings.Replace(keys, "waiting", "w-2 w-1 w0 w1 w2", 1)
		if _, taken := verbs[keys]; !taken {
			verbs[keys] = name
		}
	}
	return verbs
}

// Of is the name of the script that a request runs, or its command in lower case.
func (v Verbs) Of(words []string) string {
	if len(words) == 0 {
		return ""
	}
	command := strings.ToLower(words[0])
	if (command != "evalsha" && command != "eval") || len(words) < 3 {
		return command
	}
	n, err := strconv.Atoi(words[2])
	if err != nil || n < 0 || len(words) < 3+n {
		return command
	}
	var keys []string
	for _, key := range words[3 : 3+n] {
		_, what, _ := strings.Cut(key, "}:")
		what, _, _ = strings.Cut(what, ":") // last:… is "last"
		keys = append(keys, what)
	}
	if name, known := v[strings.Join(keys, " ")]; known {
		return name
	}
	return command
}

var errProtocol = errors.New("not in the protocol of Redis")

// maxWords is how many words of a request are looked at; all keys are among
// them.
const maxWords = 40

// readRequest reads one command: its bytes, and its first words.
func readRequest(from *bufio.Reader) (all []byte, words []string, err error) {
	all, n, err := readHead(from, nil, '*')
	for i := 0; i < n && err == nil; i++ {
		var size int
		all, size, err = readHead(from, all, '$')
		if err != nil {
			break
		}
		begin := len(all)
		if all, err = readBulk(from, all, size); err == nil && i < maxWords {
			words = append(words, string(all[begin:begin+size]))
		}
	}
	return all, words, err
}

// readReply reads one reply: its bytes.
func readReply(from *bufio.Reader) ([]byte, error) { return appendReply(from, nil) }

func appendReply(from *bufio.Reader, all []byte) ([]byte, error) {
	line, err := from.ReadSlice('\n')
	all = append(all, line...)
	if err != nil {
		return all, err
	}
	kind := line[0]
	switch kind {
	case '+', '-', ':', '_', '#', ',', '(':
		return all, nil
	case '$', '*', '%', '~', '>': // the last ones are of RESP3, which Sentinel is asked in
	default:
		return all, errProtocol
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	if err != nil || n < 0 {
		return all, err
	}
	switch kind {
	case '$':
		return readBulk(from, all, n)
	case '%': // pairs
		n *= 2
	}
	for range n {
		if all, err = appendReply(from, all); err != nil {
			return all, err
		}
	}
	return all, nil
}

// readHead reads a line of a kind and its number.
func readHead(from *bufio.Reader, all []byte, kind byte) ([]byte, int, error) {
	line, err := from.ReadSlice('\n')
	all = append(all, line...)
	if err != nil {
		return all, 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(line[1:])))
	if err != nil || line[0] != kind || n < 0 {
		return all, 0, errProtocol
	}
	return all, n, nil
}

// readBulk reads so many bytes and the end of the line.
func readBulk(from *bufio.Reader, all []byte, size int) ([]byte, error) {
	begin := len(all)
	all = append(all, make([]byte, size+2)...)
	_, err := io.ReadFull(from, all[begin:])
	return all, err
}
