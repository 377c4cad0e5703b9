package jobs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// explainer finds the reasons why a job does not run, from what was read of it: a
// function of plain data.
type explainer struct {
	job     JobInfo
	queue   backend.QueueInfo
	workers []backend.WorkerInfo
	now     time.Time
	// ahead is how many jobs wait before it, at least; exactly that where exact is set.
	ahead int64
	exact bool
	// lanes are those of the queue, with the place of the job in its own.
	lanes LanesInfo
	// limit is the one at which the job is parked, or nil.
	limit *LimitInfo
}

func (e *explainer) reasons() (reasons []Reason) {
	add := func(more ...Reason) { reasons = append(reasons, more...) }
	switch e.job.State {
	case backend.StateRunning:
		return []Reason{e.running()}
	case backend.StateScheduled:
		add(e.delayed())
	case backend.StateBlocked:
		add(e.parked())
	case backend.StateWaiting:
	default:
		return []Reason{e.finished()}
	}
	if e.queue.Paused {
		add(e.paused())
	}
	if reason, ok := e.hands(); ok {
		add(reason)
	}
	if e.job.State == backend.StateWaiting && (e.ahead > 0 || !e.exact) {
		add(e.behind())
	}
	if len(reasons) == 0 {
		add(Reason{Cause: CauseSoon, Text: "nothing keeps it from being started: a worker is about to take it"})
	}
	// What is over at a known instant comes before what may be over at any moment, and
	// what nobody knows an end of before both.
	slices.SortStableFunc(reasons, func(a, b Reason) int { return cmp.Compare(weight(b), weight(a)) })
	return reasons
}

// weight orders reasons: those that last until somebody acts, then those that end by
// themselves, then those that end as the work goes on.
func weight(r Reason) int {
	switch r.Cause {
	case CausePaused:
		if !r.Until.IsZero() {
			return 1
		}
		return 2
	case CauseUnknownKind:
		if len(r.Workers) > 0 {
			return 0
		}
		return 2
	case CauseNoWorker, CauseNoHandler, CauseQuiet, CauseGate:
		return 2
	case CauseDelayed:
		return 1
	}
	return 0
}

func (e *explainer) running() Reason {
	r := Reason{Cause: CauseRunning, Until: e.job.LeaseExpiresAt, Workers: []string{e.job.LeasedBy}}
	if !e.now.Before(e.job.LeaseExpiresAt) {
		r.Cause = CauseExpired
		r.Text = fmt.Sprintf("its lease by worker %s expired %v ago and was not taken back yet; the next worker that leases from the queue does that",
			e.job.LeasedBy, e.since(e.job.LeaseExpiresAt))
		return r
	}
	r.Text = fmt.Sprintf("it runs on worker %s, which holds it for another %v unless it renews that", e.job.LeasedBy, e.until(e.job.LeaseExpiresAt))
	known := slices.ContainsFunc(e.workers, func(w backend.WorkerInfo) bool { return w.ID == e.job.LeasedBy })
	switch {
	case !known:
		r.Text += "; that worker is not listed any more, so it has probably vanished, and the job is run again when the lease has expired"
	case e.job.CancelRequested:
		r.Text += "; it is to be cancelled"
	}
	return r
}

func (e *explainer) delayed() Reason {
	r := Reason{Cause: CauseDelayed, Until: e.job.ScheduledFor}
	r.Text = fmt.Sprintf("it is due in %v", e.until(r.Until))
	if n := len(e.job.Failures); n > 0 && e.job.Attempts > 0 {
		r.Text += fmt.Sprintf(", for attempt %d; the last one failed with: %s", e.job.Attempts+1, short(e.job.Failures[n-1].Error))
	}
	return r
}

func (e *explainer) paused() Reason {
	r := Reason{Cause: CausePaused, Until: e.queue.PausedUntil}
	r.Text = fmt.Sprintf("the queue %s is paused", e.job.Queue)
	if r.Until.IsZero() {
		r.Text += " until somebody resumes it"
	} else {
		r.Text += fmt.Sprintf(" for another %v", e.until(r.Until))
	}
	return r
}

