package actors

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// news tells the world what happens in the worker: the log, of jobs that die or panic,
// and those who have asked, of every change of state and every settlement. They are
// called one after the other in a goroutine of their own, which no actor waits for.
type news struct {
	log     *slog.Logger
	worker  string
	outside *outside
	settled func(jobs.Settled)
	events  series

	// lines are those of the log, by what happened and to which kind of job; the
	// settler's.
	lines map[string]*rarely
	// missed counts the settlements that a hook that is too slow was not told of.
	missed atomic.Int64
	faults rarely
}

const (
	// newsTime is how long one call may take until it counts as stuck.
	newsTime = 10 * time.Second
	// newsLimit bounds the batches of settlements that wait to be told.
	newsLimit = 1000
	// newsText bounds an error in the log, in bytes.
	newsText = 500
)

func newNews(config *Config, worker string, o *outside, d *dispatcher) *news {
	return &news{
		log: config.Logger, worker: worker, outside: o, settled: config.OnSettled,
		events: series{dispatch: d}, lines: map[string]*rarely{},
	}
}

// tell calls f, which is code of others, some time.
func (n *news) tell(whose string, f func(), limit int) bool {
	return n.events.add(func() { n.call(whose, f) }, limit)
}

// call calls f, and logs its panic.
func (n *news) call(whose string, f func()) {
	fault := n.outside.run(whose, newsTime, f)
	if fault == nil {
		return
	}
	if missed, ok := n.faults.may(time.Now()); ok {
		n.log.Error(whose+" panicked", "panic", fault.Error(), "stack", string(fault.Stack), "missed", missed)
	}
}

// flush waits until all that was to be told has been, for limit at most.
func (n *news) flush(limit time.Duration) {
	told := make(chan struct{})
	n.events.add(func() { close(told) }, math.MaxInt)
	select {
	case <-told:
	case <-time.After(limit):
	}
}

// ended tells of runs that the store has answered for.
func (n *news) ended(runs []*run, results []backend.SettleResult) {
	var all []jobs.Settled
	for i, r := range runs {
		result := &results[i]
		switch {
		case result.Err != nil:
			n.write(slog.LevelError, "the job store rejects what became of a job", r, "error", result.Err)
			continue
		case result.Stale:
			continue
		case r.ending == endingAbandoned: // its handler may still run
		case r.result.Panic != nil:
			n.write(slog.LevelError, "a job panicked", r, "panic", bounded(r.result.Panic.Error()), "at", where(r.result.Panic.Stack))
		case r.settlement.Outcome == backend.OutcomeDead:
			n.write(slog.LevelWarn, "a job is dead", r, "error", bounded(r.reason()))
		}
		if n.settled != nil {
			all = append(all, r.asSettled(n.worker, result.State))
		}
	}
	if len(all) == 0 {
		return
	}
	left := all
	told := n.events.add(func() {
		for len(left) > 0 { // one that panics on a job is told of the others all the same
			n.call("the hook OnSettled", func() {
				for len(left) > 0 {
					next := left[0]
					left = left[1:]
					n.settled(next)
				}
			})
		}
	}, newsLimit)
	if !told {
		missed := n.missed.Add(int64(len(all)))
		n.write(slog.LevelWarn, "the hook OnSettled is too slow and is not told of everything", nil, "settlements", missed)
	}
}

// write writes a line about a run, not too often.
func (n *news) write(level slog.Level, text string, r *run, args ...any) {
	key := text
	if r != nil {
		key += " " + r.lease.Job.Kind
		info := r.info(n.worker)
		args = append([]any{"kind", info.Kind, "id", info.ID, "queue", info.Queue, "attempt", info.Attempt,
			"outcome", r.settlement.Outcome.String()}, args...)
	}
	line := n.lines[key]
	if line == nil {
		line = &rarely{}
		n.lines[key] = line
	}
	missed, ok := line.may(time.Now())
	if !ok {
		return
	}
	if missed > 0 {
		args = append(args, "missed", missed)
	}
	n.log.Log(context.Background(), level, text, args...)
}

// info describes the run's job, also if it was not begun.
func (r *run) info(worker string) jobs.Info {
	if work := r.work.Load(); work != nil {
		return *work.Info()
	}
	job := &r.lease.Job
	return jobs.Info{
		ID: job.ID, Kind: job.Kind, Queue: job.Queue, Priority: job.Priority,
		Attempt: r.lease.Attempt(), Crashes: r.lease.Crashes, Snoozes: r.lease.History.Snoozes,
		EnqueuedAt: job.EnqueuedAt, DueAt: job.DueAt, Deadline: job.Deadline,
		Tags: job.Tags, Headers: job.Headers, Failures: r.lease.History.Failures, Worker: worker,
	}
}

func (r *run) asSettled(worker string, state backend.State) jobs.Settled {
	s := jobs.Settled{Info: r.info(worker), Outcome: r.settlement.Outcome}
	if r.ending != endingAbandoned {
		s.Err, s.Took = r.result.Err, r.result.Took
	}
	if state == backend.StateCancelled {
		s.Outcome = backend.OutcomeCancelled
	}
	return s
}

// reason is the last failure in the history that the settlement has.
func (r *run) reason() string {
	if h := r.settlement.History; h != nil && len(h.Failures) > 0 {
		return h.Failures[len(h.Failures)-1].Error
	}
	return ""
}

func bounded(text string) string {
	if len(text) > newsText {
		return strings.ToValidUTF8(text[:newsText], "") + "…"
	}
	return text
}

// where is the innermost function of a stack that is not the runtime's, with its line.
func where(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	for i := 1; i+1 < len(lines); i += 2 {
		function, place := lines[i], strings.TrimSpace(lines[i+1])
		if strings.HasPrefix(function, "runtime.") || strings.HasPrefix(function, "panic(") {
			continue
		}
		if cut := strings.LastIndexByte(function, '('); cut > 0 {
			function = function[:cut]
		}
		place, _, _ = strings.Cut(place, " ")
		return fmt.Sprintf("%s (%s)", path.Base(function), path.Base(place))
	}
	return ""
}
