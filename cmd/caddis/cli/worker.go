package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func (t *tool) workerCommand() *cobra.Command {
	worker := &cobra.Command{Use: "worker", Short: "Show a worker, and tell workers what to do, one, some or all"}
	group(worker)
	for _, o := range orders {
		worker.AddCommand(t.orderCommand(o))
	}
	worker.AddCommand(t.showWorkerCommand(), t.stopCommand(), t.resizeCommand(), t.stacksCommand())
	return worker
}

// order is something that workers are told.
type order struct {
	name, short, long string
	tell              func(c *jobs.Client, ctx context.Context, ids ...string) error
}

var orders = []order{
	{
		"quiet", "Have workers take no jobs; those that run go on",
		"With --all it counts for workers that start later, too, until resume --all.", (*jobs.Client).QuietWorkers,
	},
	{
		"resume", "Have quiet workers take jobs again",
		"Of several orders the last counts.", (*jobs.Client).ResumeWorkers,
	},
}

func (t *tool) orderCommand(o order) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     o.name + " ID… | --all",
		Short:   o.short,
		Long:    fmt.Sprintf("%s.\n\n%s It returns when the order is in the store; workers shows\nwhat they are doing.", o.short, o.long),
		Example: fmt.Sprintf("  %s worker %s --all", t.name, o.name),
		RunE: t.with(func(ctx context.Context, s *session, ids []string) error {
			return t.tellWorkers(ctx, s, o.name, ids, all, func(ids []string) error { return o.tell(s.client, ctx, ids...) })
		}),
	}
	allFlag(c, &all)
	return c
}

func (t *tool) stopCommand() *cobra.Command {
	var all, wait bool
	var timeout time.Duration
	const short = "Stop workers gracefully"
	var c *cobra.Command
	c = &cobra.Command{
		Use:   "stop ID… | --all",
		Short: short,
		Long: short + `.

Whether their processes end, and are started again, is up to these. With --all it is for
the workers that are there. It returns when the order is in the store, or with --wait when
all of them have stopped, and tells what became of their jobs. One that is not there any
more and has left no report has vanished: it was killed, or cut off.

With --wait it says how far they are, and ends by 1 if one has vanished or crashed, or has not stopped in time; it
goes on stopping then.`,
		Example: fmt.Sprintf("  %s worker stop --all --wait --wait-timeout 2m", t.name),
		RunE: t.with(func(ctx context.Context, s *session, ids []string) error {
			switch {
			case c.Flags().Changed("wait-timeout") && timeout <= 0:
				return wrongUse("--wait-timeout=%v: give a positive time", timeout)
			case wait || timeout > 0:
				return t.stopWorkers(ctx, s, ids, all, timeout)
			}
			return t.tellWorkers(ctx, s, "stop", ids, all, func(ids []string) error { return s.client.StopWorkers(ctx, ids...) })
		}),
	}
	allFlag(c, &all)
	c.Flags().BoolVar(&wait, "wait", false, "wait until they have stopped")
	c.Flags().DurationVar(&timeout, "wait-timeout", 0, "wait, but no longer than this; by default as long as it takes")
	return c
}

// stopWorkers tells workers to stop, and how each ended.
func (t *tool) stopWorkers(ctx context.Context, s *session, ids []string, all bool, timeout time.Duration) error {
	if err := whom(ids, all); err != nil {
		return err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%v have passed", timeout))
		defer cancel()
	}
	t.begins(ctx, s)
	l := &listing{key: "workers", columns: []string{"id", "host", "#pid", "state", "took", "jobs"}}
	bad := 0
	progress := t.stopProgress()
	left, err := operate.StopWorkers(ctx, s.client, ids, func(w operate.Stopped) {
		took := ""
		if w.Report != nil {
			took = w.Report.Took.Round(time.Millisecond).String()
		}
		if w.State != string(actors.StateStopped) {
			bad++
		}
		l.add(w, w.ID, w.Host, fmt.Sprint(w.PID), w.State, took, w.Account())
	}, progress)
	if err != nil && len(left) == 0 {
		return s.noWorker(ctx, ids, err)
	}
	for _, w := range left {
		l.add(operate.Stopped{ID: w.ID, Host: w.Host, PID: w.PID, State: w.State}, w.ID, w.Host, fmt.Sprint(w.PID), w.State, "", "not stopped yet")
	}
	if bad > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d workers have not stopped in good order", bad, len(l.rows)))
	}
	return errors.Join(t.print(l), err)
}

// progressEvery is how often a terminal is told how long a stop may still take.
const progressEvery = 10 * time.Second

// stopProgress says how far a stop is: at each change of phase, and on a terminal now and then.
func (t *tool) stopProgress() func([]operate.Stopping) {
	var said string
	var at time.Time
	return func(left []operate.Stopping) {
		phases, last := map[string]int{}, time.Time{}
		for _, w := range left {
			phases[w.State]++
			if w.EndsBy.After(last) {
				last = w.EndsBy
			}
		}
		var parts []string
		for _, state := range slices.Sorted(maps.Keys(phases)) {
			parts = append(parts, fmt.Sprintf("%d %s", phases[state], state))
		}
		phase := strings.Join(parts, ", ")
		if phase == said && !(t.onTerminal() && time.Since(at) >= progressEvery) {
			return
		}
		said, at = phase, time.Now()
		if !last.IsZero() {
			phase += fmt.Sprintf("; all is over in %v at the latest", max(0, time.Until(last)).Round(time.Second))
		}
		t.say("waiting for workers: %s", phase)
	}
}

