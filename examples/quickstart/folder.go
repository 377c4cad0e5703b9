package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// digestFolder does the whole work: it takes up what an earlier start has left, or
// begins anew, runs a System until nothing is left or ctx ends, and sums up.
func digestFolder(ctx context.Context, o *options, screen *screen, tell func(*summary) error) (err error) {
	began := time.Now()
	defer func() { err = errors.Join(err, o.store.Close()) }()
	root, err := folder(o.dir)
	if err != nil {
		return err
	}
	journal, err := openJournal(o.journal)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.close()) }()

	c := &crew{root: root, keeps: o.keeps, queues: queuesOf(root), journal: journal, own: newResults()}
	system, err := newSystem(o, c, screen)
	if err != nil {
		return err
	}
	client := system.Client()
	board, err := serveUI(o.ui, client, screen)
	if err != nil {
		return err
	}
	defer board.close()
	done, err := begin(ctx, client, c.queues)
	if err != nil {
		return err
	}
	if done != nil {
		// An earlier start was cut short while it removed the jobs.
		left, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.grace)
		defer cancel()
		s := summarize(&account{result: *done}, system.Stop().Report(), time.Since(began))
		return finish(left, client, c.queues, s, screen, tell)
	}

	if err := c.recall(ctx, client); err != nil {
		return err
	}

	// Run takes the signals itself. ctx ends with the first of them too, but also
	// if that came before Run was called.
	defer context.AfterFunc(ctx, func() { system.Stop() })()
	watching, endWatch := context.WithCancel(context.Background())
	watched := make(chan *account)
	go func() { watched <- watch(watching, system, c, screen, board) }()
	report, runErr := system.Run(context.Background())
	endWatch()
	known := <-watched
	screen.clear()
	if report == nil {
		return runErr
	}
	if errors.Is(runErr, caddis.ErrStopped) {
		runErr = nil // ctx ended before the start
	}

	left, cancel := context.WithTimeout(context.Background(), max(reportTime(o.grace), o.grace-report.StopTook))
	defer cancel()
	if known == nil {
		for part := c.own.rest(); part != nil && c.save(left, client, part); {
			part = c.own.rest()
		}
		if known, err = collect(left, client, c); err != nil {
			screen.logger().Warn("what earlier starts have done could not be read", "error", err)
		}
		known.at = time.Now()
	}
	s := summarize(known, report, known.at.Sub(began))
	if !known.complete() {
		return errors.Join(runErr, known.scanError(), tell(s))
	}
	awaitOthers(ctx, client, c.queues, report.Worker, o.lease)
	return errors.Join(runErr, finish(left, client, c.queues, s, screen, tell))
}

// reportTime is the part of the grace that is kept for summing up.
func reportTime(grace time.Duration) time.Duration { return min(grace/10, time.Second) }

// begin enqueues the scan, unless the store has it from an earlier start. It
// returns the result if all that is left is to remove the jobs.
func begin(ctx context.Context, client *jobs.Client, q queues) (*Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	record, err := client.Job(ctx, q.results, resultID)
	if err == nil {
		result, err := jobs.ArgsOf[Result](record)
		return &result, err
	}
	var receipt jobs.Receipt
	if errors.Is(err, backend.ErrNotFound) {
		receipt, err = client.Enqueue(ctx, Scan{}, jobs.ID(scanID))
	}
	if err == nil && (receipt.State == backend.StateDead || receipt.State == backend.StateCancelled) {
		_, err = client.Retry(ctx, q.scan, scanID)
		if errors.Is(err, backend.ErrState) || errors.Is(err, backend.ErrNotFound) {
			err = nil // another process was quicker
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the work cannot begin: %w", err)
	}
	return nil, nil
}

// recall takes over what the jobs of earlier starts have left and no Part has, as
// after a kill, before the store forgets it.
func (c *crew) recall(ctx context.Context, client *jobs.Client) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	query := backend.JobsQuery{Queue: c.queues.files, State: backend.StateCompleted, Limit: backend.MaxPage}
	for job, err := range client.AllJobs(ctx, query) {
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return nil
		case err != nil:
			return fmt.Errorf("what earlier starts have done cannot be read: %w", err)
		}
		args, err := jobs.ArgsOf[Hash](job)
		if sum, failed := jobs.ResultOf[Sum](job); err == nil && failed == nil {
			if part := c.own.completed(string(args.Path), sum); part != nil {
				c.save(ctx, client, part)
			}
		}
	}
	return nil
}

// watch shows how far the work is. When nothing is left it collects what there is
// to know, while this process is still listed among the workers (see awaitOthers),
// stops the System, if nobody looks on any more, and returns the account. It returns nil
// if ctx ends before.
func watch(ctx context.Context, system *caddis.System, c *crew, screen *screen, board *ui) *account {
	client := system.Client()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		state, err := look(ctx, client, c.queues)
		if err == nil && state.drained() {
			if known, err := collect(ctx, client, c); err == nil {
				known.at = time.Now()
				board.await(ctx)
				system.Stop()
				return known
			}
		}
		screen.show(progressLine(state, err, system.Status(), c.own.bytes.Load()))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// awaitOthers waits until no other process works on the folder: each reads the
// results before it signs off, and the last one removes them. The record of a
// process that was killed vanishes after a lease.
func awaitOthers(ctx context.Context, client *jobs.Client, q queues, self string, lease time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, lease+2*time.Second)
	defer cancel()
	for {
		workers, err := client.Workers(ctx)
		other := func(w backend.WorkerInfo) bool { return w.ID != self && slices.Contains(w.Queues, q.files) }
		if err != nil || !slices.ContainsFunc(workers, other) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// finish removes the jobs and tells the result. That is kept in the store until it
// has been told, so that a process that is killed meanwhile leaves it to the next.
func finish(ctx context.Context, client *jobs.Client, q queues, s *summary, screen *screen, tell func(*summary) error) error {
	_, err := client.Enqueue(ctx, s.stored(), jobs.Queue(q.results), jobs.ID(resultID))
	for _, queue := range []string{q.files, q.results, q.scan} {
		if err == nil {
			err = clear(ctx, client, queue)
		}
	}
	if told := tell(s); told != nil {
		return told
	}
	if err == nil {
		_, err = client.Delete(ctx, q.results, resultID)
	}
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		screen.logger().Warn("finished jobs stay in the store; a further start removes them", "error", err)
	}
	return nil
}

// clear removes the finished jobs of a queue, and the parts. Another process may do
// the same.
func clear(ctx context.Context, client *jobs.Client, queue string) error {
	for _, state := range append([]backend.State{backend.StateWaiting}, finalStates...) {
		_, err := client.ForAll(ctx, queue, state, client.Delete, func(job jobs.JobInfo) bool { return job.ID != resultID })
		if err != nil && !errors.Is(err, backend.ErrNotFound) {
			return err
		}
	}
	return nil
}
