package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// scheduleView is a schedule as it is printed in JSON: without its spec, which has the
// payload of its jobs.
type scheduleView struct {
	jobs.ScheduleInfo
	Spec  []byte `json:"spec,omitempty"`
	Error string `json:"error,omitempty"`
}

func (t *tool) schedulesCommand() *cobra.Command {
	var queues queueList
	var limit int
	c := &cobra.Command{
		Use:   "schedules",
		Short: "List the schedules, queue by queue",
		Args:  noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			if limit < 1 || limit > maxListed {
				return wrongUse("--limit=%d: give a number from 1 to %d", limit, maxListed)
			}
			found, more, err := s.schedules(ctx, queues, limit)
			if err != nil {
				return err
			}
			if err := t.printSchedules(found); err != nil {
				return err
			}
			if more {
				t.say("there are more: raise --limit, or name a --queue")
			}
			return nil
		}),
	}
	c.Flags().Var(&queues, "queue", "only this queue; several: of each; by default all")
	c.Flags().IntVar(&limit, "limit", 500, fmt.Sprintf("how many schedules are listed, 1 to %d", maxListed))
	return c
}

// schedules reads those of queues, all if none is named, and whether there are more than
// limit.
func (s *session) schedules(ctx context.Context, names []string, limit int) (found []jobs.ScheduleInfo, more bool, err error) {
	queues, err := s.counts(ctx, names)
	if err != nil {
		return nil, false, err
	}
	for _, q := range queues {
		for info, err := range s.client.AllSchedules(ctx, q.Name) {
			if err != nil {
				return nil, false, err
			}
			if len(found) == limit {
				return found, true, nil
			}
			found = append(found, info)
		}
	}
	return found, false, nil
}

func (t *tool) printSchedules(found []jobs.ScheduleInfo) error {
	l := &listing{key: "schedules", columns: []string{"queue", "name", "state", "when", "kind", "next", "last", "last job", "#enqueued", "#skipped"}}
	now := time.Now()
	for _, info := range found {
		v := scheduleView{ScheduleInfo: info}
		when := info.When
		if info.Err != nil {
			v.Error = info.Err.Error()
			when = shorten(v.Error, 60)
		}
		l.add(v, info.Queue, info.Name, scheduleState(&info), when, info.Kind, ago(info.Next, now), ago(info.Last, now),
			string(info.LastState), strconv.FormatUint(info.Enqueued, 10), strconv.FormatUint(info.Skipped, 10))
	}
	return t.print(l)
}

func scheduleState(info *jobs.ScheduleInfo) string {
	switch {
	case info.Err != nil:
		return "unreadable"
	case info.Paused:
		return statePaused
	case info.Next.IsZero():
		return "ended"
	}
	return "active"
}

func (t *tool) scheduleCommand() *cobra.Command {
	schedule := &cobra.Command{Use: "schedule", Short: "Pause, resume, run and delete schedules"}
	group(schedule)
	schedule.AddCommand(
		t.changeScheduleCommand("pause", "Let schedules rest; their jobs are left alone", (*jobs.Client).PauseSchedule),
		t.changeScheduleCommand("resume", "Let paused schedules go on; what came meanwhile is not made up for", (*jobs.Client).ResumeSchedule),
		t.runScheduleCommand(), t.deleteScheduleCommand(),
	)
	return schedule
}

// onSchedules makes a command that does something to each schedule that is named.
func (t *tool) onSchedules(name, short string, do func(ctx context.Context, s *session, queue string, names []string) error) *cobra.Command {
	var queue queueName
	c := &cobra.Command{
		Use:   name + " NAME…",
		Short: short,
		Args:  names("name of a schedule"),
		RunE: t.with(func(ctx context.Context, s *session, names []string) error {
			for _, name := range names {
				if err := asUsage(backend.CheckSchedule(name)); err != nil {
					return err
				}
			}
			holder := string(queue)
			for _, name := range names {
				found, err := s.scheduleQueue(ctx, string(queue), name)
				if err != nil {
					return err
				}
				if holder != "" && holder != found {
					return wrongUse("the schedules are in several queues, %s and %s; act on those of one", holder, found)
				}
				holder = found
			}
			return do(ctx, s, holder, names)
		}),
	}
	c.Flags().Var(&queue, "queue", "the queue of the schedule; by default the one that has it is looked for")
	return c
}

// scheduleQueue is the queue that has a schedule; of one that is not there the error says
// which may be meant.
func (s *session) scheduleQueue(ctx context.Context, queue, name string) (string, error) {
	var only []string
	if queue != "" {
		only = []string{queue}
	}
	queues, err := s.counts(ctx, only)
	if err != nil {
		return "", err
	}
	var holders []string
	for _, q := range queues {
		_, err := s.client.Schedule(ctx, q.Name, name)
		switch {
		case err == nil:
			holders = append(holders, q.Name)
		case !errors.Is(err, backend.ErrNotFound):
			return "", err
		}
	}
	switch len(holders) {
	case 1:
		return holders[0], nil
	case 0:
		others, _, err := s.schedules(ctx, only, 1000)
		if err != nil {
			return "", err
		}
		var names []string
		for _, other := range others {
			names = append(names, other.Name)
		}
		return "", fmt.Errorf("there is no schedule %q: %w; %s", name, backend.ErrNotFound, instead(name, names))
	}
	return "", wrongUse("there is a schedule %q in several queues, %s; say which by --queue", name, listed(holders))
}

func (t *tool) changeScheduleCommand(name, short string, change func(*jobs.Client, context.Context, string, string) (jobs.ScheduleInfo, error)) *cobra.Command {
	return t.onSchedules(name, short, func(ctx context.Context, s *session, queue string, names []string) error {
		var changed []jobs.ScheduleInfo
		for _, name := range names {
			info, err := change(s.client, ctx, queue, name)
			if err != nil && len(changed) > 0 {
				return errors.Join(t.printSchedules(changed), err)
			}
			if err != nil {
				return err
			}
			changed = append(changed, info)
		}
		return t.printSchedules(changed)
	})
}

func (t *tool) runScheduleCommand() *cobra.Command {
	return t.onSchedules("run", "Enqueue a job of schedules now; their next instant stays as it is",
		func(ctx context.Context, s *session, queue string, names []string) error {
			l := &listing{key: "receipts", columns: []string{"queue", "id", "state"}}
			for _, name := range names {
				receipt, err := s.client.RunSchedule(ctx, queue, name)
				if err != nil {
					return t.partly(l, err)
				}
				l.add(receipt, receipt.Queue, receipt.ID, string(receipt.State))
			}
			return t.print(l)
		})
}

func (t *tool) deleteScheduleCommand() *cobra.Command {
	return t.onSchedules("delete", "Remove schedules; one that a worker declares comes back when such a worker starts",
		func(ctx context.Context, s *session, queue string, names []string) error {
			l := &listing{key: "deleted", columns: []string{"queue", "schedule", "state"}}
			for _, name := range names {
				if err := s.client.DeleteSchedule(ctx, queue, name); err != nil {
					return t.partly(l, err)
				}
				l.add(map[string]string{"queue": queue, "name": name}, queue, name, "deleted")
			}
			return t.print(l)
		})
}
