package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

// Scan is the args of the one job that walks the folder and enqueues the others.
// As a job it is run by one process at a time, and again if that one is killed.
type Scan struct{}

// Kind makes Scan the args of jobs.
func (Scan) Kind() string { return "quickstart.scan" }

// Scanned is what the scan leaves.
type Scanned struct {
	// Files counts the regular files that were found.
	Files int `json:"files"`
	// Unreadable are folders that could not be read, the first 1,000 of them.
	Unreadable []Unreadable `json:"unreadable,omitempty"`
}

// Unreadable is a folder that could not be read.
type Unreadable struct {
	Path  []byte `json:"path"`
	Error string `json:"error"`
}

// Hash is the args of a job that reads one file.
type Hash struct {
	// Path is relative to the folder. Names of files need not be UTF-8, and a
	// JSON string has to be, hence the bytes.
	Path []byte `json:"path"`
}

// Kind makes Hash the args of jobs.
func (Hash) Kind() string { return "quickstart.hash" }

// Sum is what a Hash leaves.
type Sum struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Part is some results of a process. The store forgets completed jobs beyond a
// number, so each process keeps what it has done in such records.
type Part struct {
	Files []Summed `json:"files"`
}

// Summed is a file that has been read.
type Summed struct {
	Path []byte `json:"path"`
	Sum
}

// Kind makes Part the args of jobs, which nobody runs: they are read.
func (Part) Kind() string { return "quickstart.part" }

// Result is what is known of the folder in the end. It is stored beside the parts
// while all other jobs are removed.
type Result struct {
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
	Digest   string    `json:"digest"`
	Found    int       `json:"found"`
	Failures []failure `json:"failures"`
}

// Kind makes Result the args of jobs.
func (Result) Kind() string { return "quickstart.result" }

const (
	// scanID and resultID are the ids of Scan and Result.
	scanID, resultID = "scan", "result"
	// batchSize is the number of jobs in one enqueue, partSize of files in one
	// Part: with the longest of paths it still fits into a payload.
	batchSize, partSize = 1000, 500
	// kept is how long an interrupted run can be taken up again: completed jobs
	// stay in the store, so that a second start neither repeats them nor has to
	// do without their results.
	kept = 7 * 24 * time.Hour
)

// queues are those of one folder. The Scan has its own: completed jobs are kept by
// count, and it must not be crowded out by the files. That of the results is closed
// by a gate: its jobs are read.
type queues struct{ scan, files, results string }

func queuesOf(root string) queues {
	sum := sha256.Sum256([]byte(root))
	name := "quickstart-" + hex.EncodeToString(sum[:8])
	return queues{scan: name + "-scan", files: name, results: name + "-results"}
}

// shelf keeps the results from being run, and tells those who look why.
func shelf(q queues) actors.Gate {
	return actors.Gate{Name: "shelf", Queues: []string{q.results}, Check: func(context.Context) error {
		return errors.New("these jobs are results; they are read, not run")
	}}
}

// hashID is the same for a file at each start, so that it is enqueued once.
func hashID(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:16])
}

// crew has the handlers, and what they share.
type crew struct {
	root string
	// keeps is the folder of the store, whose files change all the time.
	keeps   string
	queues  queues
	journal *journal
	own     *results
}

func (c *crew) registry() *jobs.Registry {
	registry := jobs.NewRegistry()
	// The process may be killed often, which is not the job's fault.
	crashes := jobs.MaxCrashes(1000)
	jobs.Handle(registry, c.scan, jobs.Queue(c.queues.scan), jobs.Retention(kept), crashes,
		jobs.Backoff(jobs.Exponential{Initial: 200 * time.Millisecond, Max: 5 * time.Second}))
	// What cannot be read now will not be readable in a second: one attempt.
	jobs.Handle(registry, c.hash, jobs.Queue(c.queues.files), jobs.Retention(kept), crashes, jobs.MaxAttempts(1))
	return registry
}

// scan enqueues a job for each file. When it is cut short it is run again, and the
// ids keep it from enqueueing anything twice.
func (c *crew) scan(ctx context.Context, job *jobs.Job[Scan]) error {
	client, _ := jobs.ClientFrom(ctx)
	var found Scanned
	batch := make([]jobs.Item, 0, batchSize)
	enqueue := func() error {
		_, err := client.EnqueueMany(ctx, batch...)
		batch = batch[:0]
		return err
	}
	err := walk(ctx, c.root, func(path string, err error) error {
		if err != nil {
			if len(found.Unreadable) < 1000 {
				found.Unreadable = append(found.Unreadable, Unreadable{Path: []byte(path), Error: reason(err).Error()})
			}
			return nil
		}
		if filepath.Dir(c.path(path)) == c.keeps {
			return nil
		}
		found.Files++
		batch = append(batch, jobs.New(Hash{Path: []byte(path)}, jobs.ID(hashID(path))))
		if len(batch) < batchSize {
			return nil
		}
		return enqueue()
	})
	if err != nil {
		return err
	}
	if err := enqueue(); err != nil {
		return err
	}
	return job.SetResult(found)
}

// path is that of a file below the root.
func (c *crew) path(relative string) string {
	return filepath.Join(c.root, filepath.FromSlash(relative))
}

// hash reads one file.
func (c *crew) hash(ctx context.Context, job *jobs.Job[Hash]) error {
	if err := c.journal.start(job); err != nil {
		return err
	}
	path := string(job.Args.Path)
	sum, err := hashFile(ctx, c.path(path), c.own.read)
	switch {
	case err == nil:
		err = job.SetResult(sum)
		if part := c.own.completed(path, sum); part != nil {
			client, _ := jobs.ClientFrom(ctx)
			c.save(ctx, client, part)
		}
	case ctx.Err() == nil:
		c.own.failed(path, err)
	}
	c.journal.end(ctx, job, err)
	return err
}

// save stores a part of the results and reports whether it is stored. If not, it
// goes with the next; until then the jobs have it.
func (c *crew) save(ctx context.Context, client *jobs.Client, part *Part) bool {
	if _, err := client.Enqueue(ctx, part, jobs.Queue(c.queues.results)); err != nil {
		c.own.putBack(part)
		slog.Debug("results could not be stored", "files", len(part.Files), "error", err)
		return false
	}
	return true
}
