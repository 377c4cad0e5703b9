package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/caddis-go/caddis"
)

// summary is what the program ends with. The comment of main.go describes it.
type summary struct {
	Result
	Completed   int    `json:"completed"`
	Failed      int    `json:"failed"`
	HandedBack  int    `json:"handed_back"`
	Interrupted int    `json:"interrupted"`
	Abandoned   int    `json:"abandoned"`
	Lost        int    `json:"lost"`
	Unconfirmed int    `json:"unconfirmed"`
	Left        int64  `json:"left"`
	ElapsedMS   int64  `json:"elapsed_ms"`
	State       string `json:"state"`

	sums map[string]Sum
}

// failure is a file, or a folder, that could not be read.
type failure struct {
	Path    string `json:"path"`
	PathHex string `json:"path_hex"`
	Folder  bool   `json:"folder,omitempty"`
	Error   string `json:"error"`
}

func newFailure(path, text string, folder bool) failure {
	return failure{
		Path: strings.ToValidUTF8(path, string(utf8.RuneError)), PathHex: hex.EncodeToString([]byte(path)),
		Folder: folder, Error: text,
	}
}

func summarize(known *account, report *caddis.Report, elapsed time.Duration) *summary {
	s := &summary{
		Result: known.result, Left: known.left,
		Completed: report.Completed, Failed: report.Dead, // only the scan is tried again
		HandedBack: report.HandedBack, Interrupted: report.Interrupted, Abandoned: report.Abandoned,
		Lost: report.Lost, Unconfirmed: report.Unconfirmed,
		ElapsedMS: elapsed.Milliseconds(), State: string(report.State), sums: known.sums,
	}
	if s.Digest == "" {
		s.Result = resultOf(known)
	}
	// The scan was a job of this process too, and is no file.
	switch {
	case known.scannedBy != report.Worker || report.Worker == "":
	case known.scan != nil:
		s.Completed--
	default:
		s.Failed--
	}
	return s
}

func resultOf(known *account) Result {
	r := Result{Files: len(known.sums), Digest: digest(known.sums), Failures: []failure{}}
	for _, sum := range known.sums {
		r.Bytes += sum.Size
	}
	for path, text := range known.failures {
		if _, done := known.sums[path]; !done {
			r.Failures = append(r.Failures, newFailure(path, text, false))
		}
	}
	if known.scan != nil {
		r.Found = known.scan.Files
		for _, u := range known.scan.Unreadable {
			r.Failures = append(r.Failures, newFailure(string(u.Path), u.Error, true))
		}
	}
	slices.SortFunc(r.Failures, func(a, b failure) int { return strings.Compare(a.PathHex, b.PathHex) })
	return r
}

// stored is the result as it is fit to be stored: without too many failures.
func (s *summary) stored() Result {
	r := s.Result
	r.Failures = r.Failures[:min(len(r.Failures), 1000)]
	return r
}

// digest is the SHA-256 over "<sha256>  <path>\n" of all files, sorted by path.
func digest(sums map[string]Sum) string {
	hash := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(hash, "%s  %s\n", sums[path].SHA256, path)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func (s *summary) writeJSON(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

const (
	// largestShown and failuresShown bound the table.
	largestShown  = 10
	failuresShown = 100
)

func (s *summary) writeTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(s.sums) > 0 {
		largest := slices.Collect(maps.Keys(s.sums))
		slices.SortFunc(largest, func(a, b string) int {
			if d := s.sums[b].Size - s.sums[a].Size; d != 0 {
				return int(max(-1, min(1, d)))
			}
			return strings.Compare(a, b)
		})
		fmt.Fprintln(t, "SHA-256\tBYTES\tFILE")
		for _, path := range largest[:min(len(largest), largestShown)] {
			fmt.Fprintf(t, "%s…\t%s\t%s\n", s.sums[path].SHA256[:16], thousands(s.sums[path].Size), printable(path))
		}
		if more := len(largest) - largestShown; more > 0 {
			fmt.Fprintf(t, "\t\t(and %s smaller ones)\n", thousands(int64(more)))
		}
		fmt.Fprintln(t)
	}
	if len(s.Failures) > 0 {
		fmt.Fprintln(t, "FAILED\tWHY")
		for _, f := range s.Failures[:min(len(s.Failures), failuresShown)] {
			path, _ := hex.DecodeString(f.PathHex)
			fmt.Fprintf(t, "%s\t%s\n", printable(string(path)), printable(f.Error))
		}
		if more := len(s.Failures) - failuresShown; more > 0 {
			fmt.Fprintf(t, "(and %s more; -json lists all)\t\n", thousands(int64(more)))
		}
		fmt.Fprintln(t)
	}
	row := func(name string, value any) { fmt.Fprintf(t, "%s\t%v\n", name, value) }
	count := func(name string, n int) {
		if n > 0 {
			row(name, thousands(int64(n)))
		}
	}
	row("files", thousands(int64(s.Files)))
	row("bytes", thousands(s.Bytes))
	row("digest", s.Digest)
	row("completed", thousands(int64(s.Completed)))
	row("failed", thousands(int64(s.Failed)))
	count("handed back", s.HandedBack)
	count("interrupted", s.Interrupted)
	count("abandoned", s.Abandoned)
	count("lost", s.Lost)
	count("unconfirmed", s.Unconfirmed)
	switch {
	case s.Left > 0:
		row("left", thousands(s.Left)+"; the next start finishes them, unless the store is memory:")
	case s.Left < 0:
		row("left", "not known")
	}
	if missing := s.Found - s.Files - len(s.Failures) - int(max(0, s.Left)); missing > 0 {
		row("not listed", thousands(int64(missing))+" done by other starts, whose results the store has dropped")
	}
	row("elapsed", (time.Duration(s.ElapsedMS) * time.Millisecond).String())
	row("state", s.State)
	return t.Flush()
}

// printable quotes what would disturb a terminal.
func printable(text string) string {
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