// atLimit says what a job waits for that is parked at a limit.
func (e *explainer) atLimit() Reason {
	l := e.limit
	r := Reason{Cause: CauseParked, Key: e.job.BlockedOn, Limit: l, Text: fmt.Sprintf("it is parked at the limit %q", l.Class)}
	if l.Key != "" {
		r.Text += fmt.Sprintf(" for %q", l.Key)
	}
	if l.Place > 0 {
		r.Text += fmt.Sprintf(", number %d of %d", l.Place, l.Parked)
	}
	switch {
	case l.Rule.Slots > 0 && l.Held >= l.Rule.Slots:
		r.Text += fmt.Sprintf("; %d of %s taken by %s", l.Held, count(l.Rule.Slots, "slot is", "slots are"), few(l.Holders))
	case !l.NextToken.IsZero():
		r.Until = l.NextToken
		r.Text += fmt.Sprintf("; of %d per %v the next one may start in %v", l.Rule.Rate, l.Rule.Per, e.until(r.Until))
	default:
		r.Text += "; there is room, and the next lease looks at it"
	}
	return r
}

// few names some of many ids.
func few(ids []string) string {
	more := ""
	if len(ids) > MaxExplained {
		ids, more = ids[:MaxExplained], ", …"
	}
	return strings.Join(ids, ", ") + more
}

func (e *explainer) parked() Reason {
	if e.limit != nil {
		return e.atLimit()
	}
	kind, ofKind := KindOfBlockKey(e.job.BlockedOn)
	if !ofKind {
		return Reason{Cause: CauseParked, Key: e.job.BlockedOn, Text: fmt.Sprintf("it is parked until there is room for %q", e.job.BlockedOn)}
	}
	r := Reason{Cause: CauseUnknownKind}
	able := e.pick(func(w *backend.WorkerInfo) bool { return e.takes(w) && e.knows(w) })
	if len(able) == 0 {
		r.Text = fmt.Sprintf("it waits for a worker of its queue that knows the kind %q, and there is none; deploy one, or cancel the job", kind)
		return r
	}
	r.Workers = names(able)
	r.Text = fmt.Sprintf("it was set aside as a worker did not know the kind %q; %s, and will ask for it", kind, count(len(able), "worker knows it", "workers know it"))
	return r
}

// hands says why no worker could begin the job at once.
func (e *explainer) hands() (r Reason, ok bool) {
	of := e.pick(e.takes)
	if len(of) == 0 {
		return Reason{Cause: CauseNoWorker, Text: fmt.Sprintf("no worker takes from the queue %s; %s", e.job.Queue, e.elsewhere())}, true
	}
	if e.job.State == backend.StateBlocked {
		return r, false // of what it waits for parked says all
	}
	able := filter(of, e.knows)
	if len(able) == 0 {
		return Reason{Cause: CauseNoHandler, Workers: names(of), Text: fmt.Sprintf(
			"%s from the queue %s, and none knows the kind %q", count(len(of), "worker takes", "workers take"), e.job.Queue, e.job.Kind)}, true
	}
	awake := filter(able, func(w *backend.WorkerInfo) bool { return w.State == "running" || w.State == "starting" })
	if len(awake) == 0 {
		return Reason{Cause: CauseQuiet, Workers: names(able), Text: fmt.Sprintf(
			"%s run it, and none takes jobs now: they are %s", count(len(able), "worker could", "workers could"), states(able))}, true
	}
	open := filter(awake, func(w *backend.WorkerInfo) bool { return !slices.Contains(w.Closed, e.job.Queue) })
	if len(open) == 0 {
		return Reason{Cause: CauseGate, Workers: names(awake), Text: fmt.Sprintf(
			"%s run it, and there a gate closes the queue %s", count(len(awake), "worker could", "workers could"), e.job.Queue)}, true
	}
	r = Reason{Cause: CauseBusy, Workers: names(open)}
	for i := range open {
		r.Concurrency += open[i].Concurrency
		r.Free += max(0, open[i].Concurrency-open[i].Running)
	}
	if r.Free > 0 || e.job.State != backend.StateWaiting {
		return r, false
	}
	r.Text = fmt.Sprintf("%s run it, and all %d executors are busy", count(len(open), "worker could", "workers could"), r.Concurrency)
	return r, true
}

