package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// eventTypes are the events that a journal can have.
var eventTypes = []string{
	string(jobs.EventEnqueued), string(jobs.EventScheduled), string(jobs.EventStarted), string(jobs.EventCompleted),
	string(jobs.EventRetried), string(jobs.EventSnoozed), string(jobs.EventCancelled), string(jobs.EventDied),
	string(jobs.EventHandedBack), string(jobs.EventParked), string(jobs.EventRecovered),
	string(jobs.EventWorkerStarted), string(jobs.EventWorkerQuiet), string(jobs.EventWorkerResumed), string(jobs.EventWorkerStopped),
	string(jobs.EventLeftOut),
}

// typeList is a flag that names types of events.
type typeList []string

func (l *typeList) Type() string   { return "event" }
func (l *typeList) String() string { return strings.Join(*l, ",") }

func (l *typeList) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(eventTypes, name) {
			return fmt.Errorf("there is no event %q; %s", name, instead(name, eventTypes))
		}
		*l = append(*l, name)
	}
	return nil
}

// watch is what the command events is asked for.
type watch struct {
	queues queueList
	kind   string
	types  typeList
	limit  int
	follow bool
}

func (t *tool) eventsCommand() *cobra.Command {
	var w watch
	c := &cobra.Command{
		Use:   "events",
		Short: "List what happened last, and follow what happens",
		Long: `List what happened last: jobs that were started, completed, retried, and so on, and
workers that came and went. With --follow, go on with what happens, until interrupted.

Workers write it into the store some seconds later, of each queue into a journal that
keeps the last 2,000 events. Under load they have no room for all: a line "left-out"
tells how many are missing. Without --queue the journal of the workers is listed too.`,
		Example: fmt.Sprintf(`  %[1]s events --follow --event died,retried
  %[1]s events --queue mail -o jsonl --follow | jq -r .id`, t.name),
		Args: noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error { return t.events(ctx, s, w) }),
	}
	c.Flags().Var(&w.queues, "queue", "only of this queue; several: of each; by default of all")
	c.Flags().StringVar(&w.kind, "kind", "", "only of jobs of this `kind`")
	c.Flags().Var(&w.types, "event", "only this event; several: of each; by default all")
	complete(c, "event", eventTypes...)
	c.Flags().IntVar(&w.limit, "limit", backend.DefaultPage, fmt.Sprintf("how many events are listed, 1 to %d", backend.MaxEvents))
	c.Flags().BoolVarP(&w.follow, "follow", "f", false, "go on with what happens")
	return c
}

// followPause is how often the journals are asked for what came.
const followPause = time.Second

// events prints the last events, and what comes if that is asked for.
func (t *tool) events(ctx context.Context, s *session, w watch) error {
	switch {
	case w.limit < 1 || w.limit > backend.MaxEvents:
		return wrongUse("--limit=%d: give a number from 1 to %d", w.limit, backend.MaxEvents)
	case w.follow && t.output == asJSON:
		return wrongUse("--follow has no end, and -o json prints one value: use -o jsonl")
	}
	if w.kind != "" {
		if err := asUsage(backend.CheckKind(w.kind)); err != nil {
			return err
		}
	}
	if len(w.queues) > 0 { // those that are not there are told
		if _, err := s.counts(ctx, w.queues); err != nil {
			return err
		}
	}
	positions := map[string]string{}
	found, err := w.read(ctx, s, positions)
	if err != nil {
		return err
	}
	if found = w.chosen(found); len(found) > w.limit {
		found = found[len(found)-w.limit:]
	}
	if !w.follow {
		return t.print(listingOf(found))
	}
	for away := false; ; {
		if err := t.printEvents(found); err != nil {
			return err
		}
		select {
		case <-time.After(followPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		found, err = w.read(ctx, s, positions)
		found = w.chosen(found)
		switch {
		case errors.Is(err, backend.ErrUnavailable):
			if !away && ctx.Err() == nil {
				t.say("the store does not answer; it is asked again: %s", plainText(err))
			}
			away = true
		case err != nil:
			return err
		default:
			away = false
		}
	}
}

// read reads what came since the positions, and moves them on: at first the last events.
func (w *watch) read(ctx context.Context, s *session, positions map[string]string) (found []backend.Event, err error) {
	names := []string(w.queues)
	if len(names) == 0 {
		if names, err = s.store.QueueNames(ctx); err != nil {
			return nil, err
		}
		names = append(names, "")
	}
	for _, name := range names {
		query := backend.EventsQuery{Queue: name, After: positions[name], Last: backend.MaxEvents, Limit: backend.MaxEvents}
		for {
			page, err := s.client.Events(ctx, query)
			if err != nil {
				return found, err
			}
			if page.Overtaken {
				found = append(found, backend.Event{Type: jobs.EventLeftOut, Queue: name, At: page.Events[0].At})
			}
			found = append(found, page.Events...)
			positions[name], query.After = page.Next, page.Next
			if len(page.Events) < query.Limit {
				break
			}
		}
	}
	slices.SortStableFunc(found, func(a, b backend.Event) int { return a.At.Compare(b.At) })
	return found, nil
}

// chosen leaves those that are asked for.
func (w *watch) chosen(found []backend.Event) []backend.Event {
	return slices.DeleteFunc(found, func(e backend.Event) bool {
		return w.kind != "" && e.Kind != w.kind || len(w.types) > 0 && !slices.Contains(w.types, string(e.Type))
	})
}

func listingOf(found []backend.Event) *listing {
	l := &listing{key: "events", columns: []string{"time", "event", "queue", "kind", "id", "#attempt", "took", "about"}}
	for i := range found {
		l.add(found[i], cellsOf(&found[i])...)
	}
	return l
}

func cellsOf(e *backend.Event) []string {
	attempt := ""
	if e.Attempt > 0 {
		attempt = fmt.Sprint(e.Attempt)
	}
	about := shorten(e.Error, 80)
	switch {
	case about != "":
	case e.Type == jobs.EventLeftOut && e.Jobs == 0:
		about = "events that were forgotten before they were read"
	case e.Type == jobs.EventLeftOut:
		about = numbered(e.Jobs, "event", "events")
	case e.Jobs > 0:
		about = numbered(e.Jobs, "job, by ", "jobs, by ") + e.Worker
	case e.ID == "":
		about = e.Worker
	}
	return []string{e.At.UTC().Format("2006-01-02T15:04:05.000Z"), string(e.Type), e.Queue, e.Kind, e.ID, attempt, duration(e.Took.Round(time.Microsecond)), about}
}

// printEvents writes events as they come: a line of each, which has no columns that
// would have to be known before.
func (t *tool) printEvents(found []backend.Event) error {
	l := listingOf(found)
	if t.output == asLines {
		return t.printLines(l.values)
	}
	paint := t.paint()
	for _, cells := range l.rows {
		cells = slices.DeleteFunc(cells, func(cell string) bool { return cell == "" })
		for i := range cells {
			cells[i] = clean(cells[i])
		}
		cells[1] = paint.state(fmt.Sprintf("%-14s", cells[1]))
		if _, err := fmt.Fprintln(t.stdout, strings.Join(cells, "  ")); err != nil {
			return err
		}
	}
	return nil
}
