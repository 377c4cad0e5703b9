package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/operate"
)

func (t *tool) demandCommand() *cobra.Command {
	var queues queueList
	var need operate.Need
	c := &cobra.Command{
		Use:   "demand",
		Short: "Say how many executors and workers the jobs need",
		Long: `Say how many executors and workers the jobs need, for an autoscaler or a plan: what was busy in
the last minutes, and what drains the backlog in time; at least one executor if a job is blocked
or a schedule is overdue. docs/metrics.md has the formula.`,
		Example: strings.ReplaceAll(`  {} demand --queue mail --drain-within 30s
  {} demand --per-worker 20 --min 2 -o jsonl`, "{}", t.name),
		Args: noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			if need.DrainWithin == 0 {
				return wrongUse("--drain-within: give more than 0")
			}
			need.Queues = queues
			for _, name := range queues {
				if _, err := s.queue(ctx, name); err != nil {
					return err
				}
			}
			d, err := operate.DemandFor(ctx, s.client, need)
			if err != nil {
				return rejectedUse(err)
			}
			took := ""
			if d.Took > 0 {
				took = d.Took.Round(time.Microsecond).String()
			}
			return t.printFields([]field{
				{"executors", strconv.Itoa(d.Executors)}, {"workers", strconv.Itoa(d.Workers)},
				{"waiting", strconv.FormatInt(d.Waiting, 10)}, {"running", strconv.FormatInt(d.Running, 10)},
				{"blocked", strconv.FormatInt(d.Blocked, 10)}, {"overdue schedule", d.Overdue},
				{"busy", fmt.Sprintf("%.1f executors", d.Busy)}, {"a job takes", took},
			}, d)
		}),
	}
	f := c.Flags()
	f.Var(&queues, "queue", "a queue whose jobs count; several may be given; by default all")
	f.DurationVar(&need.DrainWithin, "drain-within", time.Minute, "the time in which what waits is to be done")
	f.IntVar(&need.PerWorker, "per-worker", 0, "how many executors a worker has; by default as many as those that run, or 10")
	f.IntVar(&need.Min, "min", 0, "how many workers there are at least")
	f.IntVar(&need.Max, "max", 0, "how many workers there are at most; 0 for no bound")
	return c
}
