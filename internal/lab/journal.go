//go:build unix

// Package lab is the laboratory: worker processes that are told to stop, killed
// and cut off from their store while a ledger accounts for every job. It is for
// tests only.
package lab

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Entry is one line of the journal, which all worker processes append to.
type Entry struct {
	// Event is "start", when a handler begins, "end", when it has done its
	// work, or "cut", when it ends because its context did.
	Event string
	Job   string
	PID   int
	At    time.Time
}

// Journal is what worker processes write. A line is one write to a file that is
// opened for appending, so a kill loses no line that was written.
type Journal struct{ file *os.File }

// OpenJournal opens a journal for writing.
func OpenJournal(path string) (*Journal, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Journal{file}, nil
}

// Write notes an event.
func (j *Journal) Write(event, job string) error {
	_, err := fmt.Fprintf(j.file, "%s %s %d %d\n", event, job, os.Getpid(), time.Now().UnixNano())
	return err
}

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
		require.Len(t, parts, 4, "a line of the journal: %q", lines.Text())
		pid, err := strconv.Atoi(parts[2])
		require.NoError(t, err)
		at, err := strconv.ParseInt(parts[3], 10, 64)
		require.NoError(t, err)
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
	for job, entries := range l {
		open := 0
		for _, e := range entries {
			if e.PID != pid || e.At.After(by) {
				continue
			}
			if e.Event == "start" {
				open++
			} else {
				open--
			}
		}
		if open > 0 {
			jobs = append(jobs, job)
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
