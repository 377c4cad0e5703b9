package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// maxListed is how many jobs one call lists at most.
const maxListed = 10_000

// filter is what jobs must be to be listed or acted upon.
type filter struct{ operate.Filter }

func (f *filter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.Kind, "kind", "", "only jobs of this `kind`")
	c.Flags().StringArrayVar(&f.Tags, "tag", nil, "only jobs with this `tag`; several: with all of them")
	c.Flags().StringVar(&f.Text, "error", "", "only jobs whose last error has this `text` in it, in capitals or not")
	c.Flags().StringVar(&f.Group, "group", "", "only jobs of this `group` of errors, which the command errors lists")
}

func (f *filter) check() error {
	if slices.Contains(f.Tags, "") {
		return wrongUse("--tag=: no job has an empty tag")
	}
	return asUsage(f.Check())
}

// asUsage makes an error one of wrong use.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// search is what the command jobs is asked for.
type search struct {
	queues  queueList
	states  stateList
	filter  filter
	limit   int
	scan    int
	cursor  string
	payload bool
}

func (t *tool) jobsCommand() *cobra.Command {
	var q search
	list := &cobra.Command{
		Use:   "jobs",
		Short: "List jobs, queue by queue and state by state",
		Long: `List jobs, queue by queue and state by state.

A store finds jobs by queue and state. Kind, tag and error are looked for among those, of
which --scan says how many are looked at. Where a list ends before there are no more,
it says so, and with which --cursor to go on.`,
		Example: `  {} jobs --state dead --queue mail
  {} jobs --kind welcome --tag vip -o jsonl | jq -r .id`,
		Args: noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error { return t.listJobs(ctx, s, q) }),
	}
	list.Example = strings.ReplaceAll(list.Example, "{}", t.name)
	list.Flags().Var(&q.queues, "queue", "only this queue; several: of each; by default all")
	stateFlag(list, &q.states, "only this state; several: of each; by default all", backend.States)
	q.filter.flags(list)
	list.Flags().IntVar(&q.limit, "limit", backend.DefaultPage, fmt.Sprintf("how many jobs are listed, 1 to %d", maxListed))
	list.Flags().IntVar(&q.scan, "scan", 100_000, "how many jobs are looked at for those of a kind, tag or error")
	list.Flags().StringVar(&q.cursor, "cursor", "", "go on where a list ended that gave this `cursor`")
	list.Flags().BoolVar(&q.payload, "payload", false, "show the jobs' payloads too, with -o json and jsonl")
	return list
}

func (q *search) check() error {
	switch {
	case q.limit < 1 || q.limit > maxListed:
		return wrongUse("--limit=%d: give a number from 1 to %d", q.limit, maxListed)
	case q.scan < 1:
		return wrongUse("--scan=%d: give a number from 1", q.scan)
	}
	return q.filter.check()
}

// listJobs prints the jobs that are searched for; as lines page by page.
func (t *tool) listJobs(ctx context.Context, s *session, q search) error {
	if err := q.check(); err != nil {
		return err
	}
	if q.payload && t.output != asJSON && t.output != asLines {
		return wrongUse("--payload needs -o json or -o jsonl; %s job show tells all of one job", t.name)
	}
	queues, err := s.counts(ctx, q.queues)
	if err != nil {
		return err
	}
	l := &listing{key: "jobs", columns: []string{"queue", "id", "kind", "state", "#attempts", "enqueued", "about"}}
	now := time.Now()
	wanted := operate.Search{States: q.states, Filter: q.filter.Filter, Cursor: q.cursor, Limit: q.limit, Scan: q.scan}
	next, found, err := wanted.Find(ctx, s.client, queues, func(page []jobs.JobInfo) error {
		for _, job := range page {
			l.add(t.view(job, q.payload), job.Queue, job.ID, job.Kind, string(job.State), attempts(&job.JobInfo), ago(job.EnqueuedAt, now), about(&job.JobInfo, now))
		}
		if t.output != asLines {
			return nil
		}
		values := l.values
		l.values = nil
		return t.printLines(values)
	})
	if errors.Is(err, backend.ErrRejected) {
		return asUsage(err)
	}
	if err != nil {
		return err
	}
	l.next = next
	if t.output == asLines {
		if found == 0 {
			t.say("no jobs")
		}
	} else if err := t.print(l); err != nil {
		return err
	}
	if next != "" {
		t.say("there may be more: go on with --cursor %s", next)
	}
	return nil
}

// counts reads queues, all if none is named.
func (s *session) counts(ctx context.Context, names []string) ([]backend.QueueInfo, error) {
	if len(names) == 0 {
		return s.client.Queues(ctx)
	}
	var queues []backend.QueueInfo
	for _, name := range names {
		q, err := s.queue(ctx, name)
		if err != nil {
			return nil, err
		}
		queues = append(queues, q)
	}
	return queues, nil
}
