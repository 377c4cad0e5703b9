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
	"github.com/caddis-go/caddis/operate"
)

// statePaused is what the state of a queue or a schedule says that is paused.
const statePaused = "paused"

func (t *tool) queuesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "queues",
		Short: "List the queues with how many jobs of each state they hold",
		Args:  noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			queues, err := s.client.Queues(ctx)
			if err != nil {
				return err
			}
			return t.printQueues(queues)
		}),
	}
}

func (t *tool) printQueues(queues []backend.QueueInfo) error {
	l := &listing{key: "queues", columns: []string{"queue", "state"}}
	for _, s := range backend.States {
		l.columns = append(l.columns, "#"+string(s))
	}
	l.columns = append(l.columns, "oldest waiting")
	now := time.Now()
	for _, q := range queues {
		cells := []string{q.Name, queueState(q, now)}
		for _, s := range backend.States {
			cells = append(cells, strconv.FormatInt(q.Counts[s], 10))
		}
		l.add(q, append(cells, ago(q.OldestWaiting, now))...)
	}
	return t.print(l)
}

func queueState(q backend.QueueInfo, now time.Time) string {
	switch {
	case !q.Paused:
		return "open"
	case q.PausedUntil.IsZero():
		return statePaused
	}
	return fmt.Sprintf("%s (%s left)", statePaused, operate.Span(max(0, q.PausedUntil.Sub(now))))
}

func (t *tool) queueCommand() *cobra.Command {
	queue := &cobra.Command{Use: "queue", Short: "Show, pause and resume queues, and show their lanes"}
	group(queue)
	queue.AddCommand(t.queueShowCommand(), t.queuePauseCommand(), t.queueResumeCommand(), t.queueLanesCommand())
	return queue
}

func (t *tool) queueShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show QUEUE…",
		Short: "Show queues and what ever happened in them",
		Args:  names("name of a queue"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			for _, name := range args {
				q, err := s.queue(ctx, name)
				if err == nil {
					err = t.printFields(queueFields(q, time.Now()), q)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func (t *tool) queueLanesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lanes QUEUE",
		Short: "Show in which lanes of a queue jobs wait, the longest first",
		Long: fmt.Sprintf(`Show in which lanes of a queue jobs wait, the longest first. There are lanes where kinds say
FairBy. %d are told at most.`, backend.MaxLanes),
		Args: between(1, 1, "the name of a queue"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			if _, err := s.queue(ctx, args[0]); err != nil {
				return err
			}
			lanes, err := s.client.Lanes(ctx, args[0])
			if err != nil {
				return err
			}
			l := &listing{key: "lanes", columns: []string{"lane", "#waiting"}}
			for _, lane := range lanes.Lanes {
				l.add(lane, lane.Key, strconv.Itoa(lane.Waiting))
			}
			if lanes.More {
				t.say("there are more lanes")
			}
			return t.print(l)
		}),
	}
}

func queueFields(q backend.QueueInfo, now time.Time) []field {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	fields := []field{{"queue", q.Name}, {"state", queueState(q, now)}, {"paused until", instant(q.PausedUntil, now)}, {"shards", strconv.Itoa(q.Shards)}}
	for _, s := range backend.States {
		fields = append(fields, field{string(s), number(q.Counts[s])})
	}
	return append(fields,
		field{"oldest waiting", instant(q.OldestWaiting, now)},
		field{"ever completed", number(q.Completed)},
		field{"ever failed", number(q.Failed)},
		field{"ever cancelled", number(q.Cancelled)},
		field{"ever dead", number(q.Dead)},
		field{"ever crashed", number(q.Crashed)},
		field{"trimmed", number(q.Trimmed)},
	)
}

func (t *tool) queuePauseCommand() *cobra.Command {
	var fresh bool
	var limit time.Duration
	var pause *cobra.Command
	pause = &cobra.Command{
		Use:   "pause QUEUE…",
		Short: "Stop the hand-out of queues' jobs in the whole fleet; those that run go on",
		Args:  names("name of a queue"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			var options []jobs.PauseOption
			if pause.Flags().Changed("for") {
				var wanted time.Duration
				if err := jobs.For(limit)(&wanted); err != nil {
					return asUsage(err)
				}
				options = append(options, jobs.For(wanted))
			}
			return t.setPaused(ctx, s, args, fresh, func(ctx context.Context, name string) error {
				return s.client.PauseQueue(ctx, name, options...)
			})
		}),
	}
	pause.Flags().DurationVar(&limit, "for", 0, "resume them by themselves after this time, such as 10m")
	pause.Flags().BoolVar(&fresh, "new", false, "also queues that have held no job yet")
	return pause
}

func (t *tool) queueResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume QUEUE…",
		Short: "Hand out the jobs of paused queues again",
		Args:  names("name of a queue"),
		RunE: t.with(func(ctx context.Context, s *session, args []string) error {
			return t.setPaused(ctx, s, args, false, s.client.ResumeQueue)
		}),
	}
}

// setPaused pauses or resumes queues, none if one of them is not there, unless they may
// be new.
func (t *tool) setPaused(ctx context.Context, s *session, names []string, fresh bool, set func(context.Context, string) error) error {
	for _, name := range names {
		_, err := s.queue(ctx, name)
		if err != nil && !(fresh && errors.Is(err, backend.ErrNotFound)) {
			return err
		}
	}
	var queues []backend.QueueInfo
	for _, name := range names {
		if err := set(ctx, name); err != nil {
			return err
		}
		q, err := s.queue(ctx, name)
		if err != nil {
			return err
		}
		queues = append(queues, q)
	}
	return t.printQueues(queues)
}

// queue reads a queue; of one that is not there the error says which may be meant.
func (s *session) queue(ctx context.Context, name string) (backend.QueueInfo, error) {
	if err := backend.CheckQueue(name); err != nil {
		return backend.QueueInfo{}, &usageError{err}
	}
	q, err := s.client.Queue(ctx, name)
	if errors.Is(err, backend.ErrNotFound) {
		queues, other := s.client.Queues(ctx)
		if other != nil {
			return q, err
		}
		var names []string
		for _, q := range queues {
			names = append(names, q.Name)
		}
		err = fmt.Errorf("there is no queue %q: %w; %s", name, backend.ErrNotFound, instead(name, names))
	}
	return q, err
}
