package jobstest

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// maxAttempts and maxTime end a Drain to which jobs come for ever.
const (
	maxAttempts = 100_000
	maxTime     = 100 * 365 * 24 * time.Hour
)

// Drain runs jobs, one after the other in the calling goroutine, until none is left
// that could be run: those that are delayed, fail and are tried again, or are enqueued
// meanwhile included. Nothing sleeps: when no job is due the store's clock moves on to
// the next one. Queues are taken by name; in each the order is that of a worker.
// Schedules, which never end, are for [Store.RunFor].
//
// It ends early when ctx does. If 100,000 attempts or 100 years do not bring it to an
// end the test fails: a job that puts itself off for ever is for [Store.RunFor].
func (s *Store) Drain(ctx context.Context) Report {
	s.t.Helper()
	return s.work(ctx, nil)
}

// RunFor is Drain for the next d of the store's time, at whose end the clock then is, and
// with schedules: those of the registry, which begin with the first RunFor, and those that
// were put at run time. (The store begins at the real time, so a test of a schedule that
// wants a date begins in a bubble of testing/synctest, which is always 2000-01-01 00:00
// UTC.) RunFor(ctx, 0) runs what is due now and moves no clock.
func (s *Store) RunFor(ctx context.Context, d time.Duration) Report {
	s.t.Helper()
	until := s.Now().Add(max(d, 0))
	return s.work(ctx, &until)
}

// work runs jobs until an instant, or to the end.
func (s *Store) work(ctx context.Context, until *time.Time) Report {
	s.t.Helper()
	report := Report{start: s.Now()}
	if until != nil {
		s.declare()
	}
	for ctx.Err() == nil {
		var tick time.Time
		if until != nil {
			tick = s.tick()
		}
		lease, now, next := s.lease()
		if lease != nil {
			report.Attempts = append(report.Attempts, s.step(ctx, lease, now))
			if len(report.Attempts) >= maxAttempts {
				s.t.Fatalf("jobstest: jobs still come after %d attempts, the last one was %v; RunFor runs a part", maxAttempts, report.Attempts[maxAttempts-1])
				break
			}
			continue
		}
		next = earlier(next, tick)
		if next.IsZero() || until != nil && next.After(*until) {
			break
		}
		if until == nil && next.Sub(report.start) > maxTime {
			s.t.Fatalf("jobstest: jobs still come after %v; RunFor runs a part", maxTime)
			break
		}
		s.pass(max(next.Sub(now), time.Millisecond))
	}
	if until != nil && ctx.Err() == nil {
		s.pass(until.Sub(s.Now()))
	}
	report.Took = s.Now().Sub(report.start)
	report.Left = s.left()
	return report
}

// lease takes the next job that is due, if there is one, and tells when one will be.
func (s *Store) lease() (lease *backend.Lease, now, next time.Time) {
	queues := s.queues()
	if len(queues) == 0 {
		return nil, now, next
	}
	s.calls++
	request := backend.LeaseRequest{
		Worker: worker, Token: fmt.Sprintf("%s.%d", worker, s.calls),
		Queues: queues, Max: 1, Duration: backend.MaxLease,
	}
	for _, kind := range s.registry.Kinds() {
		request.Unblock = append(request.Unblock, jobs.BlockKey(kind))
	}
	reply, err := s.Lease(context.Background(), request)
	if err != nil {
		s.t.Fatalf("jobstest: %v", err)
		return nil, now, next
	}
	if len(reply.Leases) > 0 {
		lease = &reply.Leases[0]
	}
	return lease, reply.Now, reply.NextDue
}

// queues are those that are not paused.
func (s *Store) queues() (names []string) {
	infos, err := s.Queues(context.Background())
	if err != nil {
		s.t.Fatalf("jobstest: %v", err)
	}
	for _, info := range infos {
		if !info.Paused {
			names = append(names, info.Name)
		}
	}
	return names
}

// step runs one leased job and settles it.
func (s *Store) step(ctx context.Context, lease *backend.Lease, now time.Time) Attempt {
	a, settlement := s.attempt(ctx, lease, now)
	results, err := s.Settle(context.Background(), backend.SettleRequest{
		Worker: worker, Call: s.calls, Settlements: []backend.Settlement{settlement},
	})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		s.t.Fatalf("jobstest: %v", err)
		return a
	}
	return s.finish(a, lease, settlement, results[0].State)
}

// left are the jobs that have not finished.
func (s *Store) left() (left []jobs.JobInfo) {
	ctx := context.Background()
	queues, err := s.Queues(ctx)
	if err != nil {
		s.t.Fatalf("jobstest: %v", err)
	}
	for _, queue := range queues {
		for _, state := range backend.States {
			if state.Final() || queue.Counts[state] == 0 {
				continue
			}
			for job, err := range s.client.AllJobs(ctx, backend.JobsQuery{Queue: queue.Name, State: state}) {
				if err != nil {
					s.t.Fatalf("jobstest: %v", err)
					break
				}
				left = append(left, job)
			}
		}
	}
	return left
}
