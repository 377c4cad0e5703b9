// Package foreign deals with what comes from others: texts that are stored of jobs, and
// requests of browsers.
package foreign

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unicode"
)

// Line makes a text one line that a terminal shows as it is: what is stored of jobs is
// written by others, and may hold what moves the cursor or reverses the text.
func Line(text string) string { return written(text, false) }

// Lines is Line for texts that may have several lines.
func Lines(text string) string { return written(text, true) }

func written(text string, lines bool) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case lines && (r == '\n' || r == '\t'), unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case r == '\r' && lines:
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// LocalHost reports whether a request asks for a name of this machine by its Host. A page of
// elsewhere whose name was made to lead here asks for that name.
func LocalHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
