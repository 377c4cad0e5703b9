package jobstest

import (
	"context"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Tick enqueues the jobs of schedules, and remembers them.
func (s *Store) Tick(ctx context.Context, ticks []backend.Tick) (backend.TickReply, error) {
	reply, err := s.Backend.Tick(ctx, ticks)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range reply.Results {
		job := ticks[i].Job
		if job == nil || reply.Results[i].Outcome != backend.TickEnqueued {
			continue
		}
		// A repeated tick has the same outcome.
		known := func(other backend.NewJob) bool { return other.ID == job.ID && other.Queue == job.Queue }
		if !slices.ContainsFunc(s.enqueued, known) {
			s.enqueued = append(s.enqueued, *job)
		}
	}
	return reply, err
}

// declare stores the schedules of the registry, as a worker does at its start.
func (s *Store) declare() {
	if err := s.registry.PutSchedules(context.Background(), s, nil); err != nil {
		s.t.Fatalf("jobstest: %v", err)
	}
}

// tick does what a worker's clock does: it ticks the schedules that are due, and tells
// when the next one will be.
func (s *Store) tick() (next time.Time) {
	ctx := context.Background()
	infos, err := s.Queues(ctx)
	if err != nil {
		s.t.Fatalf("jobstest: %v", err)
	}
	for _, queue := range infos {
		for schedule, err := range s.client.AllSchedules(ctx, queue.Name) {
			if err != nil {
				s.t.Fatalf("jobstest: %v", err)
				return next
			}
			if schedule.Declared && !s.registry.Declares(schedule.Name) {
				continue
			}
			for {
				tick, due := schedule.Tick(s.Now())
				if !due {
					break
				}
				reply, err := s.Tick(ctx, []backend.Tick{tick})
				if err == nil {
					err = reply.Results[0].Err
				}
				if err != nil {
					s.t.Fatalf("jobstest: %v: %v", schedule, err)
					return next
				}
				schedule = schedule.Again(reply.Results[0].Schedule)
				if o := reply.Results[0].Outcome; o == backend.TickWaits || o == backend.TickStale {
					break
				}
			}
			if at := schedule.Next; !schedule.Paused && at.After(s.Now()) {
				next = earlier(next, at)
			}
		}
	}
	return next
}

// earlier is the first of two instants, of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