// onTerminal reports whether the standard error is one.
func (t *tool) onTerminal() bool {
	file, ok := t.stderr.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

func (t *tool) resizeCommand() *cobra.Command {
	var all bool
	const short = "Change the number of executors of workers"
	c := &cobra.Command{
		Use:   "resize N ID… | --all",
		Short: short,
		Long: short + `.

A smaller number lets the jobs that run finish first; 0 is what each was configured with.
With --all it counts for workers that start later, too.`,
		Example: fmt.Sprintf("  %s worker resize 20 --all", t.name),
		Args:    names("number of executors, and ids of workers or --all"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			n, err := strconv.ParseUint(args[0], 10, 31)
			if err != nil {
				return wrongUse("%q is no number of executors: give one from 1, or 0 for what each was configured with", args[0])
			}
			return t.tellWorkers(ctx, s, "resize", args[1:], all, func(ids []string) error { return s.client.ResizeWorkers(ctx, int(n), ids...) })
		}),
	}
	allFlag(c, &all)
	return c
}

func (t *tool) stacksCommand() *cobra.Command {
	var all bool
	const short = "Show where the handlers of workers are"
	c := &cobra.Command{
		Use:     "stacks ID… | --all",
		Short:   short,
		Long:    short + ", by the stacks of their goroutines. It waits for the answers for 10 s at most.",
		Example: fmt.Sprintf("  %s worker stacks --all", t.name),
		RunE: t.with(func(ctx context.Context, s *session, ids []string) error {
			if err := whom(ids, all); err != nil {
				return err
			}
			stacks, err := s.client.WorkerStacks(ctx, ids...)
			if errors.Is(err, backend.ErrNotFound) {
				return s.noWorker(ctx, ids, err)
			}
			return errors.Join(t.printStacks(stacks), err)
		}),
	}
	allFlag(c, &all)
	return c
}

func allFlag(c *cobra.Command, all *bool) {
	c.Flags().BoolVar(all, "all", false, "all workers, instead of ids")
}

// whom says what is wrong with who is to be told.
func whom(ids []string, all bool) error {
	switch {
	case all && len(ids) > 0:
		return wrongUse("give ids or --all, not both")
	case !all && len(ids) == 0:
		return wrongUse("say which workers: give ids, as workers lists them, or --all")
	}
	return nil
}

func (t *tool) tellWorkers(ctx context.Context, s *session, what string, ids []string, all bool, tell func(ids []string) error) error {
	if err := whom(ids, all); err != nil {
		return err
	}
	workers, err := s.client.Workers(ctx) // before they are told: one may end at once
	if err != nil {
		return err
	}
	if err := tell(ids); err != nil {
		return s.noWorker(ctx, ids, err)
	}
	l := &listing{key: "workers", columns: []string{"id", "host", "#pid", "told"}}
	for _, w := range workers {
		if all || slices.Contains(ids, w.ID) {
			l.add(told{w.ID, what}, w.ID, w.Host, fmt.Sprint(w.PID), what)
		}
	}
	return t.print(l)
}

type told struct {
	ID   string `json:"id"`
	Told string `json:"told"`
}

// noWorker says of a worker that is not there which may be meant.
func (s *session) noWorker(ctx context.Context, ids []string, err error) error {
	workers, other := s.client.Workers(ctx)
	if other != nil || !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	var present []string
	for _, w := range workers {
		present = append(present, w.ID)
	}
	for _, id := range ids {
		if slices.Contains(present, id) {
			continue
		}
		if tree, found, err := s.client.WorkerTree(ctx, id); err == nil && found && tree.Report != nil {
			return fmt.Errorf("the worker %q has %s: %w; worker show tells how", id, tree.State, backend.ErrNotFound)
		}
		return fmt.Errorf("there is no worker %q: %w; %s", id, backend.ErrNotFound, instead(id, present))
	}
	return err
}

func (t *tool) printStacks(all []jobs.WorkerStacks) error {
	l := &listing{key: "workers"}
	var text strings.Builder
	for _, w := range all {
		l.add(w)
		fmt.Fprintf(&text, "worker %s: %s\n", clean(w.Worker), numbered(len(w.Jobs)+w.Omitted, "job", "jobs"))
		for _, job := range w.Jobs {
			fmt.Fprintf(&text, "\njob %s of kind %s in queue %s\n", clean(job.ID), clean(job.Kind), clean(job.Queue))
			for line := range strings.Lines(job.Stack) {
				fmt.Fprintf(&text, "  %s\n", clean(strings.TrimRight(line, "\n")))
			}
		}
		if w.Omitted > 0 {
			fmt.Fprintf(&text, "\nand %d more\n", w.Omitted)
		}
	}
	if t.output != asTable && t.output != "" {
		return t.print(l)
	}
	_, err := fmt.Fprint(t.stdout, text.String())
	return err
}
