package operate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

const (
	// overdue is how late a schedule, a lease or a job in front of a free executor may
	// be before somebody has to look.
	overdue = time.Minute
	// maxSchedules and maxRunning are how many of a queue are looked at.
	maxSchedules = 100
	maxRunning   = 20
)

// Work finds out what of the work is stuck: jobs without a worker that would take them,
// paused queues, jobs of vanished workers, schedules that nobody ticks. Of each queue it
// reads, where there are any, one page of blocked jobs, of running jobs and of schedules.
func Work(ctx context.Context, client *jobs.Client, look *Look) ([]Finding, error) {
	var f findings
	f.workers(look.Workers)
	for _, q := range look.Queues {
		takers := look.Takers(q.Name)
		f.queue(q, takers, look.At)
		for _, find := range []func(context.Context, *jobs.Client, backend.QueueInfo, []backend.WorkerInfo, time.Time) error{f.blocked, f.vanished, f.schedules} {
			if err := find(ctx, client, q, takers, look.At); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

// WorstFirst sorts findings, those of one level as they were.
func WorstFirst(found []Finding) {
	slices.SortStableFunc(found, func(a, b Finding) int { return cmp.Compare(a.Level.rank(), b.Level.rank()) })
}

func (f *findings) workers(workers []backend.WorkerInfo) {
	if len(workers) == 0 {
		f.add(Finding{Level: LevelNote, About: "workers"}, "there is no worker at the moment")
		return
	}
	counts := map[string]int{}
	for _, w := range workers {
		counts[w.State]++
	}
	var parts []string
	for state, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, state))
	}
	slices.Sort(parts)
	f.add(Finding{Level: LevelOK, About: "workers"}, "%s", strings.Join(parts, ", "))
}

// queue looks for jobs that nobody takes.
func (f *findings) queue(q backend.QueueInfo, takers []backend.WorkerInfo, now time.Time) {
	there := unfinished(q)
	if there != "" && q.Paused {
		f.ofQueue(LevelWarning, ProblemPaused, q.Name, "resume it", "it is paused, and %s", there)
	}
	running := slices.ContainsFunc(takers, func(w backend.WorkerInfo) bool { return w.State == "running" })
	switch {
	case there == "":
	case len(takers) == 0:
		f.ofQueue(LevelWarning, ProblemNoWorker, q.Name, "start a worker that takes from it",
			"%s, and no worker takes from it%s", there, oldest(q, now))
	case !running:
		f.ofQueue(LevelWarning, ProblemNotRunning, q.Name, "start a worker, or resume one that is quiet",
			"%s, and no worker of it is running, the first is %s%s", there, takers[0].State, oldest(q, now))
	case !q.Paused && stuck(q, takers, now):
		f.ofQueue(LevelWarning, ProblemStuck, q.Name, "ask of the oldest job why it does not run",
			"%s although executors of its workers are free%s", jobsThat(q.Counts[backend.StateWaiting], "waits", "wait"), oldest(q, now))
	}
	if n := q.Counts[backend.StateDead]; n > 0 {
		f.ofQueue(LevelNote, ProblemDead, q.Name, "look at their errors; retry or delete them", "%s", jobsThat(n, "is dead", "are dead"))
	}
}

// unfinished tells how many jobs of a queue wait, and how many are scheduled for later; empty
// if there are none.
func unfinished(q backend.QueueInfo) string {
	wait, later := q.Counts[backend.StateWaiting]+q.Counts[backend.StateBlocked], q.Counts[backend.StateScheduled]
	switch {
	case wait == 0 && later == 0:
		return ""
	case later == 0:
		return jobsThat(wait, "waits", "wait")
	case wait == 0:
		return jobsThat(later, "is scheduled", "are scheduled")
	case later == 1:
		return jobsThat(wait, "waits and 1 is scheduled", "wait and 1 is scheduled")
	}
	return fmt.Sprintf("%s and %d are scheduled", jobsThat(wait, "waits", "wait"), later)
}

// stuck reports whether jobs wait for long in front of free executors.
func stuck(q backend.QueueInfo, takers []backend.WorkerInfo, now time.Time) bool {
	if q.OldestWaiting.IsZero() || now.Sub(q.OldestWaiting) < overdue {
		return false
	}
	free := func(w backend.WorkerInfo) bool {
		return w.State == "running" && w.Running < w.Concurrency && !slices.Contains(w.Closed, q.Name)
	}
	return slices.ContainsFunc(takers, free)
}

