package actors

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/jobs"
)

// showing is what the worker tells of its tree by way of the store: while somebody looks,
// while it stops, and at last its report. A worker that nobody looks at tells nothing. It
// outlives the keeper.
type showing struct {
	// until is until when somebody looks.
	until time.Time
	// due is set if the tree is to be told if it has changed, ticking while a showDue is
	// under way.
	due, ticking bool
	// last is what was told last, told when.
	last []byte
	told time.Time
}

type (
	// stateChanged comes from the life of the worker.
	stateChanged struct{}
	showDue      struct{}
	shown        struct {
		by  *keeper
		err error
	}
)

func (*stateChanged) IgnoreDeadLetterLogging() {}
func (*showDue) IgnoreDeadLetterLogging()      {}
func (*shown) IgnoreDeadLetterLogging()        {}

const (
	// telling is a call that must not land after the farewell either.
	telling = "tell the tree"
	// showEvery is how often the tree is looked at, showAnew when it is told although it
	// has not changed, showRest how long nothing is told after a failure.
	showEvery = 200 * time.Millisecond
	showAnew  = 10 * time.Second
	showRest  = 2 * time.Second
)

// watch is for somebody who looks: he is told how it is, also if that is as it was.
func (s *showing) watch() {
	s.until, s.due, s.last = time.Now().Add(jobs.WatchTime), true, nil
}

// show tells the tree if somebody is to see it and it has changed. It reports whether that
// takes a call.
func (k *keeper) show(c actor.Context) bool {
	s := k.showing
	s.due = false
	tree := k.look()
	if !State(tree.State).Stopping() && time.Now().After(s.until) {
		return false
	}
	text, err := json.Marshal(tree)
	if err != nil || bytes.Equal(text, s.last) && time.Since(s.told) < showAnew {
		k.showIn(c, showEvery)
		return false
	}
	s.last, s.told = text, time.Now()
	tree.At = k.clock.now()
	self, answer := c.Self(), &shown{by: k}
	k.calling = telling
	k.abort = k.line.call(k.line.dispatch.Schedule, k.calling, min(callTimeout, k.config.Lease/6), func(ctx context.Context) error {
		return jobs.TellTree(ctx, k.line.store, tree)
	}, func(err error) {
		answer.err = err
		k.post.send(self, answer)
	})
	return true
}

func (k *keeper) shown(c actor.Context, m *shown) {
	if m.err == nil {
		k.showIn(c, showEvery)
		return
	}
	k.showing.last = nil
	k.showIn(c, showRest)
}

// showIn has the tree looked at again.
func (k *keeper) showIn(c actor.Context, pause time.Duration) {
	if !k.showing.ticking && !k.draining {
		k.showing.ticking = true
		k.post.after(pause, c.Self(), &showDue{})
	}
}

// lastWord tells the report.
func (k *keeper) lastWord(ctx context.Context) {
	if err := jobs.TellTree(ctx, k.line.store, k.farewell()); err != nil {
		k.config.Logger.Debug("the report is told by the log only", "error", err)
	}
}

// parts are the actors below the supervisor, for those who look.
type parts struct {
	mu   sync.Mutex
	list []jobs.WorkerPart
}

func (p *parts) change(name string, f func(*jobs.WorkerPart)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.list, func(part jobs.WorkerPart) bool { return part.Name == name })
	if i < 0 {
		i = len(p.list)
		p.list = append(p.list, jobs.WorkerPart{Name: name})
	}
	f(&p.list[i])
}

func (p *parts) began(name string)  { p.change(name, func(*jobs.WorkerPart) {}) }
func (p *parts) ended(name string)  { p.change(name, func(part *jobs.WorkerPart) { part.Ended = true }) }
func (p *parts) failed(name string) { p.change(name, func(part *jobs.WorkerPart) { part.Failures++ }) }

func (p *parts) all() []jobs.WorkerPart {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list)
}

// look is the tree as it is, for those who look. It has no At yet, so that two looks are
// the same if nothing has happened.
func (t *tree) look() jobs.WorkerTree {
	s := t.status()
	w := jobs.WorkerTree{
		Worker: t.worker, State: string(s.State), Since: t.shownAt(s.Since), Concurrency: s.Concurrency, Running: s.Running,
		Unconfirmed: s.Unconfirmed, StoreError: bounded(s.BackendError), Parts: t.parts.all(),
	}
	if p := t.life.plan.Load(); p != nil {
		w.Stop = &jobs.WorkerStop{
			Began: t.shownAt(time.Unix(0, t.life.stopBegan.Load())), CancelAt: t.shownAt(p.cancelAt), HandBackAt: t.shownAt(p.handBackAt), EndAt: t.shownAt(p.end),
		}
	}
	w.Executors = t.executors()
	w.Omitted = max(0, len(w.Executors)-jobs.MaxTreeExecutors)
	w.Executors = w.Executors[:len(w.Executors)-w.Omitted]
	for i := range w.Parts {
		if p := &w.Parts[i]; !p.Ended {
			p.Does = t.does(p.Name, &s)
		}
	}
	return w
}