func (e *explainer) behind() Reason {
	r := Reason{Cause: CauseBehind, Ahead: e.ahead, Exact: e.exact, AheadAtMost: e.ahead}
	if e.lanes.Place > 0 {
		r.Lane = e.job.Lane.Key
		r.Text = fmt.Sprintf("it is number %d%s in the lane %q", e.lanes.Place, e.ofLane(), r.Lane)
	}
	if e.exact && r.Lane != "" {
		return r
	}
	if e.exact {
		r.Text = fmt.Sprintf("%s before it", count(int(e.ahead), "job waits", "jobs wait"))
		return r
	}
	r.AheadAtMost = max(e.ahead, e.queue.Counts[backend.StateWaiting]-1)
	if e.lanes.Place > 0 {
		r.Text = fmt.Sprintf("%s; lanes have their turns, and %d to %d jobs come before it", r.Text, r.Ahead, r.AheadAtMost)
		return r
	}
	r.Text = fmt.Sprintf("at least %d and at most %d jobs wait before it", r.Ahead, r.AheadAtMost)
	return r
}

// ofLane says how many wait in the job's lane, if that is known.
func (e *explainer) ofLane() string {
	for _, l := range e.lanes.Lanes {
		if l.Key == e.job.Lane.Key {
			return fmt.Sprintf(" of %d", l.Waiting)
		}
	}
	return ""
}

func (e *explainer) finished() Reason {
	r := Reason{Cause: CauseFinished, Text: fmt.Sprintf("it is %s", e.job.State)}
	if !e.job.FinishedAt.IsZero() {
		r.Text = fmt.Sprintf("it has been %s for %v", e.job.State, e.since(e.job.FinishedAt))
	}
	if n := len(e.job.Failures); n > 0 && e.job.State != backend.StateCompleted {
		r.Text += ", with: " + short(e.job.Failures[n-1].Error)
	}
	return r
}

// elsewhere says what the workers do that do not take from the queue.
func (e *explainer) elsewhere() string {
	if len(e.workers) == 0 {
		return "there is no worker at all"
	}
	var queues []string
	for i := range e.workers {
		queues = append(queues, e.workers[i].Queues...)
	}
	slices.Sort(queues)
	queues = slices.Compact(queues)
	more := ""
	if len(queues) > MaxExplained {
		queues, more = queues[:MaxExplained], ", …"
	}
	return fmt.Sprintf("%s from %s%s", count(len(e.workers), "worker takes", "workers take"), strings.Join(queues, ", "), more)
}

func (e *explainer) takes(w *backend.WorkerInfo) bool { return slices.Contains(w.Queues, e.job.Queue) }
func (e *explainer) knows(w *backend.WorkerInfo) bool { return slices.Contains(w.Kinds, e.job.Kind) }

func (e *explainer) pick(wanted func(*backend.WorkerInfo) bool) []backend.WorkerInfo {
	return filter(e.workers, wanted)
}

func filter(workers []backend.WorkerInfo, wanted func(*backend.WorkerInfo) bool) (found []backend.WorkerInfo) {
	for i := range workers {
		if wanted(&workers[i]) {
			found = append(found, workers[i])
		}
	}
	return found
}

func names(workers []backend.WorkerInfo) (ids []string) {
	for i := range workers[:min(len(workers), MaxExplained)] {
		ids = append(ids, workers[i].ID)
	}
	return ids
}

func states(workers []backend.WorkerInfo) string {
	var all []string
	for i := range workers {
		all = append(all, workers[i].State)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

func (e *explainer) until(at time.Time) time.Duration {
	return rounded(at.Sub(e.now))
}
func (e *explainer) since(at time.Time) time.Duration {
	return rounded(e.now.Sub(at))
}

// rounded is a time as it is told: a long one to the second.
func rounded(d time.Duration) time.Duration {
	if d >= 10*time.Second {
		return d.Round(time.Second)
	}
	return max(0, d).Round(time.Millisecond)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// short bounds a text that others wrote.
func short(text string) string { return boundText(text, 200) }
