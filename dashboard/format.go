package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/operate"
)

// functions are what templates are written with.
var functions = template.FuncMap{
	"count": count[int64], "countInt": count[int], "countUint": count[uint64],
	"when": when, "span": operate.Span, "to": address, "toJob": jobAddress, "shorten": shorten, "visible": visible,
	"waitsFor": operate.WaitsFor, "has": func(t time.Time) bool { return !t.IsZero() }, "sub": func(a, b time.Time) time.Duration { return a.Sub(b) },
	"first": func(names []string, n int) []string { return names[:min(n, len(names))] },
	"more":  func(names []string, n int) int { return max(0, len(names)-n) },
	"join":  func(names []string) string { return visible(strings.Join(names, ", ")) },
	"plural": func(n int64, one, many string) string {
		if n == 1 {
			return one
		}
		return many
	},
	"lastError": func(job backend.JobInfo) string { return operate.LastError(&job) },
	"dict":      dict, "rule": operate.Rule, "words": words,
}

// count writes a number with its thousands apart.
func count[N int | int64 | uint64](n N) string {
	digits := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:] // a narrow space that does not break
	}
	return sign + digits
}

// when tells how long ago an instant was, or how soon it comes, with the instant itself.
func when(at, now time.Time) template.HTML {
	if at.IsZero() {
		return `<span class="none">–</span>`
	}
	utc := at.UTC()
	// What is put together here is made of digits and our own words.
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s">%s</time>`,
		utc.Format(time.RFC3339), utc.Format("2006-01-02 15:04:05 UTC"), operate.Ago(at, now)))
}

// address is that of a page with its parameters, given as names and values. Empty values
// are left out.
func address(page string, pairs ...any) (string, error) {
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("to %s: %d names and values", page, len(pairs))
	}
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		switch value := pairs[i+1].(type) {
		case []string:
			for _, v := range value {
				query.Add(fmt.Sprint(pairs[i]), v)
			}
		default:
			if text := fmt.Sprint(value); text != "" {
				query.Set(fmt.Sprint(pairs[i]), text)
			}
		}
	}
	if len(query) == 0 {
		return page, nil
	}
	return page + "?" + query.Encode(), nil
}

func jobAddress(queue, id string) string {
	return "job?" + url.Values{"queue": {queue}, "id": {id}}.Encode()
}

// shorten cuts a text to its first line, and that to a number of letters.
func shorten(text string, letters int) string {
	line, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	runes := []rune(line)
	if len(runes) > letters {
		return visible(string(runes[:letters-1])) + "…"
	}
	if more {
		return visible(line) + " …"
	}
	return visible(line)
}

// visible makes a text one that shows what is in it: what jobs hold is written by others,
// and may have letters that are not seen, or that turn the order of the others.
func visible(text string) string {
	hidden := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	if strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// dict makes a value of names and values, for templates that need more than one.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict of %d names and values", len(pairs))
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m, nil
}

// maxShown is how much is shown of a payload, result or progress, in bytes.
const maxShown = 64 << 10

// indented is JSON as it is read by people.
func indented(data json.RawMessage) string {
	var b bytes.Buffer
	text := string(data)
	if json.Indent(&b, data, "", "  ") == nil {
		text = b.String()
	}
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + fmt.Sprintf("\n… and %s bytes more", count(len(text)-maxShown))
	}
	return visible(text)
}
