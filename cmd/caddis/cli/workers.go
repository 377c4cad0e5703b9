package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (t *tool) workersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "workers",
		Short: "List the workers that were seen lately",
		Args:  noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			workers, err := s.client.Workers(ctx)
			if err != nil {
				return err
			}
			l := &listing{key: "workers", columns: []string{"id", "host", "#pid", "state", "#running", "queues", "kinds", "started", "seen"}}
			now := time.Now()
			for _, w := range workers {
				l.add(w, w.ID, w.Host, fmt.Sprint(w.PID), w.State, fmt.Sprintf("%d/%d", w.Running, w.Concurrency),
					listed(w.Queues), listed(w.Kinds), ago(w.StartedAt, now), ago(w.SeenAt, now))
			}
			return t.print(l)
		}),
	}
}

// listed tells names, of many the first.
func listed(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
