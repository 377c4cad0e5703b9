package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// noted are the commands that act, each with how many of its arguments the audit log has: no
// payload is in it.
var noted = map[string]int{
	"job cancel": allArgs, "job retry": allArgs, "job run": allArgs, "job delete": allArgs, "job copy": allArgs, "job edit": 1,
	"queue pause": allArgs, "queue resume": allArgs, "limit set": allArgs, "limit reset": allArgs,
	"schedule pause": allArgs, "schedule resume": allArgs, "schedule run": allArgs, "schedule delete": allArgs,
	"worker quiet": allArgs, "worker resume": allArgs, "worker stop": allArgs, "worker resize": allArgs, "worker stacks": allArgs,
}

const allArgs = 1 << 30

// noteTime is how long the note of an act may take.
const noteTime = 3 * time.Second

// note notes a command that acts in the audit log, and how it ended. Wrong use and a dry run did
// nothing.
func (t *tool) note(ctx context.Context, s *session, c *cobra.Command, args []string, err error) {
	name := commandName(c)
	shown, acts := noted[name]
	var usage *usageError
	dry := c.Flags().Lookup("dry-run")
	if !acts || errors.As(err, &usage) || dry != nil && dry.Value.String() == "true" {
		return
	}
	var cause interrupted
	if err != nil && errors.As(context.Cause(ctx), &cause) && !errors.As(err, &cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	t.noteCommand(ctx, s, c, name, args[:min(shown, len(args))], outcome(err, s.did))
}

// begins notes that an act that may take long has begun: who waits for its end may be gone by
// then, and his terminal with him.
func (t *tool) begins(ctx context.Context, s *session) {
	t.noteCommand(ctx, s, s.command, commandName(s.command), s.args, "begun")
}

// commandName is a command without the name of the program.
func commandName(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}

func (t *tool) noteCommand(ctx context.Context, s *session, c *cobra.Command, name string, args []string, outcome string) {
	on := slices.Clone(args)
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			on = append(on, "--"+f.Name+"="+f.Value.String())
		}
	})
	if err := noteAct(ctx, s.client, name, strings.Join(on, " "), outcome); err != nil {
		t.say("the act could not be noted in the audit log: %v", err)
	}
}

// outcome is how an act ended: by an error, or with what was done, if there is more to say of it.
func outcome(err error, did string) string {
	if err != nil {
		return err.Error()
	}
	return cmp.Or(did, "done")
}

// noteAct notes an act of the one who is logged in.
func noteAct(ctx context.Context, client *jobs.Client, act, on, outcome string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	return operate.Note(ctx, client, operate.AuditEntry{Who: whoami(), Via: "command line", Act: act, On: on, Outcome: outcome})
}

// whoami is the user of the operating system, and the machine.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = cmp.Or(u.Username, u.Uid)
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

func (t *tool) auditCommand() *cobra.Command {
	var limit int
	var before int64
	c := &cobra.Command{
		Use:   "audit",
		Short: "List who did what to jobs, queues, limits, schedules and workers",
		Long: fmt.Sprintf(`List who did what to jobs, queues, limits, schedules and workers, the newest act first.

The dashboard and this command line note each act in the store, which keeps the last %d
at least: who did it (in the dashboard the visitor, here the user of the system), to what,
and what came of it. Acts of the command line on all jobs, and stops that are waited for,
are noted when they begin, too. Payloads are not in it.`, operate.AuditKept),
		Example: fmt.Sprintf("  %s audit --limit 20", t.name),
		Args:    noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			if limit < 1 || limit > operate.AuditKept {
				return wrongUse("--limit=%d: give a number from 1 to %d", limit, operate.AuditKept)
			}
			if before < 0 {
				return wrongUse("--before=%d: give the number of an act", before)
			}
			entries, more, err := operate.Audit(ctx, s.client, operate.AuditQuery{Before: before, Limit: limit})
			if err != nil {
				return err
			}
			l := &listing{key: "acts", columns: []string{"at", "who", "via", "act", "on", "outcome"}}
			for _, e := range entries {
				by := e.Who
				if e.Role != "" {
					by += " (" + e.Role + ")"
				}
				l.add(e, instant(e.At, time.Now()), by, e.Via, e.Act, shorten(e.On, 60), shorten(e.Outcome, 60))
			}
			if more {
				l.next = strconv.FormatInt(entries[len(entries)-1].Number, 10)
				t.say("there are more; go on with --before %s", l.next)
			}
			return t.print(l)
		}),
	}
	c.Flags().IntVar(&limit, "limit", 50, "how many acts are listed")
	c.Flags().Int64Var(&before, "before", 0, "only acts before the one with this `number`; 0 begins with the newest")
	return c
}