// oldest tells how long the oldest job waits.
func oldest(q backend.QueueInfo, now time.Time) string {
	if q.OldestWaiting.IsZero() {
		return ""
	}
	return ", the oldest for " + Span(max(0, now.Sub(q.OldestWaiting)))
}

// blocked looks at a page of the blocked jobs of a queue, for kinds that no worker knows.
func (f *findings) blocked(ctx context.Context, client *jobs.Client, q backend.QueueInfo, takers []backend.WorkerInfo, _ time.Time) error {
	if q.Counts[backend.StateBlocked] == 0 {
		return nil
	}
	page, err := client.Jobs(ctx, backend.JobsQuery{Queue: q.Name, State: backend.StateBlocked, Limit: backend.MaxPage})
	if err != nil {
		return err
	}
	counts := map[string]int64{}
	for i := range page.Jobs {
		counts[page.Jobs[i].BlockedOn]++
	}
	var known []string
	for _, w := range takers {
		known = append(known, w.Kinds...)
	}
	more := ""
	if page.Next != "" {
		more = ", at least"
	}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		kind, ok := jobs.KindOfBlockKey(key)
		if ok && !slices.Contains(known, kind) {
			f.ofQueue(LevelWarning, ProblemUnknownKind, q.Name, "start a worker that has a handler for it",
				"%s for a worker that knows the kind %s%s", jobsThat(counts[key], "waits", "wait"), kind, more)
		}
	}
	return nil
}

// vanished looks at those of the running jobs that come first, for leases that have
// expired long ago: a worker of the queue would have taken them back.
func (f *findings) vanished(ctx context.Context, client *jobs.Client, q backend.QueueInfo, _ []backend.WorkerInfo, now time.Time) error {
	if q.Counts[backend.StateRunning] == 0 {
		return nil
	}
	page, err := client.Jobs(ctx, backend.JobsQuery{Queue: q.Name, State: backend.StateRunning, Limit: maxRunning})
	if err != nil {
		return err
	}
	n, worker := int64(0), ""
	for i := range page.Jobs {
		if now.Sub(page.Jobs[i].LeaseExpiresAt) > overdue {
			n, worker = n+1, page.Jobs[i].LeasedBy
		}
	}
	if n > 0 {
		f.ofQueue(LevelWarning, ProblemVanished, q.Name, "start a worker that takes from it: it takes them back",
			"%s by a worker that has vanished, such as %s, and nobody has taken them back", jobsThat(n, "is held", "are held"), worker)
	}
	return nil
}

// schedules looks at a page of the schedules of a queue, for those that nobody ticks.
func (f *findings) schedules(ctx context.Context, client *jobs.Client, q backend.QueueInfo, _ []backend.WorkerInfo, now time.Time) error {
	looked := 0
	for info, err := range client.AllSchedules(ctx, q.Name) {
		if err != nil {
			return err
		}
		finding := Finding{Level: LevelWarning, Problem: ProblemSchedule, About: "schedule " + info.Name, Queue: q.Name, Schedule: info.Name}
		switch {
		case info.Err != nil:
			finding.Remedy = "put it again by a program of this version"
			f.add(finding, "it cannot be read: %v", info.Err)
		case info.Paused || info.Next.IsZero() || now.Sub(info.Next) < overdue:
		case info.LastState != "" && !info.LastState.Final():
			finding.Level = LevelNote
			f.add(finding, "it waits for its last job, %s, which is %s", info.LastJob, info.LastState)
		default:
			finding.Remedy = "start a worker that takes from the queue " + q.Name + " and declares the schedule, if it is declared"
			f.add(finding, "it was due %s ago, and no worker has enqueued its job", Span(now.Sub(info.Next)))
		}
		if looked++; looked == maxSchedules {
			return nil
		}
	}
	return nil
}

// jobsThat tells how many jobs do something.
func jobsThat(n int64, one, many string) string {
	if n == 1 {
		return "1 job " + one
	}
	return fmt.Sprintf("%d jobs %s", n, many)
}
