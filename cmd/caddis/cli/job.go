package cli

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func (t *tool) jobCommand() *cobra.Command {
	job := &cobra.Command{Use: "job", Short: "Show a job, and act on jobs"}
	group(job)
	job.AddCommand(t.jobShowCommand(), t.jobWhyCommand())
	for _, a := range operate.Acts {
		job.AddCommand(t.actCommand(a))
	}
	job.AddCommand(t.jobCopyCommand(), t.jobEditCommand())
	return job
}

// oneID are the args of a command that is about one job.
func oneID(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return wrongUse("%s needs one id of a job, and got %d", c.CommandPath(), len(args))
	}
	return nil
}

// withJob runs a command about the one job that its args and flags name.
func (t *tool) withJob(queue *queueName, run func(context.Context, *session, jobs.JobInfo) error) func(*cobra.Command, []string) error {
	return t.with(func(ctx context.Context, s *session, args []string) error {
		if err := asUsage(backend.CheckID(args[0])); err != nil {
			return err
		}
		job, err := s.find(ctx, string(*queue), args[0])
		if err != nil {
			return err
		}
		return run(ctx, s, job)
	})
}

// plainID are ids that a shell takes as they are.
var plainID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]*$`)

// jobWhyCommand tells what Client.Explain says.
func (t *tool) jobWhyCommand() *cobra.Command {
	var queue queueName
	why := &cobra.Command{
		Use:   "why ID",
		Short: "Say why a job does not run",
		Args:  oneID,
		RunE: t.withJob(&queue, func(ctx context.Context, s *session, job jobs.JobInfo) error {
			e, err := s.client.Explain(ctx, job.Queue, job.ID)
			if err != nil {
				return err
			}
			fields := []field{{"job", e.ID}, {"queue", e.Queue}, {"kind", e.Kind}, {"state", string(e.State)}}
			for _, r := range e.Reasons {
				fields = append(fields, field{string(r.Cause), r.Text})
			}
			for _, remedy := range t.remedies(e) {
				fields = append(fields, field{"remedy", remedy})
			}
			return t.printFields(fields, e)
		}),
	}
	queueFlag(why, &queue)
	return why
}

// remedies are what to do about the reasons, in their order, as a command where there is one.
func (t *tool) remedies(e *jobs.Explanation) (remedies []string) {
	id := e.ID
	if !plainID.MatchString(id) {
		id = "ID"
	}
	about := func(verb string) string { return fmt.Sprintf("%s job %s --queue %s %s", t.name, verb, e.Queue, id) }
	for _, r := range e.Reasons {
		switch r.Cause {
		case jobs.CausePaused:
			remedies = append(remedies, t.name+" queue resume "+e.Queue)
		case jobs.CauseNoWorker:
			remedies = append(remedies, "start a worker that takes from the queue "+e.Queue)
		case jobs.CauseNoHandler, jobs.CauseUnknownKind:
			remedies = append(remedies, "start a worker that has a handler for the kind "+e.Kind)
		case jobs.CauseDelayed:
			remedies = append(remedies, about("run"))
		case jobs.CauseFinished:
			if operate.ActRetry.Allows(e.State) {
				remedies = append(remedies, about("retry"))
			}
		}
	}
	return slices.Compact(remedies)
}

func (t *tool) jobShowCommand() *cobra.Command {
	var queue queueName
	var payload bool
	show := &cobra.Command{
		Use:   "show ID",
		Short: "Show all that is known of a job; its data only with --payload",
		Args:  oneID,
		RunE: t.withJob(&queue, func(ctx context.Context, s *session, job jobs.JobInfo) error {
			v := t.view(job, payload)
			return t.printFields(jobFields(&v, time.Now()), v)
		}),
	}
	queueFlag(show, &queue)
	show.Flags().BoolVar(&payload, "payload", false, "show payload, result, progress, checkpoint and log too")
	return show
}

func queueFlag(c *cobra.Command, queue *queueName) {
	c.Flags().Var(queue, "queue", "the queue of the job; by default the one that holds it is looked for")
}

// find reads a job of a queue, or of the one queue that holds its id.
func (s *session) find(ctx context.Context, queue, id string) (jobs.JobInfo, error) {
	if queue != "" {
		if _, err := s.queue(ctx, queue); err != nil {
			return jobs.JobInfo{}, err
		}
		return s.client.Job(ctx, queue, id)
	}
	queues, err := s.client.Queues(ctx)
	if err != nil {
		return jobs.JobInfo{}, err
	}
	var found []jobs.JobInfo
	var holders []string
	for _, q := range queues {
		job, err := s.client.Job(ctx, q.Name, id)
		if errors.Is(err, backend.ErrNotFound) {
			continue
		}
		if err != nil {
			return jobs.JobInfo{}, err
		}
		found, holders = append(found, job), append(holders, q.Name)
	}
	switch len(found) {
	case 0:
		return jobs.JobInfo{}, fmt.Errorf("no queue holds a job %q: %w; a completed one is forgotten at once unless it has a retention", id, backend.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return jobs.JobInfo{}, wrongUse("there is a job %q in several queues: %s; say which by --queue", id, strings.Join(holders, ", "))
}

// jobFields tells of a job what is said of it.
func jobFields(v *jobView, now time.Time) []field {
	job := &v.JobInfo
	lease := ""
	if job.LeasedBy != "" {
		lease = fmt.Sprintf("by %s until %s", job.LeasedBy, instant(job.LeaseExpiresAt, now))
	}
	state := string(job.State)
	if job.CancelRequested {
		state += " (to be cancelled)"
	}
	fields := []field{
		{"id", job.ID}, {"queue", job.Queue}, {"kind", job.Kind}, {"state", state},
		{"scheduled for", instant(job.ScheduledFor, now)},
		{"waits for", operate.WaitsFor(job.BlockedOn)},
		{"leased", lease},
		{"priority", number(job.Priority)},
		{"attempts", attempts(job)},
		{"crashes", number(job.Crashes)}, {"snoozes", number(job.Snoozes)},
		{"enqueued", instant(job.EnqueuedAt, now)},
		{"started", instant(job.StartedAt, now)}, {"finished", instant(job.FinishedAt, now)},
		{"worker", job.Worker},
		{"timeout", duration(job.Timeout)}, {"deadline", instant(job.Deadline, now)},
		{"expires after", duration(job.ExpireAfter)}, {"retention", duration(job.Retention)},
		{"kept until", instant(job.KeptUntil, now)},
		{"tags", strings.Join(job.Tags, ", ")}, {"headers", headers(job.Headers)},
		{"codec", job.Codec},
		{"payload", string(v.Payload)}, {"result", string(v.Result)}, {"progress", string(v.Progress)},
		{"checkpoint", string(v.Checkpoint)},
		{"payload error", v.PayloadError},
	}
	if !job.DueAt.Equal(job.EnqueuedAt) {
		fields = slices.Insert(fields, 12, field{"first due", instant(job.DueAt, now)})
	}
	for _, f := range job.Failures {
		text := fmt.Sprintf("%s, by %s: %s", instant(f.At, now), f.Worker, f.Error)
		if f.Stack != "" {
			text += "\n" + strings.TrimSpace(f.Stack)
		}
		fields = append(fields, field{"failure " + strconv.Itoa(f.Attempt), text})
	}
	var logs strings.Builder
	for _, r := range v.Logs {
		fmt.Fprintf(&logs, "%s %s %s\n", r.At.Format(time.RFC3339), r.Level, r.Text)
	}
	return append(fields, field{"log", strings.TrimSpace(logs.String())})
}

// number tells one that is not 0.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func headers(all map[string]string) string {
	var lines []string
	for key, value := range all {
		lines = append(lines, key+": "+value)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
