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

// level is how bad a finding is.
type level string

const (
	levelOK      level = "ok"
	levelNote    level = "note"
	levelWarning level = "warning"
	levelError   level = "error"
)

// finding is something that doctor found.
type finding struct {
	Level  level  `json:"level"`
	About  string `json:"about"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

// diagnosis gathers findings.
type diagnosis []finding

func (d *diagnosis) add(l level, about, remedy, format string, args ...any) {
	*d = append(*d, finding{Level: l, About: about, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (t *tool) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Find what is unsafe or stuck: the store, its settings, jobs without a worker",
		Long: `Find what is unsafe or stuck: whether the store can be used and how quick it answers,
which of its settings can lose jobs, which jobs wait without a worker that would take
them, which queues are paused, which schedules are overdue. It changes nothing.

It ends by 1 if it found a warning or an error; notes are only told.`,
		Args: noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			var d diagnosis
			d.add(levelOK, "program", "", "%s %s", t.name, version())
			if d.store(ctx, s) {
				if err := d.work(ctx, s, t.name); err != nil {
					return err
				}
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			return t.printDiagnosis(d)
		}),
	}
}

// printDiagnosis prints the findings, and makes an error of them if they are bad.
func (t *tool) printDiagnosis(d diagnosis) error {
	l := &listing{key: "findings", columns: []string{"level", "about", "found", "what to do"}}
	bad := 0
	for _, f := range d {
		if f.Level == levelWarning || f.Level == levelError {
			bad++
		}
		l.add(f, string(f.Level), f.About, f.Text, f.Remedy)
	}
	if err := t.print(l); err != nil || bad == 0 {
		return err
	}
	return fmt.Errorf("%d of %d findings are warnings or errors", bad, len(d))
}

// probes is how often the store is asked to see how quick it answers; slow is what is told.
const (
	probes = 11
	slow   = 20 * time.Millisecond
)

// store looks at the store itself, and reports whether it can be used.
func (d *diagnosis) store(ctx context.Context, s *session) bool {
	warnings, err := s.store.Check(ctx)
	if errors.Is(err, backend.ErrDenied) {
		// The check is that of a worker; an operator has not all of its rights.
		if _, reading := s.client.Workers(ctx); reading == nil {
			d.add(levelNote, "rights", "run doctor as the workers' user too", "this user may not do what a worker does: %s", plainText(err))
			err = nil
		}
	}
	if err != nil {
		remedy := "see whether it runs, and whether the URL is right"
		if errors.Is(err, backend.ErrDenied) {
			remedy = "look at the password, and at the rights that docs/redis.md lists"
		}
		d.add(levelError, "store", remedy, "%s cannot be used: %s", s.url, plainText(err))
		return false
	}
	what := s.url
	if store, ok := s.store.(backend.Versioned); ok {
		if version, err := store.Version(ctx); err == nil {
			what += ", " + version
		}
	}
	d.add(levelOK, "store", "", "%s can be used", what)
	for _, w := range warnings {
		d.add(levelWarning, w.Setting, w.Remedy, "%s", w.Problem)
	}
	d.latency(ctx, s)
	return true
}

// latency measures a small read.
func (d *diagnosis) latency(ctx context.Context, s *session) {
	var took []time.Duration
	for range probes {
		began := time.Now()
		if _, err := s.client.Job(ctx, jobs.DefaultQueue, "doctor"); err != nil && !errors.Is(err, backend.ErrNotFound) {
			d.add(levelError, "latency", "", "a read failed: %s", plainText(err))
			return
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	median, worst := took[len(took)/2].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond)
	level, remedy := levelOK, ""
	if median > slow {
		level, remedy = levelNote, "run producers and workers near the store"
	}
	d.add(level, "latency", remedy, "a read takes %v, the longest %v", median, worst)
}

// work looks at queues, workers and schedules.
func (d *diagnosis) work(ctx context.Context, s *session, program string) error {
	workers, err := s.client.Workers(ctx)
	if err != nil {
		return err
	}
	queues, err := s.client.Queues(ctx)
	if err != nil {
		return err
	}
	d.workers(workers)
	for _, q := range queues {
		d.queue(q, takers(workers, q.Name), program)
		if err := d.blocked(ctx, s, q, takers(workers, q.Name)); err != nil {
			return err
		}
		if err := d.schedules(ctx, s, q.Name); err != nil {
			return err
		}
	}
	return nil
}

// takers are the workers that take from a queue.
func takers(workers []backend.WorkerInfo, queue string) (found []backend.WorkerInfo) {
	for _, w := range workers {
		if slices.Contains(w.Queues, queue) {
			found = append(found, w)
		}
	}
	return found
}

func (d *diagnosis) workers(workers []backend.WorkerInfo) {
	if len(workers) == 0 {
		d.add(levelNote, "workers", "", "there is no worker at the moment")
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
	d.add(levelOK, "workers", "", "%s", strings.Join(parts, ", "))
}

// queue looks for jobs that nobody takes.
func (d *diagnosis) queue(q backend.QueueInfo, takers []backend.WorkerInfo, program string) {
	about := "queue " + q.Name
	unfinished := q.Counts[backend.StateWaiting] + q.Counts[backend.StateScheduled] + q.Counts[backend.StateBlocked]
	running := slices.ContainsFunc(takers, func(w backend.WorkerInfo) bool { return w.State == "running" })
	switch {
	case unfinished == 0:
	case q.Paused:
		d.add(levelWarning, about, program+" queue resume "+q.Name, "it is paused, and %s", jobsThat(unfinished, "waits", "wait"))
	case len(takers) == 0:
		d.add(levelWarning, about, "start a worker that takes from it", "%s, and no worker takes from it%s", jobsThat(unfinished, "waits", "wait"), since(q))
	case !running:
		d.add(levelWarning, about, "start a worker, or resume one that is quiet", "%s, and no worker of it is running, the first is %s%s", jobsThat(unfinished, "waits", "wait"), takers[0].State, since(q))
	}
	if n := q.Counts[backend.StateDead]; n > 0 {
		d.add(levelNote, about, fmt.Sprintf("%s jobs --queue %s --state dead", program, q.Name), "%s", jobsThat(n, "is dead", "are dead"))
	}
}

// since tells how long the oldest job waits.
func since(q backend.QueueInfo) string {
	if q.OldestWaiting.IsZero() {
		return ""
	}
	return ", the oldest for " + span(max(0, time.Since(q.OldestWaiting)))
}

// blocked looks at a page of the blocked jobs of a queue, for kinds that no worker knows.
func (d *diagnosis) blocked(ctx context.Context, s *session, q backend.QueueInfo, takers []backend.WorkerInfo) error {
	if q.Counts[backend.StateBlocked] == 0 {
		return nil
	}
	page, err := s.client.Jobs(ctx, backend.JobsQuery{Queue: q.Name, State: backend.StateBlocked, Limit: backend.MaxPage})
	if err != nil {
		return err
	}
	counts := map[string]int{}
	for i := range page.Jobs {
		counts[page.Jobs[i].BlockedOn]++
	}
	var known []string
	for _, w := range takers {
		known = append(known, w.Kinds...)
	}
	for _, key := range sortedKeys(counts) {
		kind, ok := jobs.KindOfBlockKey(key)
		if ok && !slices.Contains(known, kind) {
			d.add(levelWarning, "queue "+q.Name, "start a worker that has a handler for it", "%s for a worker that knows the kind %s%s", jobsThat(int64(counts[key]), "waits", "wait"), kind, orMore(page.Next != ""))
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

// orMore says that not all was looked at.
func orMore(more bool) string {
	if more {
		return ", at least"
	}
	return ""
}

func sortedKeys(counts map[string]int) []string {
	var keys []string
	for key := range counts {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// overdue is how late a schedule may be before somebody has to look.
const overdue = time.Minute

// schedules looks at a page of the schedules of a queue, for those that nobody ticks.
func (d *diagnosis) schedules(ctx context.Context, s *session, queue string) error {
	page, err := s.store.Schedules(ctx, backend.SchedulesQuery{Queue: queue})
	if err != nil {
		return err
	}
	for _, stored := range page.Schedules {
		info := jobs.ReadSchedule(stored)
		about := "schedule " + info.Name
		switch {
		case info.Err != nil:
			d.add(levelWarning, about, "put it again by a program of this version", "it cannot be read: %v", info.Err)
		case info.Paused || info.Next.IsZero() || page.Now.Sub(info.Next) < overdue:
		case info.LastState != "" && !info.LastState.Final():
			d.add(levelNote, about, "", "it waits for its last job, %s, which is %s", info.LastJob, info.LastState)
		default:
			d.add(levelWarning, about, "start a worker that takes from the queue "+queue+" and declares the schedule, if it is declared",
				"it was due %s ago, and no worker has enqueued its job", span(page.Now.Sub(info.Next)))
		}
	}
	return nil
}
