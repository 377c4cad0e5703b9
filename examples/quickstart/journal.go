package main

import (
	"context"
	"fmt"
	"os"

	"github.com/caddis-go/caddis/jobs"
)

// journal records each run of a handler, for audits; nil records nothing.
type journal struct{ file *os.File }

func openJournal(name string) (*journal, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("the journal cannot be opened: %w", err)
	}
	return &journal{file}, nil
}

func (j *journal) start(job *jobs.Job[Hash]) error {
	if j == nil {
		return nil
	}
	return j.write("start %s %x %s %d\n", job.ID, job.Args.Path, job.Worker, job.Attempt)
}

func (j *journal) end(ctx context.Context, job *jobs.Job[Hash], err error) {
	if j == nil {
		return
	}
	how := "ok"
	switch {
	case err != nil && ctx.Err() != nil:
		how = "interrupted"
	case err != nil:
		how = "failed"
	}
	// The file has been read; that this could not be noted is no reason to fail.
	_ = j.write("end %s %x %s %d %s\n", job.ID, job.Args.Path, job.Worker, job.Attempt, how)
}

// write appends one line in one piece.
func (j *journal) write(format string, args ...any) error {
	_, err := j.file.Write(fmt.Appendf(nil, format, args...))
	return err
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
