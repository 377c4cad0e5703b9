package cli

import (
	"fmt"
	"log/slog"
	"net/http"
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
	var probes, pprof string
	c := &cobra.Command{
		Use:   "work",
		Short: "Run the worker of this program's handlers until TERM or INT comes",
		Long: `Run the worker of this program's handlers until TERM or INT comes. Only programs with handlers
have this command (see "In a program of your own").

The first signal drains: running jobs finish within the grace. A second one cancels
them, a third hands them back at once; TSTP lets the worker take no new jobs. At the end
it reports what became of every job, and ends by 0, or by 1 if it crashed.

With --http it answers the probes of an orchestrator, /livez and /readyz, and tells under
/drain how far a stop is, until the stop is over.`,
		Example: "  " + t.name + " work --queue mail --concurrency 20 --http :8080",
		Args:    noArgs,
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
			if c.Flags().Changed("http") {
				if err := checkAddress("http", probes, ":8080"); err != nil {
					return err
				}
			}
			if c.Flags().Changed("pprof") {
				if err := checkProfiles(pprof); err != nil {
					return err
				}
			}
			return t.work(c, config, probes, pprof)
		},
	}
	c.Flags().Var(&queues, "queue", "take from this queue only; several: in this order; by default from those of the kinds")
	c.Flags().IntVar(&concurrency, "concurrency", 0, fmt.Sprintf("how many jobs run at the same time; by default %d or what the program says", actors.DefaultConcurrency))
	c.Flags().DurationVar(&grace, "grace", 0, fmt.Sprintf("how long a stop may take; by default %v or what the program says", actors.DefaultGrace))
	c.Flags().StringVar(&probes, "http", "", "answer probes at this `address`, such as :8080; port 0 takes a free one")
	c.Flags().StringVar(&pprof, "pprof", "", "serve the profiles of the process, under /debug/pprof, at this `address` of this machine, such as 127.0.0.1:6060")
	return c
}

// checkProfiles refuses to serve the profiles to others than those on this machine: they show
// what is in memory.
func checkProfiles(address string) error {
	if err := checkAddress("pprof", address, "127.0.0.1:6060"); err != nil {
		return err
	}
	if !loopback(address) {
		return wrongUse("--pprof=%s: profiles show what the process does and has in memory; give an address of this machine alone, such as 127.0.0.1:6060", address)
	}
	return nil
}

// work runs a worker to its end and prints its report. It answers probes and serves its
// profiles at these addresses, unless they are empty.
func (t *tool) work(c *cobra.Command, config caddis.Config, probes, pprof string) (err error) {
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
	for what, beside := range map[string]struct {
		address string
		handler http.Handler
	}{"probes": {probes, system.Health()}, "profiles": {pprof, profiles()}} {
		if beside.address == "" {
			continue
		}
		server, err := serveBeside(c.Context(), "the worker's "+what, beside.address, beside.handler, config.Logger)
		if err != nil {
			return err
		}
		config.Logger.Info("the worker's "+what+" are served", "address", server.address.String())
		defer func() {
			if err := server.end(c.Context()); err != nil {
				config.Logger.Error("the worker's "+what+" were not answered any more", "error", err)
			}
		}()
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
