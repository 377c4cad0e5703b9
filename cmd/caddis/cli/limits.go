package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func (t *tool) limitCommand() *cobra.Command {
	limit := &cobra.Command{Use: "limit", Short: "Show limits, and change their numbers for the whole fleet"}
	group(limit)
	limit.AddCommand(t.limitShowCommand(), t.limitSetCommand(), t.limitResetCommand())
	return limit
}

func (t *tool) limitShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show QUEUE NAME [KEY]",
		Short: "Show who has the slots of a limit, how many jobs are parked there, and when the next token comes",
		Long: `Show who has the slots of a limit, how many jobs are parked there, and when the next token comes.

NAME is what programs give to jobs.Limit, KEY what LimitBy makes of the args of a job.`,
		Args: between(2, 3, "a queue, the name of a limit, which is what programs give to jobs.Limit, and its key if it has keys"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			return t.printLimit(ctx, s, args[0], args[1], strings.Join(args[2:], ""))
		}),
	}
}

func (t *tool) limitSetCommand() *cobra.Command {
	var slots, rate, burst int
	var per time.Duration
	var set *cobra.Command
	set = &cobra.Command{
		Use:   "set QUEUE NAME",
		Short: "Set the numbers of a limit, whatever the programs say; what is left out is not limited",
		Args:  between(2, 2, "a queue and the name of a limit"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			var options []jobs.LimitOption
			given := set.Flags().Changed
			for name, n := range map[string]int{"slots": slots, "rate": rate, "burst": burst} {
				if given(name) && n < 1 {
					return wrongUse("--%s=%d: give a number from 1, or leave it out", name, n)
				}
			}
			if given("slots") {
				options = append(options, jobs.Slots(slots))
			}
			if given("rate") {
				options = append(options, jobs.Rate(rate, per))
			}
			if given("burst") {
				options = append(options, jobs.Burst(burst))
			}
			if len(options) == 0 {
				return wrongUse("nothing is set; give --slots, --rate or both, or undo what was set with %s limit reset", t.name)
			}
			if _, err := s.queue(ctx, args[0]); err != nil {
				return err
			}
			if err := s.client.SetLimit(ctx, args[0], args[1], options...); err != nil {
				return asUsage(err)
			}
			return t.printLimit(ctx, s, args[0], args[1], "")
		}),
	}
	set.Flags().IntVar(&slots, "slots", 0, "how many jobs have a slot at a time, for each key")
	set.Flags().IntVar(&rate, "rate", 0, "how many tokens come in each --per, for each key")
	set.Flags().DurationVar(&per, "per", time.Second, "the time in which --rate tokens come")
	set.Flags().IntVar(&burst, "burst", 0, "how many tokens are kept while none is wanted (default 1)")
	return set
}

func (t *tool) limitResetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reset QUEUE NAME",
		Short: "Undo what was set: the numbers of the programs count again",
		Args:  between(2, 2, "a queue and the name of a limit"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			if _, err := s.limit(ctx, args[0], args[1], ""); err != nil {
				return err
			}
			if err := s.client.ResetLimit(ctx, args[0], args[1]); err != nil {
				return err
			}
			return t.printLimit(ctx, s, args[0], args[1], "")
		}),
	}
}

// between refuses another number of arguments.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return wrongUse("%s needs %s", c.CommandPath(), what)
		}
		return nil
	}
}

// limit reads a limit; of one that is not there the error says which are.
func (s *session) limit(ctx context.Context, queue, name, key string) (jobs.LimitInfo, error) {
	info, err := s.client.Limit(ctx, queue, name, key)
	if !errors.Is(err, backend.ErrNotFound) {
		return info, err
	}
	q, err := s.queue(ctx, queue)
	if err != nil {
		return info, err
	}
	found, _, err := operate.Limits(ctx, s.client, []backend.QueueInfo{q})
	if err != nil {
		return info, err
	}
	var names []string
	for i := range found {
		names = append(names, found[i].Class)
	}
	slices.Sort(names)
	hint := "none of its unfinished jobs has one"
	if len(names) > 0 {
		hint = instead(name, slices.Compact(names))
	}
	return info, fmt.Errorf("no job of the queue %q has had a limit %q: %w; %s", queue, name, backend.ErrNotFound, hint)
}

func (t *tool) printLimit(ctx context.Context, s *session, queue, name, key string) error {
	info, err := s.limit(ctx, queue, name, key)
	if err != nil {
		return err
	}
	set := ""
	if info.Fleet != nil {
		set = "for the whole fleet; the programs say " + operate.Rule(info.Code)
	}
	return t.printFields([]field{
		{"queue", info.Queue}, {"limit", info.Class}, {"key", info.Key}, {"rule", operate.Rule(info.Rule)}, {"set", set},
		{"slots taken", strconv.Itoa(info.Held)}, {"by", listed(info.Holders)}, {"parked", strconv.Itoa(info.Parked)},
		{"next token", instant(info.NextToken, info.Now)},
	}, info)
}
