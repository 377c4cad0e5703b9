package cli

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
)

func (t *tool) workCommand() *cobra.Command {
	var queues queueList
	var concurrency int
	var grace time.Duration
	c := &cobra.Command{
		Use:   "work",
		Short: "Run the worker of this program's handlers until TERM or INT comes",
		Long: `Run the worker of this program's handlers until TERM or INT comes.

The first signal drains: running jobs finish within the grace. A second one cancels
them, a third hands them back at once; TSTP lets the worker take no new jobs. At the end
it reports what became of every job, and ends by 0, or by 1 if it crashed.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config := t.config.Worker
			if c.Flags().Changed("queue") {
				config.Queues = queues
			}
			for name, value := range map[string]bool{"concurrency": concurrency > 0, "grace": grace > 0} {
				if c.Flags().Changed(name) && !value {
					return wrongUse("--%s: give more than 0", name)
				}
			}
			if concurrency > 0 {
				config.Concurrency = concurrency
			}
			if grace > 0 {
				config.Grace = grace
			}
			return t.work(c, config)
		},
	}
	c.Flags().Var(&queues, "queue", "take from this queue only; several: in this order; by default from those of the kinds")
	c.Flags().IntVar(&concurrency, "concurrency", 0, fmt.Sprintf("how many jobs run at the same time; by default %d or what the program says", actors.DefaultConcurrency))
	c.Flags().DurationVar(&grace, "grace", 0, fmt.Sprintf("how long a stop may take; by default %v or what the program says", actors.DefaultGrace))
	return c
}

// work runs a worker to its end and prints its report.
func (t *tool) work(c *cobra.Command, config caddis.Config) (err error) {
	s, err := t.open(true)
	if err != nil {
		return err
	}
	defer func() {
		if closing := s.store.Close(); err == nil {
			err = closing
		}
	}()
	config.Backend, config.Registry = s.store, t.registry
	if config.Logger == nil {
		config.Logger = slog.New(tint.NewTextHandler(t.stderr, &tint.Options{NoColor: !t.coloured(t.stderr)}))
	}
	system, err := caddis.New(config)
	if err != nil {
		return asUsage(err)
	}
	report, err := system.Run(c.Context())
	if report == nil {
		return err
	}
	if printing := t.printReport(report); err == nil {
		err = printing
	}
	return err
}

// reportView is a report as it is printed in JSON: with its error.
type reportView struct {
	*caddis.Report
	Error string `json:"error,omitempty"`
}

func (t *tool) printReport(report *caddis.Report) error {
	for _, ref := range report.AbandonedJobs {
		t.say("abandoned, and back in its queue: job %s of kind %s in queue %s", ref.ID, ref.Kind, ref.Queue)
	}
	for _, ref := range report.UnconfirmedJobs {
		t.say("not confirmed by the store: job %s of kind %s in queue %s", ref.ID, ref.Kind, ref.Queue)
	}
	view := reportView{Report: report}
	if report.Err != nil {
		view.Error = report.Err.Error()
	}
	switch t.output {
	case asJSON:
		return t.printJSON(view, "  ")
	case asLines:
		return t.printJSON(view, "")
	}
	_, err := fmt.Fprintln(t.stdout, clean(report.String()))
	return err
}
