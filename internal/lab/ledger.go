//go:build unix

package lab

import (
	"bufio"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Ledger is what the journal tells of each job.
type Ledger map[string][]Entry

// ReadJournal reads what has been written so far.
func ReadJournal(t testing.TB, path string) Ledger {
	t.Helper()
	return (&Reader{Path: path}).Read(t)
}

// Reader reads a journal again and again as it grows.
type Reader struct {
	// Path is that of the file, which may not be there yet.
	Path   string
	ledger Ledger
	read   int64
}

// Read reads what has been written since the last time, and returns the whole. The
// ledger stays that of the reader.
func (r *Reader) Read(t testing.TB) Ledger {
	t.Helper()
	if r.ledger == nil {
		r.ledger = Ledger{}
	}
	file, err := os.Open(r.Path)
	if os.IsNotExist(err) {
		return r.ledger
	}
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	_, err = file.Seek(r.read, io.SeekStart)
	require.NoError(t, err)
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return r.ledger // what is not a whole line yet is read the next time
		}
		require.NoError(t, err)
		r.read += int64(len(line))
		e, err := parseEntry(line)
		if err != nil {
			require.NoError(t, err, "a line of the journal: %q", line)
		}
		r.ledger[e.Job] = append(r.ledger[e.Job], e)
	}
}

// Count returns how often an event happened to a job.
func (l Ledger) Count(job, event string) (n int) {
	for _, e := range l[job] {
		if e.Event == event {
			n++
		}
	}
	return n
}

// Open lists the runs of a process that had begun and not ended by an instant.
func (l Ledger) Open(pid int, by time.Time) (jobs []string) {
	for job := range l {
		for _, run := range l.Runs(job) {
			if run.PID == pid && !run.Start.After(by) && (run.End.IsZero() || run.End.After(by)) {
				jobs = append(jobs, job)
				break
			}
		}
	}
	return jobs
}

// FirstStart returns when a process other than pid first began a job after an
// instant.
func (l Ledger) FirstStart(job string, pid int, after time.Time) (at time.Time, ok bool) {
	for _, e := range l[job] {
		if e.Event == "start" && e.PID != pid && e.At.After(after) {
			return e.At, true
		}
	}
	return time.Time{}, false
}

// Started counts the starts of any job within a span of time.
func (l Ledger) Started(from, to time.Time) (n int) {
	for _, entries := range l {
		for _, e := range entries {
			if e.Event == "start" && e.At.After(from) && e.At.Before(to) {
				n++
			}
		}
	}
	return n
}

// StartedBy counts the starts of any job by a process.
func (l Ledger) StartedBy(pid int) (n int) {
	for _, entries := range l {
		for _, e := range entries {
			if e.Event == "start" && e.PID == pid {
				n++
			}
		}
	}
	return n
}

// Run is one run of a job by one worker process.
type Run struct {
	PID int
	// End is zero if the run never ended; Event says how it did.
	Start, End time.Time
	Event      string
	// Settled is when the worker knew that the store has it as completed; zero if it
	// never did.
	Settled time.Time
}

// Runs returns the runs of a job in the order in which they began.
func (l Ledger) Runs(job string) (runs []Run) {
	for _, e := range l[job] {
		if e.Event == "start" {
			runs = append(runs, Run{PID: e.PID, Start: e.At})
			continue
		}
		for i := range runs {
			switch r := &runs[i]; {
			case r.PID != e.PID:
				continue
			case e.Event == "settled" && r.Settled.IsZero() && r.Event == "end":
				r.Settled = e.At
			case e.Event != "settled" && r.End.IsZero():
				r.End, r.Event = e.At, e.Event
			default:
				continue
			}
			break
		}
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return a.Start.Compare(b.Start) })
	return runs
}

// Recovery says how long after an instant as many jobs ended per second as 90 %
// of what it was in the two seconds before the fault began, measured over
// windows of 250 ms. What was more than offered per second then was the catching
// up after an earlier fault and does not count.
func (l Ledger) Recovery(began, back time.Time, offered int) (after time.Duration, ok bool) {
	const window = 250 * time.Millisecond
	var ends []time.Time
	before := 0
	for _, entries := range l {
		for _, e := range entries {
			switch {
			case e.Event != "end":
			case !e.At.Before(back):
				ends = append(ends, e.At)
			case e.At.Before(began) && e.At.After(began.Add(-2*time.Second)):
				before++
			}
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	before = min(before, 2*offered)
	want := max(1, 9*before*int(window/time.Millisecond)/10/2000)
	for i, at := range ends {
		if last := i + want - 1; last < len(ends) && ends[last].Sub(at) <= window {
			return ends[last].Sub(back), true
		}
	}
	return 0, false
}
