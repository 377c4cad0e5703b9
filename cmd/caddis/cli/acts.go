package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/operate"
)

// shorts says in a line what acts do.
var shorts = map[operate.Act]string{
	operate.ActCancel: "End jobs; one that runs is told to end, wherever it runs",
	operate.ActRetry:  "Let dead or cancelled jobs wait again, with all attempts back",
	operate.ActRun:    "Let scheduled or blocked jobs wait for a worker at once",
	operate.ActDelete: "Remove jobs that do not run, with their history",
}

// actRequest is what an act is asked to be done to.
type actRequest struct {
	queue  queueName
	all    bool
	state  stateList
	filter filter
	dryRun bool
}

func (t *tool) actCommand(a operate.Act) *cobra.Command {
	var r actRequest
	c := &cobra.Command{
		Use:   string(a) + " ID… | --all --queue QUEUE --state STATE",
		Short: shorts[a],
		Long: fmt.Sprintf(`%s.
It is done to the jobs with these ids, or with --all to all of a queue in a state.

To do it again is safe. With --all it ends with the jobs that were there when it began;
when it is interrupted, what was done stays done.`, shorts[a]),
		Example: fmt.Sprintf("  %[1]s job %[2]s --all --queue mail --state %[3]s --dry-run", t.name, a, a.States()[0]),
		RunE: t.with(func(ctx context.Context, s *session, ids []string) error {
			if err := r.check(a, ids); err != nil {
				return err
			}
			if r.all {
				return t.actOnAll(ctx, s, a, r)
			}
			return t.actOn(ctx, s, a, string(r.queue), ids)
		}),
	}
	queueFlag(c, &r.queue)
	c.Flags().BoolVar(&r.all, "all", false, "all jobs of --queue in --state, instead of ids")
	stateFlag(c, &r.state, "with --all: the state", a.States())
	r.filter.flags(c)
	c.Flags().BoolVar(&r.dryRun, "dry-run", false, "with --all: only count them")
	return c
}

// check says what is wrong with a request.
func (r *actRequest) check(a operate.Act, ids []string) error {
	if !r.all {
		switch {
		case len(ids) == 0:
			return wrongUse("say which jobs: give ids, or --all with --queue and --state")
		case len(r.state) > 0 || !r.filter.Empty() || r.dryRun:
			return wrongUse("--state, --kind, --tag, --error, --group and --dry-run go with --all, and not with ids")
		}
		for _, id := range ids {
			if err := asUsage(backend.CheckID(id)); err != nil {
				return err
			}
		}
		return nil
	}
	switch {
	case len(ids) > 0:
		return wrongUse("give ids or --all, not both")
	case r.queue == "":
		return wrongUse("--all needs a --queue")
	case len(r.state) != 1:
		return wrongUse("--all needs one --state: %s", joinStates(a.States()))
	case !a.Allows(r.state[0]):
		return wrongUse("%s is not for %s jobs, but for those that are %s", string(a), r.state[0], joinStates(a.States()))
	}
	return r.filter.check()
}

// actResult is what an act did to a job.
type actResult struct {
	Queue string        `json:"queue"`
	ID    string        `json:"id"`
	State backend.State `json:"state,omitempty"`
	Error string        `json:"error,omitempty"`
}

// actOn acts on jobs by their ids. All of them are tried.
func (t *tool) actOn(ctx context.Context, s *session, a operate.Act, queue string, ids []string) error {
	l := &listing{key: "results", columns: []string{"queue", "id", "state", "error"}}
	var failures []error
	note := func(r actResult, err error) {
		state := string(r.State)
		if err != nil {
			failures = append(failures, err)
			r.Error = err.Error()
		} else if state == "" {
			state = a.Done()
		}
		l.add(r, r.Queue, r.ID, state, shorten(r.Error, 80))
	}
	groups, err := s.locate(ctx, queue, ids, func(id string, err error) { note(actResult{Queue: queue, ID: id}, err) })
	if err != nil {
		return err
	}
	for _, g := range groups {
		for part := range slices.Chunk(g.ids, backend.MaxBatch) {
			results, err := a.With(s.client)(ctx, g.queue, part...)
			if err != nil && len(results) == 0 {
				return t.partly(l, err)
			}
			for _, result := range results {
				note(actResult{Queue: g.queue, ID: result.ID, State: result.State}, refused(g.queue, result))
				if result.Err == nil && result.State == backend.StateRunning {
					t.say("the job %s runs, and its worker is told to cancel it", result.ID)
				}
			}
		}
	}
	if err := t.print(l); err != nil {
		return err
	}
	return summary(failures, len(ids), a)
}

