//go:build unix

// Package lab is the laboratory: worker processes that are told to stop, killed
// and cut off from their store while a ledger accounts for every job. It is for
// tests only.
package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Entry is one line of the journal, which all worker processes append to.
type Entry struct {
	// Event is "start", when a handler begins, "end", when it has done its
	// work, "cut", when it ends because its worker stops, or "lost", when it
	// ends because its lease has gone; "settled", when its worker has heard that
	// the store knows of its end.
	Event string
	Job   string
	PID   int
	At    time.Time
}

func (e Entry) String() string {
	return fmt.Sprintf("%s by %d at %s", e.Event, e.PID, e.At.Format("05.000"))
}

// parseEntry reads a line of the journal.
func parseEntry(line string) (Entry, error) {
	words := strings.Fields(line)
	if len(words) != 4 {
		return Entry{}, fmt.Errorf("%d words instead of 4", len(words))
	}
	pid, err1 := strconv.Atoi(words[2])
	at, err2 := strconv.ParseInt(words[3], 10, 64)
	return Entry{Event: words[0], Job: words[1], PID: pid, At: time.Unix(0, at)}, errors.Join(err1, err2)
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
