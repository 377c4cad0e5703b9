package actors

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// news tells the world what happens in the worker: the log, of jobs that die or panic,
// and those who have asked, of every change of state, and of every event. They are
// called one after the other in goroutines of their own, which no actor waits for.
type news struct {
	log     *slog.Logger
	worker  string
	outside *outside
	clock   *storeClock
	events  *jobs.Events
	records *records // nil if nothing is recorded
	states  series

	// lines are those of the log, by what happened and to which kind of job; the
	// settler's.
	lines         map[string]*rarely
	faults, drops rarely
}

const (
	// newsTime is how long one call may take until it counts as stuck.
	newsTime = 10 * time.Second
	// newsText bounds an error in the log, in bytes.
	newsText = 500
)

func newNews(config *Config, worker string, o *outside, d *dispatcher, clock *storeClock, r *records) *news {
	n := &news{
		log: config.Logger, worker: worker, outside: o, clock: clock, events: config.events, records: r,
		states: series{dispatch: d}, lines: map[string]*rarely{},
	}
	n.events.Around(func(call func()) { n.visit("the hook OnEvent", call) })
	return n
}

// visit calls f, which is code of others.
func (n *news) visit(whose string, f func()) {
	fault := n.outside.run(whose, newsTime, f)
	if fault == nil {
		return
	}
	if missed, ok := n.faults.may(time.Now()); ok {
		n.log.Error(whose+" panicked", "panic", fault.Error(), "stack", string(fault.Stack), "left_out", missed)
	}
}

// tell tells the hook of events of this worker.
func (n *news) tell(events ...jobs.Event) {
	if !n.events.Hooked() || len(events) == 0 {
		return
	}
	now := n.clock.now()
	for i := range events {
		events[i].At, events[i].Worker = now, n.worker
	}
	if n.events.Tell(events...) == 0 {
		return
	}
	if _, ok := n.drops.may(time.Now()); ok {
		n.log.Warn("the hook OnEvent is too slow and is not told of everything", "dropped", n.events.Dropped())
	}
}

// changed tells of a change of state.
func (n *news) changed(from, to State, f func()) {
	n.states.add(func() { n.visit("a subscriber to the worker's state", f) }, math.MaxInt)
	switch {
	case to == StateRunning && from == StateQuiet:
		n.worked(jobs.EventWorkerResumed, 0)
	case to == StateRunning:
		n.worked(jobs.EventWorkerStarted, 0)
	case to == StateQuiet:
		n.worked(jobs.EventWorkerQuiet, 0)
	}
}

// worked tells what the worker did.
func (n *news) worked(what jobs.EventType, count int) {
	n.tell(jobs.Event{Type: what, Jobs: count})
	n.records.tell(what, count, nil)
}

// recovered tells of jobs of workers that vanished.
func (n *news) recovered(count int) { n.worked(jobs.EventRecovered, count) }

// enqueued tells of a job that the worker has stored.
func (n *news) enqueued(job *backend.Job, state backend.State) {
	n.tell(jobs.Enqueued(job, state, n.clock.now()))
	n.records.enqueued(job, state)
}

// started tells that the handler of a run is about to be called.
func (n *news) started(r *run) {
	if n.events.Hooked() {
		info := r.info(n.worker)
		n.tell(jobs.Event{Type: jobs.EventStarted, Job: &info, Jobs: 1})
	}
}

// flush waits until all that was to be told has been, for limit at most.
func (n *news) flush(limit time.Duration) {
	deadline := time.Now().Add(limit)
	told := make(chan struct{})
	n.states.add(func() { close(told) }, math.MaxInt)
	select {
	case <-told:
	case <-time.After(limit):
	}
	n.events.Flush(time.Until(deadline))
}

// ended tells of runs that the store has answered for.
func (n *news) ended(runs []*run, results []backend.SettleResult) {
	n.records.ended(runs, results)
	var all []jobs.Event
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
		if n.events.Hooked() {
			all = append(all, r.event(n.worker, result.State))
		}
	}
	n.tell(all...)
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
		args = append(args, "left_out", missed)
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
		MaxAttempts: job.MaxAttempts, Tags: job.Tags, Headers: job.Headers, Failures: r.lease.History.Failures, Worker: worker,
	}
}

// event is what became of the run, as the store has confirmed it.
func (r *run) event(worker string, state backend.State) jobs.Event {
	info := r.info(worker)
	e := jobs.Event{Type: r.became(state), Job: &info, Jobs: 1}
	if r.ending != endingAbandoned {
		e.Err, e.Took = r.result.Err, r.result.Took
	}
	return e
}

// became is what became of the run, in one word.
func (r *run) became(state backend.State) jobs.EventType {
	if state == backend.StateCancelled {
		return jobs.EventCancelled
	}
	return jobs.EventOf(r.settlement.Outcome)
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
