package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// maxListed is how many jobs one call lists at most.
const maxListed = 10_000

// filter is what jobs must be to be listed or acted upon.
type filter struct {
	kind string
	tags []string
}

func (f *filter) flags(c *cobra.Command) {
	c.Flags().StringVar(&f.kind, "kind", "", "only jobs of this `kind`")
	c.Flags().StringArrayVar(&f.tags, "tag", nil, "only jobs with this `tag`; several: with all of them")
}

func (f *filter) empty() bool { return f.kind == "" && len(f.tags) == 0 }

func (f *filter) check() error {
	if slices.Contains(f.tags, "") {
		return wrongUse("--tag=: no job has an empty tag")
	}
	if f.kind == "" {
		return nil
	}
	return asUsage(backend.CheckKind(f.kind))
}

func (f *filter) matches(job jobs.JobInfo) bool {
	for _, tag := range f.tags {
		if !slices.Contains(job.Tags, tag) {
			return false
		}
	}
	return f.kind == "" || f.kind == job.Kind
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

A store finds jobs by queue and state. Kind and tag are looked for among those, of
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
	list.Flags().IntVar(&q.scan, "scan", 100_000, "how many jobs are looked at for those of a kind or tag")
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
	places, err := q.places(ctx, s)
	if err != nil {
		return err
	}
	l := &listing{key: "jobs", columns: []string{"queue", "id", "kind", "state", "#attempts", "enqueued", "about"}}
	now := time.Now()
	next, found, err := q.find(ctx, s.client, places, func(page []jobs.JobInfo) error {
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

// place is where jobs are paged through: the jobs of a queue in a state, from a cursor on.
type place struct {
	queue  string
	state  backend.State
	cursor string
}

// String is the cursor by which a later call goes on from here.
func (p place) String() string { return p.queue + ":" + string(p.state) + ":" + p.cursor }

// places are all that a search looks through, in order, from its cursor on.
func (q *search) places(ctx context.Context, s *session) ([]place, error) {
	queues, err := s.counts(ctx, q.queues)
	if err != nil {
		return nil, err
	}
	states := slices.Clone(q.states)
	if len(states) == 0 {
		states = backend.States
	}
	from := strings.SplitN(q.cursor, ":", 3)
	if q.cursor != "" && len(from) != 3 {
		return nil, wrongUse("--cursor=%s: it is none; give what the list before this one told", q.cursor)
	}
	var places []place
	begun := q.cursor == ""
	for _, queue := range queues {
		for _, state := range states {
			p := place{queue: queue.Name, state: state}
			if !begun && p.queue == from[0] && string(p.state) == from[1] {
				begun, p.cursor = true, from[2]
			}
			if begun && (queue.Counts[state] > 0 || p.cursor != "") {
				places = append(places, p)
			}
		}
	}
	if !begun {
		return nil, wrongUse("--cursor=%s: it belongs to another queue or state; give the same flags as for the list before this one", q.cursor)
	}
	return places, nil
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

// find gives the jobs that match to take, page by page, until there are as many as the
// search wants, or as many were looked at as it allows; next is then where to go on.
func (q *search) find(ctx context.Context, client *jobs.Client, places []place, take func([]jobs.JobInfo) error) (next string, found int, err error) {
	looked := 0
	for i := 0; i < len(places); {
		p := &places[i]
		if found == q.limit || looked >= q.scan && !q.filter.empty() {
			return p.String(), found, nil
		}
		query := backend.JobsQuery{Queue: p.queue, State: p.state, Cursor: p.cursor, Limit: min(q.pageSize(found), q.scanLeft(looked))}
		page, err := client.Jobs(ctx, query)
		if err != nil {
			return "", found, err
		}
		var matching []jobs.JobInfo
		for n := range page.Jobs {
			if !q.filter.matches(page.Jobs[n]) {
				continue
			}
			matching = append(matching, page.Jobs[n])
			if found+len(matching) == q.limit && n+1 < len(page.Jobs) {
				// The page goes on; where to, tells one that ends here.
				query.Limit = n + 1
				if page, err = client.Jobs(ctx, query); err != nil {
					return "", found, err
				}
				break
			}
		}
		if err := take(matching); err != nil {
			return "", found, err
		}
		found, looked = found+len(matching), looked+len(page.Jobs)
		if p.cursor = page.Next; p.cursor == "" {
			i++
		}
	}
	return "", found, nil
}

// pageSize is how many jobs the next page is to have: no more than are wanted, unless
// they are to be searched.
func (q *search) pageSize(found int) int {
	if q.filter.empty() {
		return min(q.limit-found, backend.MaxPage)
	}
	return backend.MaxPage
}

// scanLeft is how many more jobs may be looked at.
func (q *search) scanLeft(looked int) int {
	if q.filter.empty() {
		return backend.MaxPage
	}
	return q.scan - looked
}