// refused is why an act was not applied to a job, in the same words for all stores.
func refused(queue string, result backend.ActResult) error {
	if errors.Is(result.Err, backend.ErrState) {
		return fmt.Errorf("job %q in queue %q is %s: %w", result.ID, queue, result.State, backend.ErrState)
	}
	if errors.Is(result.Err, backend.ErrNotFound) {
		return fmt.Errorf("job %q in queue %q: %w", result.ID, queue, backend.ErrNotFound)
	}
	return result.Err
}

// idsOf are ids of one queue.
type idsOf struct {
	queue string
	ids   []string
}

// locate sorts ids by the queues that hold them: all by the one queue that is named. Of
// those that are in none, or in several, missing is told.
func (s *session) locate(ctx context.Context, queue string, ids []string, missing func(id string, err error)) ([]idsOf, error) {
	if queue != "" {
		_, err := s.queue(ctx, queue)
		return []idsOf{{queue, ids}}, err
	}
	var groups []idsOf
	for _, id := range ids {
		job, err := s.find(ctx, "", id)
		var usage *usageError
		switch {
		case errors.Is(err, backend.ErrNotFound) || errors.As(err, &usage):
			missing(id, err)
			continue
		case err != nil:
			return nil, err
		}
		at := slices.IndexFunc(groups, func(g idsOf) bool { return g.queue == job.Queue })
		if at < 0 {
			at, groups = len(groups), append(groups, idsOf{queue: job.Queue})
		}
		groups[at].ids = append(groups[at].ids, id)
	}
	return groups, nil
}

// summary makes one error of those of an act on several jobs. It is one of jobs that are
// not there only if all are, and one of wrong use only if nothing was done.
func summary(failures []error, total int, a operate.Act) error {
	if len(failures) == 0 {
		return nil
	}
	first := failures[0]
	for _, failure := range failures {
		if !errors.Is(failure, backend.ErrNotFound) {
			first = failure
			break
		}
	}
	if total == 1 {
		return first
	}
	var usage *usageError
	if len(failures) < total && errors.As(first, &usage) {
		first = usage.err // some were done
	}
	return fmt.Errorf("%d of %d jobs were not %s: %w", len(failures), total, a.Done(), first)
}

// bulkResult is what an act on all jobs of a queue in a state did.
type bulkResult struct {
	Queue  string        `json:"queue"`
	State  backend.State `json:"state"`
	Act    string        `json:"act"`
	Jobs   int           `json:"jobs"`
	DryRun bool          `json:"dry_run"`
}

// actOnAll acts on all jobs of a queue in a state that match, or counts them.
func (t *tool) actOnAll(ctx context.Context, s *session, a operate.Act, r actRequest) error {
	if _, err := s.queue(ctx, string(r.queue)); err != nil {
		return err
	}
	do := a.With(s.client)
	if !r.dryRun {
		t.begins(ctx, s)
	} else {
		do = func(_ context.Context, _ string, ids ...string) ([]backend.ActResult, error) {
			return make([]backend.ActResult, len(ids)), nil
		}
	}
	n, err := s.client.ForAll(ctx, string(r.queue), r.state[0], do, r.filter.Matches)
	if err != nil {
		if n > 0 {
			t.say("%s %s before that", numbered(n, "job was", "jobs were"), a.Done())
		}
		return err
	}
	s.did = "done: " + numbered(n, "job", "jobs")
	l := &listing{key: "results", columns: []string{"queue", "was", "act", "#jobs"}}
	name := string(a)
	if r.dryRun {
		name += " (dry run)"
	}
	l.add(bulkResult{string(r.queue), r.state[0], string(a), n, r.dryRun}, string(r.queue), string(r.state[0]), name, fmt.Sprint(n))
	return t.print(l)
}
