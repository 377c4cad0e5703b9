package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/operate"
)

func (t *tool) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Find what is unsafe or stuck: the store, its settings, jobs without a worker",
		Long: `Find what is unsafe or stuck: whether the store can be used and how quick it answers,
which of its settings can lose jobs, which jobs wait without a worker that would take
them, which queues are paused, which schedules are overdue. It changes nothing.

It ends by 1 if it found a warning or an error; notes are only told.`,
		Args: noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			found := []operate.Finding{{Level: operate.LevelOK, About: "program", Text: t.name + " " + version()}}
			store, usable := operate.Store(ctx, s.client, s.url)
			found = append(found, store...)
			if usable {
				look, err := operate.Glance(ctx, s.client)
				if err != nil {
					return err
				}
				work, err := operate.Work(ctx, s.client, look)
				if err != nil {
					return err
				}
				found = append(found, work...)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			return t.printFindings(found)
		}),
	}
}

// printFindings prints them, and makes an error of them if they are bad.
func (t *tool) printFindings(found []operate.Finding) error {
	l := &listing{key: "findings", columns: []string{"level", "about", "found", "what to do"}}
	bad := 0
	for _, f := range found {
		if f.Level.Bad() {
			bad++
		}
		f.Remedy = t.remedy(f)
		l.add(f, string(f.Level), f.About, f.Text, f.Remedy)
	}
	if err := t.print(l); err != nil || bad == 0 {
		return err
	}
	return fmt.Errorf("%d of %d findings are warnings or errors", bad, len(found))
}

// remedy is what to do about a finding, as a command where there is one.
func (t *tool) remedy(f operate.Finding) string {
	switch f.Problem {
	case operate.ProblemPaused:
		return t.name + " queue resume " + f.Queue
	case operate.ProblemDead:
		return fmt.Sprintf("%s errors --queue %s", t.name, f.Queue)
	}
	return f.Remedy
}
