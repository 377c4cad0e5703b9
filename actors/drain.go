package actors

import (
	"bytes"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/caddis-go/caddis/internal/foreign"
	"github.com/caddis-go/caddis/jobs"
)

// DrainPage answers with a text for people that tells how far the stop of a worker is: its
// step, when the next ones come, and the jobs that still run. tree is Worker.Tree or one that
// says the same. It shows ids and kinds of jobs, and no payloads; letters that a terminal would obey are
// written out.
func DrainPage(tree func() jobs.WorkerTree) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := drainText(tree())
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(text) // whoever asked may have gone
	})
}

func drainText(t jobs.WorkerTree) []byte {
	var b bytes.Buffer
	since := func(at time.Time) time.Duration { return max(0, t.At.Sub(at)).Round(100 * time.Millisecond) }
	fmt.Fprintf(&b, "The worker %s is %s, for %v.\n", foreign.Line(t.Worker), t.State, since(t.Since))
	if s := t.Stop; s != nil && !State(t.State).Final() {
		fmt.Fprintf(&b, "It stops. %s\n", s.Told(t.At))
	}
	if r := t.Report; r != nil {
		fmt.Fprintf(&b, "%s: %v.\n", foreign.Line(r.Reason), r)
		return b.Bytes()
	}
	fmt.Fprintf(&b, "%d of %d executors have a job, and the store has not confirmed %d.\n", t.Running, t.Concurrency, t.Unconfirmed)
	if t.StoreError != "" {
		b.WriteString("The job store does not answer, or refuses a call; the log says more.\n")
	}
	if len(t.Executors) == 0 {
		return b.Bytes()
	}
	b.WriteByte('\n')
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "QUEUE\tJOB\tKIND\tRUNS FOR\tNOTE")
	for i := range t.Executors {
		e := &t.Executors[i]
		runs := "not begun"
		if !e.Began.IsZero() {
			runs = since(e.Began).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", foreign.Line(e.Queue), foreign.Line(e.ID), foreign.Line(e.Kind), runs, e.Note(t.At))
	}
	_ = table.Flush() // into memory
	if t.Omitted > 0 {
		fmt.Fprintf(&b, "and %d more\n", t.Omitted)
	}
	return b.Bytes()
}
