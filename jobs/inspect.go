package jobs

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"

	"github.com/caddis-go/caddis/backend"
)

// JobInfo is a stored job and all that is known of it. It prints and logs
// without payload, result, progress and checkpoint; [ArgsOf], [ResultOf],
// [ProgressOf] and [CheckpointOf] decode those. Its MaxAttempts is the one that applies, as far as that is known: what
// the job says, else what the worker that settled it last went by, else what the kind
// says in the client's registry; 0 if it is none of them.
type JobInfo struct {
	backend.JobInfo
	codec Codec // nil if the registry does not know it
}

// JobsPage is one page of jobs.
type JobsPage struct {
	Jobs []JobInfo `json:"jobs"`
	// Next is the cursor of the following page, empty after the last.
	Next string `json:"next,omitempty"`
}

// Job returns one job, or [backend.ErrNotFound]. A completed job is forgotten at
// once unless its [Retention] or the backend's policy keeps it.
func (c *Client) Job(ctx context.Context, queue, id string) (JobInfo, error) {
	if err := checkAct("job", queue, id); err != nil {
		return JobInfo{}, err
	}
	info, err := c.backend.Job(ctx, queue, id)
	if err != nil {
		return JobInfo{}, err
	}
	return c.jobInfo(info), nil
}

// Jobs returns one page of the jobs of a queue in a state, or [backend.ErrNotFound] if
// there is no such queue.
func (c *Client) Jobs(ctx context.Context, query backend.JobsQuery) (JobsPage, error) {
	page, err := c.backend.Jobs(ctx, query)
	if err == nil && len(page.Jobs) == 0 && query.Cursor == "" {
		_, err = c.backend.Queue(ctx, query.Queue)
	}
	if err != nil {
		return JobsPage{}, err
	}
	jobs := make([]JobInfo, len(page.Jobs))
	for i := range page.Jobs {
		jobs[i] = c.jobInfo(page.Jobs[i])
	}
	return JobsPage{Jobs: jobs, Next: page.Next}, nil
}

// AllJobs goes through all pages from query's cursor on, fetching one at a time.
// An error ends it. Jobs that move meanwhile may be missed or seen twice.
func (c *Client) AllJobs(ctx context.Context, query backend.JobsQuery) iter.Seq2[JobInfo, error] {
	return func(yield func(JobInfo, error) bool) {
		query := query
		for {
			page, err := c.Jobs(ctx, query)
			if err != nil {
				yield(JobInfo{}, err)
				return
			}
			for _, job := range page.Jobs {
				if !yield(job, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Cursor = page.Next
		}
	}
}

// Queues returns all queues with their counts, by name.
func (c *Client) Queues(ctx context.Context) ([]backend.QueueInfo, error) {
	return c.backend.Queues(ctx)
}

// Queue returns one queue with its counts, or [backend.ErrNotFound].
func (c *Client) Queue(ctx context.Context, name string) (backend.QueueInfo, error) {
	if err := checkQueue("queue", name); err != nil {
		return backend.QueueInfo{}, err
	}
	return c.backend.Queue(ctx, name)
}

// Workers returns the workers that were seen lately, by id.
func (c *Client) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	return c.backend.Workers(ctx)
}

func (c *Client) jobInfo(info backend.JobInfo) JobInfo {
	if info.MaxAttempts == 0 {
		info.MaxAttempts = info.AttemptLimit
	}
	if k := c.registry.kind(info.Kind); k != nil && info.MaxAttempts == 0 {
		info.MaxAttempts = cmp.Or(k.options.job.MaxAttempts, DefaultMaxAttempts)
	}
	return JobInfo{JobInfo: info, codec: c.registry.codec(info.Codec)}
}

// ArgsOf decodes the args of a job. A job of another kind is an error.
func ArgsOf[A Args](job JobInfo) (A, error) {
	var args A
	if name, _ := kindOf[A](); name != job.Kind {
		return args, fmt.Errorf("job %q is of kind %q, %T is of kind %q", job.ID, job.Kind, args, name)
	}
	err := job.decode("payload", job.Payload, &args)
	return args, err
}

// DecodeArgs decodes the args into what v points to, for tools that know the type only
// when they run: [ArgsOf] is for all others, as it looks at the kind.
func (j JobInfo) DecodeArgs(v any) error { return j.decode("payload", j.Payload, v) }

// ResultOf decodes what the handler left by SetResult; [backend.ErrNotFound] if
// there is nothing (yet).
func ResultOf[T any](job JobInfo) (result T, err error) {
	err = job.decode("result", job.Result, &result)
	return result, err
}

// ProgressOf decodes the last progress that was published;
// [backend.ErrNotFound] if there is none (yet).
func ProgressOf[T any](job JobInfo) (progress T, err error) {
	err = job.decode("progress", job.Progress, &progress)
	return progress, err
}

// CheckpointOf decodes the checkpoint from which the job goes on;
// [backend.ErrNotFound] if there is none (yet).
func CheckpointOf[T any](job JobInfo) (checkpoint T, err error) {
	err = job.decode("checkpoint", job.Checkpoint, &checkpoint)
	return checkpoint, err
}

func (j *JobInfo) decode(part string, data []byte, v any) error {
	switch {
	case data == nil:
		return fmt.Errorf("the job %q is %s and has no %s: %w", j.ID, j.State, part, backend.ErrNotFound)
	case j.codec == nil:
		return &PayloadError{
			Op: "decode", Part: part, Kind: j.Kind, Codec: j.Codec,
			Detail: "this client does not know the codec; add it to its registry by WithCodec",
		}
	}
	return decode(j.codec, part, j.Kind, data, v)
}

// String names the job and shows none of its data.
func (j JobInfo) String() string {
	return fmt.Sprintf("job %s of kind %s in queue %s, %s", j.ID, j.Kind, j.Queue, j.State)
}

// LogValue names the job and shows none of its data.
func (j JobInfo) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", j.ID),
		slog.String("kind", j.Kind),
		slog.String("queue", j.Queue),
		slog.String("state", string(j.State)),
		slog.Int("attempts", j.Attempts),
		slog.Int("max_attempts", j.MaxAttempts),
	)
}
