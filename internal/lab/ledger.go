//go:build unix

package lab

import (
	"bufio"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Ledger is what the journal tells of each job.
type Ledger map[string][]Entry

// ReadJournal reads what has been written so far.
func ReadJournal(t testing.TB, path string) Ledger {
	t.Helper()
	ledger := Ledger{}
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return ledger
	}
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		parts := strings.Fields(lines.Text())
		if len(parts) != 4 {
			require.FailNow(t, "a torn line of the journal", "%q", lines.Text())
		}
		pid, err1 := strconv.Atoi(parts[2])
		at, err2 := strconv.ParseInt(parts[3], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			require.NoError(t, err)
		}
		e := Entry{Event: parts[0], Job: parts[1], PID: pid, At: time.Unix(0, at)}
		ledger[e.Job] = append(ledger[e.Job], e)
	}
	require.NoError(t, lines.Err())
	return ledger
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
}

// Runs returns the runs of a job in the order in which they began.
func (l Ledger) Runs(job string) (runs []Run) {
	for _, e := range l[job] {
		if e.Event == "start" {
			runs = append(runs, Run{PID: e.PID, Start: e.At})
			continue
		}
		for i := range runs {
			if runs[i].PID == e.PID && runs[i].End.IsZero() {
				runs[i].End, runs[i].Event = e.At, e.Event
				break
			}
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
			if e.Event != "end" {
				continue
			}
			ends = append(ends, e.At)
			if e.At.Before(began) && e.At.After(began.Add(-2*time.Second)) {
				before++
			}
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	before = min(before, 2*offered)
	want := max(1, 9*before*int(window/time.Millisecond)/10/2000)
	for i, at := range ends {
		if at.Before(back) {
			continue
		}
		if last := i + want - 1; last < len(ends) && ends[last].Sub(at) <= window {
			return ends[last].Sub(back), true
		}
	}
	return 0, false
}
