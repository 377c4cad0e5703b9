package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/operate"
)

func (t *tool) errorsCommand() *cobra.Command {
	var queues queueList
	var states stateList
	var scan int
	c := &cobra.Command{
		Use:   "errors",
		Short: "List what went wrong, in groups: the jobs of a kind that failed with the same error",
		Long: `List what went wrong, in groups: the jobs of a queue and kind whose last errors are the same but
for names, ids and numbers, or that panicked in the same place; the largest group first. Jobs of a
group are listed and acted upon with --group.`,
		Example: strings.ReplaceAll(`  {} errors --queue mail
  {} job retry --all --queue mail --state dead --group 9f86d081884c7d65`, "{}", t.name),
		Args: noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			state := backend.StateDead
			for _, given := range states {
				state = given
			}
			switch {
			case len(states) > 1 || state != backend.StateDead && state != backend.StateScheduled:
				return wrongUse("--state=%s: give dead, or scheduled for jobs that will be tried again", states.String())
			case scan < 1:
				return wrongUse("--scan=%d: give a number from 1", scan)
			}
			counts, err := s.counts(ctx, queues)
			if err != nil {
				return err
			}
			found := operate.NewErrorScan(s.client, counts, state)
			for more := true; more && found.Looked() < int64(scan); {
				if more, err = found.Step(ctx); err != nil {
					return err
				}
			}
			return t.printErrors(found)
		}),
	}
	c.Flags().Var(&queues, "queue", "only this queue; several: of each; by default all")
	stateFlag(c, &states, "the state, dead by default; scheduled are those that will be tried again", []backend.State{backend.StateDead, backend.StateScheduled})
	c.Flags().IntVar(&scan, "scan", 100_000, "how many jobs are looked at")
	return c
}

func (t *tool) printErrors(found *operate.ErrorScan) error {
	l := &listing{key: "errors", columns: []string{"group", "queue", "kind", "#jobs", "first", "last", "error"}}
	now := time.Now()
	for _, g := range found.Groups() {
		text := g.Text
		if g.Frame != "" {
			text += " at " + g.Frame
		}
		l.add(g, g.ID, g.Queue, g.Kind, strconv.Itoa(g.Jobs), ago(g.First, now), ago(g.Last, now), shorten(text, 80))
	}
	if err := t.print(l); err != nil {
		return err
	}
	if found.Looked() < found.Of() {
		t.say("%d of %d jobs were looked at: raise --scan, or name a --queue", found.Looked(), found.Of())
	}
	if n := found.Others(); n > 0 {
		t.say("%s of other groups, of which there are too many to list", numbered(n, "job is", "jobs are"))
	}
	return nil
}
