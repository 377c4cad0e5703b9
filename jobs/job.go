package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Args is the typed Go value that becomes a job's payload.
type Args interface {
	// Kind is the stable name that ties the payload to its handler. It is the
	// same for all values of the type, and does not change once jobs are
	// stored: letters, digits and _ - . : / are allowed.
	Kind() string
}

// Job is what a handler gets. Its methods may be called concurrently; the fields
// are the handler's to read.
type Job[A Args] struct {
	Info
	// Args is the decoded payload.
	Args A
}

// Info is what is known of a job besides its args. It prints and logs without
// any of the job's data.
type Info struct {
	ID    string
	Kind  string
	Queue string
	// Priority goes from backend.PriorityLowest to backend.PriorityHighest.
	Priority int
	// Attempt is the number of this attempt, from 1.
	Attempt int
	// MaxAttempts is the number of the last one that there can be.
	MaxAttempts int
	// Crashes counts how often an earlier worker vanished while it ran the job.
	Crashes int
	// Snoozes counts how often the handler put the job off.
	Snoozes int
	// EnqueuedAt and DueAt are by the store's clock. DueAt is when the job was
	// first to run.
	EnqueuedAt, DueAt time.Time
	// Deadline is zero if there is none.
	Deadline time.Time
	Tags     []string
	Headers  map[string]string
	// Failures tells how earlier attempts ended, oldest first.
	Failures []backend.Failure
	// Worker is the id of the worker that runs the job.
	Worker string

	run *Run
}

// SetResult leaves a result, which is stored when the job ends and kept as long
// as the job is ([Retention]). The last one counts. It is encoded by the job's
// codec, at once, so that v may be changed afterwards, into at most [MaxResult]
// bytes, 1 MiB: what is larger belongs elsewhere, with its place as the result. The
// error says what was wrong with it, or that the attempt has ended. Safe for
// concurrent use.
func (i *Info) SetResult(v any) error { return i.attempt().setResult(i.Kind, v) }

// Progress reports how far the job is. The newest one is published with the next
// renewal of the lease, so it may be called often. It is encoded by the job's
// codec, at once, into at most 64 KiB. The error says what was wrong with it, or
// that the attempt has ended. Safe for concurrent use.
func (i *Info) Progress(v any) error { return i.attempt().setProgress(i.Kind, v) }

// LastProgress decodes the newest progress into v, a pointer: what this run has
// reported, or else what an earlier run of the job left, so that a handler can go on
// from there. found is false if there is none; v is then unchanged.
func (i *Info) LastProgress(v any) (found bool, err error) {
	return i.attempt().lastProgress(i.Kind, v)
}

// SaveCheckpoint stores where the handler is, so that whoever runs the job next goes on
// from there: after a failed attempt, a hand-back, or a crash of the worker. When it
// returns nil the checkpoint is in the store. It takes the place of the one before, and
// goes with the job. It is encoded by the job's codec, into at most
// [backend.MaxCheckpoint] bytes, 64 KiB.
//
// It is a call to the store, so save at points that cost more than a millisecond to
// reach; [Info.Progress] is for what people look at. While the store is away it tries
// again until ctx ends. The error wraps [ErrLeaseLost] if the job is no longer this
// worker's: nothing was stored, and the handler is to return. Safe for concurrent use.
//
// Without a worker, as in a handler's test, the checkpoint is kept with the job's value.
func (i *Info) SaveCheckpoint(ctx context.Context, v any) error {
	err := i.attempt().saveCheckpoint(ctx, i.Kind, v)
	if err == nil || errors.Is(err, ErrPayload) {
		return err
	}
	return &Error{Op: "save checkpoint", Kind: i.Kind, Err: err}
}

// Checkpoint decodes into v, a pointer, what was last saved by [Info.SaveCheckpoint], in
// this run or in one before. found is false if there is nothing; v is then unchanged.
func (i *Info) Checkpoint(v any) (found bool, err error) {
	return i.attempt().lastCheckpoint(i.Kind, v)
}

// Result decodes into v, a pointer, what [Info.SetResult] has left in this run, for
// middleware and for tests of handlers. found is false if there is nothing; v is then
// unchanged.
func (i *Info) Result(v any) (found bool, err error) { return i.attempt().lastResult(i.Kind, v) }

// String names the job and shows none of its data.
func (i Info) String() string {
	return fmt.Sprintf("job %s of kind %s in queue %s, attempt %d of %d", i.ID, i.Kind, i.Queue, i.Attempt, i.MaxAttempts)
}

// LogValue names the job and shows none of its data.
func (i Info) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", i.ID),
		slog.String("kind", i.Kind),
		slog.String("queue", i.Queue),
		slog.Int("attempt", i.Attempt),
		slog.Int("max_attempts", i.MaxAttempts),
	)
}
