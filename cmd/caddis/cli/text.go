package cli

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddis-go/caddis/internal/foreign"
	"github.com/caddis-go/caddis/operate"
)

// clean makes a text one line that a terminal shows as it is: what is stored of jobs is
// written by others, and may hold what moves the cursor or reverses the text.
func clean(text string) string { return foreign.Line(text) }

// cleanLines is clean for texts that may have several lines.
func cleanLines(text string) string { return foreign.Lines(text) }

// harmless escapes in JSON what a terminal would obey. The bytes below a space are
// escaped already, and outside of strings there is nothing of the kind.
func harmless(data []byte) []byte {
	obeyed := func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) && r != utf8.RuneError }
	if bytes.IndexFunc(data, obeyed) < 0 {
		return data
	}
	var b bytes.Buffer
	for _, r := range string(data) {
		switch {
		case !obeyed(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return b.Bytes()
}

// shorten cuts a text to its first line, and that to a number of letters.
func shorten(text string, letters int) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	runes := []rune(line)
	if len(runes) > letters {
		return string(runes[:letters-1]) + "…"
	}
	if more {
		return line + " …"
	}
	return line
}

// ago tells how long an instant has passed, or how soon it comes.
func ago(at, now time.Time) string { return operate.Ago(at, now) }

// instant tells a time and how long ago that is.
func instant(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339) + " (" + ago(at, now) + ")"
}

// duration tells one that may not be said.
func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
