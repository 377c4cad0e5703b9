package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// showTime is how long a worker has to tell how it is.
const showTime = 10 * time.Second

func (t *tool) showWorkerCommand() *cobra.Command {
	const short = "Show what a worker does now, how far its stop is, and how it ended"
	return &cobra.Command{
		Use:   "show ID",
		Short: short,
		Long: short + `.

A worker is asked, and has 10 s to answer. The report of one that has stopped is kept for an
hour.`,
		Args: between(1, 1, "the id of a worker"),
		RunE: t.with(func(ctx context.Context, s *session, ids []string) error {
			tree, err := s.tree(ctx, ids[0])
			if err != nil {
				return err
			}
			return t.printFields(treeFields(&tree), tree)
		}),
	}
}

// tree is what a worker says when it is asked, or said last of all.
func (s *session) tree(ctx context.Context, id string) (tree jobs.WorkerTree, err error) {
	ctx, cancel := context.WithTimeout(ctx, showTime)
	defer cancel()
	var before time.Time
	for asked := false; ; {
		var found bool
		tree, found, err = s.client.WorkerTree(ctx, id)
		switch {
		case errors.Is(err, backend.ErrRejected):
			return tree, asUsage(err)
		case err != nil:
			return tree, err
		case found && (tree.Report != nil || asked && tree.At.After(before)):
			return tree, nil
		case !asked:
			before, asked = tree.At, true
			if err := s.client.WatchWorkers(ctx, id); err != nil {
				return tree, s.noWorker(ctx, []string{id}, err)
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return tree, fmt.Errorf("the worker %q is listed, and has not answered in %v: is it cut off, or paused?", id, showTime)
		}
	}
}

func treeFields(tree *jobs.WorkerTree) []field {
	fields := []field{
		{"worker", tree.Worker},
		{"state", fmt.Sprintf("%s, since %s", tree.State, instant(tree.Since, tree.At))},
	}
	if r := tree.Report; r != nil {
		fields = append(fields, field{"started", instant(r.StartedAt, tree.At)}, field{"reason", r.Reason},
			field{"took", r.Took.Round(time.Millisecond).String()}, field{"jobs", r.String()})
		for i := range r.Abandoned {
			fields = append(fields, executorField("abandoned", &r.Abandoned[i], tree.At))
		}
		for i := range r.Unconfirmed {
			fields = append(fields, executorField("unconfirmed", &r.Unconfirmed[i], tree.At))
		}
		return fields
	}
	if tree.Stop != nil {
		fields = append(fields, field{"stop", tree.Stop.Told(tree.At)})
	}
	fields = append(fields, field{"executors", fmt.Sprintf("%d of %d have a job", tree.Running, tree.Concurrency)})
	if tree.Unconfirmed > 0 {
		fields = append(fields, field{"unconfirmed", strconv.Itoa(tree.Unconfirmed)})
	}
	fields = append(fields, field{"store", tree.StoreError})
	for i := range tree.Executors {
		fields = append(fields, executorField("runs", &tree.Executors[i], tree.At))
	}
	if tree.Omitted > 0 {
		fields = append(fields, field{"and", numbered(tree.Omitted, "more job", "more jobs")})
	}
	return fields
}

func executorField(name string, e *jobs.WorkerExecutor, at time.Time) field {
	text := fmt.Sprintf("%s of kind %s in queue %s", clean(e.ID), clean(e.Kind), clean(e.Queue))
	if !e.Began.IsZero() {
		text += fmt.Sprintf(", for %v", max(0, at.Sub(e.Began)).Round(100*time.Millisecond))
	}
	if note := e.Note(at); note != "" {
		text += "; " + note
	}
	return field{name, text}
}
