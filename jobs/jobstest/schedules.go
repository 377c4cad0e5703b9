package jobstest

import (
	"context"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// declare stores the schedules of the registry, as a worker does when it starts.
func (s *Store) declare() {
	s.t.Helper()
	if err := s.registry.PutSchedules(context.Background(), s, nil); err != nil {
		s.t.Fatalf("jobstest: %v", err)
	}
}

// tick enqueues the jobs of the schedules that are due, and tells when the next one is.
func (s *Store) tick() (next time.Time) {
	s.t.Helper()
	ctx := context.Background()
	for _, queue := range s.queues() {
		for schedule, err := range s.client.AllSchedules(ctx, queue) {
			if err != nil {
				s.t.Fatalf("jobstest: %v", err)
				return next
			}
			for outcome := backend.TickEnqueued; outcome != backend.TickWaits; {
				tick, due := schedule.Tick(s.Now())
				if !due {
					if at := schedule.Next; !schedule.Paused && !at.IsZero() && (next.IsZero() || at.Before(next)) {
						next = at
					}
					break
				}
				reply, err := s.Backend.Tick(ctx, []backend.Tick{tick})
				if err == nil {
					err = reply.Results[0].Err
				}
				if err != nil {
					s.t.Fatalf("jobstest: schedule %q: %v", schedule.Name, err)
					return next
				}
				outcome = reply.Results[0].Outcome
				if outcome == backend.TickEnqueued {
					s.remember(*tick.Job)
				}
				schedule = schedule.Again(reply.Results[0].Schedule)
			}
		}
	}
	return next
}

// remember notes a job that was stored.
func (s *Store) remember(job backend.NewJob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enqueued = append(s.enqueued, job)
}