// shownAt is an instant of this machine by the store's clock, to the tenth of a second: what
// is known of that clock moves a little with each answer, and nothing has changed by that.
func (t *tree) shownAt(local time.Time) time.Time {
	return t.clock.at(local).Round(100 * time.Millisecond)
}

// does says what a part has in hand.
func (t *tree) does(name string, s *Status) string {
	switch name {
	case executorName(t.fetcher):
		if s.State != StateRunning {
			return "takes no jobs"
		}
		text := fmt.Sprintf("takes from %d of %d queues", len(t.queues.open()), len(t.queues.all()))
		if s.BackendError != "" {
			text += ", and the store does not answer"
		}
		return text
	case executorName(t.pool):
		text := fmt.Sprintf("%d of %d executors have a job", s.Running, s.Concurrency)
		if more := len(t.roster.all()) - s.Concurrency; more > 0 {
			text += fmt.Sprintf(", and %d end after theirs", more)
		}
		return text
	case executorName(t.settler):
		if s.Unconfirmed > 0 {
			return "waits for the store to confirm what became of " + jobsIn(s.Unconfirmed)
		}
		return "the store has confirmed everything"
	case executorName(t.recorder):
		return "brings figures and events to the store"
	case executorName(t.ticker):
		if s.State != StateRunning {
			return "enqueues nothing"
		}
		return "enqueues the jobs of schedules that are due"
	case executorName(t.keeper):
		return "keeps the leases of " + jobsIn(s.Running+s.Unconfirmed)
	}
	return ""
}

func jobsIn(n int) string {
	if n == 1 {
		return "1 job"
	}
	return fmt.Sprintf("%d jobs", n)
}

// executors are those that have a job, the one that has run longest first.
func (t *tree) executors() (all []jobs.WorkerExecutor) {
	for _, slot := range t.roster.all() {
		stage, r := slot.present()
		if r == nil {
			continue
		}
		e := executorOf(r.ref())
		e.Name = slot.name()
		e.Returned = stage == stageReturned
		e.Left = stage == stageRunning && (r.settled.Load() || r.lost.Load())
		if r.started.Load() {
			e.Began = r.began.Round(time.Millisecond)
		}
		if at := r.cancelledAt.Load(); at != 0 {
			e.CancelledAt = t.shownAt(time.Unix(0, at))
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b jobs.WorkerExecutor) int {
		if a.Began.IsZero() != b.Began.IsZero() {
			return cmp.Compare(b.Began.Unix(), a.Began.Unix()) // what has not begun comes last
		}
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.Name, b.Name))
	})
	return all
}

func executorOf(r Ref) jobs.WorkerExecutor {
	return jobs.WorkerExecutor{Queue: r.Queue, ID: r.ID, Kind: r.Kind}
}

// shownRefs is how many jobs of a sort a report tells of.
const shownRefs = 20

// farewell is the last that the worker tells, when it has signed off.
func (t *tree) farewell() jobs.WorkerTree {
	w := t.look()
	var report Report
	t.ledger.sum(&report)
	now, began := time.Now(), time.Unix(0, t.life.stopBegan.Load())
	w.At, w.State = t.clock.now(), string(StateStopped)
	if t.life.crashed.Load() {
		w.State = string(StateCrashed)
	}
	w.Since = t.shownAt(now)
	w.Report = &jobs.WorkerReport{StartedAt: t.clock.at(t.started), StoppedAt: t.clock.at(now), Took: now.Sub(began), Leased: report.Leased}
	if reason := t.life.reason.Load(); reason != nil {
		w.Report.Reason = bounded(*reason)
	}
	for _, p := range report.parts() {
		if p.n > 0 {
			w.Report.Became = append(w.Report.Became, jobs.Became{How: p.name, Jobs: p.n})
		}
	}
	for _, r := range report.AbandonedJobs[:min(shownRefs, len(report.AbandonedJobs))] {
		w.Report.Abandoned = append(w.Report.Abandoned, executorOf(r))
	}
	for _, r := range report.UnconfirmedJobs[:min(shownRefs, len(report.UnconfirmedJobs))] {
		w.Report.Unconfirmed = append(w.Report.Unconfirmed, executorOf(r))
	}
	return w
}
