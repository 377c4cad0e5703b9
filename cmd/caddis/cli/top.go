package cli

import (
	"context"
	"errors"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// shortestEvery bounds how often the live view reads the store.
const shortestEvery = 200 * time.Millisecond

func (t *tool) topCommand() *cobra.Command {
	var every time.Duration
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch queues, workers and running jobs live, and act on them",
		Long: `Watch queues, workers and running jobs live, and act on them.

Tab or 1, 2, 3 change the page, the arrows choose a line, enter shows the running jobs of a
queue. p pauses a queue or resumes it, c cancels a job; both ask first. q ends.`,
		Args: noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			if every < shortestEvery {
				return wrongUse("--every: %v is too often, give %v or more", every, shortestEvery)
			}
			in, out, ok := t.terminal()
			if !ok {
				return wrongUse("top needs a terminal; scripts take %s queues -o jsonl", t.name)
			}
			view := newTop(ctx, s, every)
			view.paint = t.paint()
			_, err := tea.NewProgram(view, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler()).Run()
			if errors.Is(err, tea.ErrInterrupted) {
				return nil
			}
			return err
		}),
	}
	c.Flags().DurationVar(&every, "every", time.Second, "how often the store is read")
	return c
}

// terminal is what the live view reads keys from and draws on.
func (t *tool) terminal() (in, out *os.File, ok bool) {
	in, reads := t.stdin.(*os.File)
	out, writes := t.stdout.(*os.File)
	return in, out, reads && writes && isatty.IsTerminal(in.Fd()) && isatty.IsTerminal(out.Fd())
}

// reading is what the store said at one instant.
type reading struct {
	at      time.Time
	queues  []backend.QueueInfo
	workers []backend.WorkerInfo
	// running are the first running jobs of a queue.
	of      string
	running []jobs.JobInfo
	err     error
}

// The messages of the live view.
type (
	// acted says what came of an act.
	acted struct {
		text string
		err  error
	}
	// again is the time to read.
	again struct{}
)

const (
	// readTime bounds one reading, and actTime one act.
	readTime = 5 * time.Second
	actTime  = 10 * time.Second
	// mostRunning is how many running jobs are shown.
	mostRunning = 200
)

// read reads all that is shown; of is the queue whose running jobs are wanted.
func (v top) read(of string) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(v.ctx, readTime)
		defer cancel()
		r := reading{of: of}
		if r.queues, r.err = v.client.Queues(ctx); r.err == nil {
			r.workers, r.err = v.client.Workers(ctx)
		}
		if r.err == nil && of != "" {
			var page jobs.JobsPage
			page, r.err = v.client.Jobs(ctx, backend.JobsQuery{Queue: of, State: backend.StateRunning, Limit: mostRunning})
			r.running = page.Jobs
			if errors.Is(r.err, backend.ErrNotFound) { // the queue has vanished
				r.err = nil
			}
		}
		r.at = time.Now()
		return r
	}
}

// act does something that was asked for.
func (v top) act(do func(context.Context) (string, error)) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(v.ctx, actTime)
		defer cancel()
		text, err := do(ctx)
		if failed := noteAct(ctx, v.client, "top", text, outcome(err, "")); failed != nil && err == nil {
			text += "; it could not be noted in the audit log: " + failed.Error()
		}
		return acted{text, err}
	}
}
