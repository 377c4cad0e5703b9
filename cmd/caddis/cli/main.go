package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/jobs"
)

// StoreVariable is the environment variable that names the store by its URL, which keeps
// a password out of the list of processes.
const StoreVariable = "CADDIS_STORE"

// Config says what a command line may take for granted. The zero Config is valid.
type Config struct {
	// Store is the URL of the store that is used unless --store or CADDIS_STORE name
	// another; empty means that one of them has to.
	Store string
	// Worker describes the worker that the command work runs. Its Backend and Registry
	// are those of the command line and must be left out. Flags of the command have
	// precedence. Its Logger is, by default, one for people, on the standard error.
	Worker caddis.Config
}

// Main does what the arguments of the process say and ends the process with one of the
// exit codes of this package. It does not return. Mistakes in config are wrong use.
func Main(registry *jobs.Registry, config Config) {
	t := &tool{
		name: strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"), registry: registry, config: config,
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
	}
	os.Exit(t.run(context.Background(), os.Args[1:]))
}

// tool is one call of the command line.
type tool struct {
	name     string
	registry *jobs.Registry
	config   Config

	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	// What the flags of all commands say.
	storeURL string
	output   format

	// began is set as soon as arguments and flags were found to be right.
	began bool
}

// run does what the arguments say and answers the exit code.
func (t *tool) run(ctx context.Context, args []string) int {
	if err := t.check(); err != nil {
		return t.fail(nil, wrongUse("%w", err))
	}
	root := t.root()
	root.SetArgs(args)
	root.SetIn(t.stdin)
	root.SetOut(t.stdout)
	root.SetErr(t.stderr)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !t.began {
		err = &usageError{err}
	}
	return t.fail(command, err)
}

func (t *tool) check() error {
	switch {
	case t.registry == nil:
		return errors.New("cli.Main got no registry: make one with jobs.NewRegistry")
	case t.config.Worker.Backend != nil:
		return errors.New("cli.Config.Worker has a Backend: leave it out, and name the store by its URL in cli.Config.Store")
	case t.config.Worker.Registry != nil:
		return errors.New("cli.Config.Worker has a Registry: leave it out, it is the one that cli.Main gets")
	}
	return nil
}

// root makes the tree of commands.
func (t *tool) root() *cobra.Command {
	root := &cobra.Command{
		Use:   t.name,
		Short: "Look after the jobs in a store",
		Long: `Look after the jobs in a store: list, enqueue, act, find what is wrong.

The store is named by its URL, with --store or in the variable CADDIS_STORE:

  redis://user:password@host:6379/0           rediss:// over TLS
  redis+sentinel://host:26379,host/master/0   redis+cluster://host:6379,host:6379
  sqlite:/var/lib/app/jobs.db

What was found goes to the standard output, all else to the standard error.
Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found, 130 interrupted (143 by TERM, 129 by HUP).`,
		Version:           version(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRun:  func(*cobra.Command, []string) { t.began = true },
		CompletionOptions: cobra.CompletionOptions{DisableDescriptions: false},
	}
	if len(t.registry.Kinds()) > 0 {
		root.Short = "Work the jobs of this program, and look after them"
		root.Long = strings.Replace(root.Long, "Look after the jobs in a store: list, enqueue, act, find what is wrong.",
			"Work the jobs of this program, and look after them: list, enqueue, act, find what is wrong.", 1)
	}
	group(root)
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&t.storeURL, "store", "", "the `URL` of the store; by default "+t.defaultStore())
	flags.VarP(&t.output, "output", "o", "table, json, or jsonl: one value per line")
	complete(root, "output", formats...)
	root.AddCommand(
		t.queuesCommand(), t.queueCommand(), t.limitsCommand(), t.limitCommand(), t.errorsCommand(), t.jobsCommand(), t.jobCommand(), t.enqueueCommand(),
		t.workersCommand(), t.workerCommand(), t.topCommand(), t.schedulesCommand(), t.scheduleCommand(), t.eventsCommand(), t.auditCommand(), t.doctorCommand(), t.demandCommand(), t.uiCommand(),
	)
	if len(t.registry.Kinds()) > 0 {
		root.AddCommand(t.workCommand())
		return root
	}
	others := root.Args
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 && args[0] == "work" {
			return wrongUse("%s has no handlers, so it cannot work jobs; a program of yours can, with cli.Main: see docs/cli.md, In a program of your own", t.name)
		}
		return others(c, args)
	}
	return root
}

func (t *tool) defaultStore() string {
	if t.config.Store != "" {
		return "what " + StoreVariable + " says, or " + shown(t.config.Store)
	}
	return "what " + StoreVariable + " says"
}

// group makes a command one that only holds others: called by itself it shows them, and a
// name that is none of them is an error.
func group(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return wrongUse("there is no command %q; %s", c.CommandPath()+" "+args[0], instead(args[0], names))
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// complete has the shell complete the values of a flag.
func complete(c *cobra.Command, flag string, values ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag is defined a line above
	}
}
