package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
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

// note notes a command that acts in the audit log, and how it ended. Wrong use did nothing.
func (t *tool) note(ctx context.Context, s *session, c *cobra.Command, args []string, err error) {
	name := strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
	shown, acts := noted[name]
	var usage *usageError
	if !acts || errors.As(err, &usage) {
		return
	}
	on := append([]string{}, args[:min(shown, len(args))]...)
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			on = append(on, "--"+f.Name+"="+f.Value.String())
		}
	})
	if failed := noteAct(ctx, s.client, name, strings.Join(on, " "), err); failed != nil {
		t.say("the act could not be noted in the audit log: %v", failed)
	}
}

// noteAct notes an act of the one who is logged in.
func noteAct(ctx context.Context, client *jobs.Client, act, on string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	outcome := "done"
	if err != nil {
		outcome = err.Error()
	}
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
and what came of it. Payloads are not in it.`, operate.AuditKept),
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
