package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/caddis-go/caddis/backend"
)

// Settle records what became of leased jobs.
func (b *Backend) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	if err := checkSettle(&request); err != nil {
		return nil, &backend.Error{Op: "settle", Err: err}
	}
	if err := b.lock(ctx, "settle"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	c := b.caller(request.Worker)
	if c.call == request.Call {
		if len(c.results) != len(request.Settlements) {
			return nil, &backend.Error{Op: "settle", Err: fmt.Errorf("%w: call %d is repeated with %d settlements, it had %d",
				backend.ErrRejected, request.Call, len(request.Settlements), len(c.results))}
		}
		return slices.Clone(c.results), nil
	}
	now := b.now()
	results := make([]backend.SettleResult, len(request.Settlements))
	var released []*job
	var q *queue
	news := false
	for i := range request.Settlements {
		s := &request.Settlements[i]
		if q == nil || q.name != s.Queue {
			q.tell(news)
			q, news = b.queues[s.Queue], false
		}
		j, tell, err := q.settle(s, now)
		switch {
		case err != nil:
			results[i].Err = &backend.Error{Op: "settle", Queue: s.Queue, ID: s.ID, Err: err}
		case j == nil:
			results[i].Stale = true
		default:
			results[i].State = j.state
			if j.in == nil && j.state == backend.StateWaiting {
				released = append(released, j)
			}
		}
		news = news || tell
	}
	q.tell(news)
	// Each goes to the front, so the last one goes first.
	for _, j := range slices.Backward(released) {
		q := b.queues[j.Queue]
		q.waitFirst(j)
		q.ring()
	}
	c.call = request.Call
	c.results = append(c.results[:0], results...)
	return results, nil
}

func checkSettle(request *backend.SettleRequest) error {
	switch {
	case request.Worker == "":
		return fmt.Errorf("%w: the settlements name no worker", backend.ErrRejected)
	case request.Call == 0:
		return fmt.Errorf("%w: the call has no number; number the calls from 1", backend.ErrRejected)
	case len(request.Settlements) > backend.MaxBatch:
		return fmt.Errorf("%w: %d settlements in one call, %d are allowed", backend.ErrRejected, len(request.Settlements), backend.MaxBatch)
	}
	return nil
}

// held returns the job that is held under a token, or nil.
func (q *queue) held(id, token string) *job {
	if q == nil {
		return nil
	}
	j := q.jobs[id]
	if j == nil || j.state != backend.StateRunning || j.token != token {
		return nil
	}
	return j
}

// settle applies one settlement and returns its job, or nil if the token does
// not hold it. A released job is then in no list: its place depends on the
// others of the call. It reports whether whoever waits for work has to know.
func (q *queue) settle(s *backend.Settlement, now int64) (j *job, tell bool, err error) {
	if err := s.Check(); err != nil {
		return nil, false, err
	}
	if j = q.held(s.ID, s.Token); j == nil {
		return nil, false, nil
	}
	cancelled := j.cancelRequested
	q.lift(j)
	if s.Outcome == backend.OutcomeReleased || s.Outcome == backend.OutcomeBlocked {
		q.refund(j, now)
	}
	if s.History != nil {
		q.store.bytes -= j.size()
		j.setHistory(s.History)
		q.store.bytes += j.size()
	}
	if s.Outcome == backend.OutcomeRetry {
		q.failed++
	}
	switch {
	case s.Outcome == backend.OutcomeCompleted:
		q.finish(j, backend.StateCompleted, s.Keep, now)
	case s.Outcome == backend.OutcomeDead:
		q.finish(j, backend.StateDead, 0, now)
	case cancelled || s.Outcome == backend.OutcomeCancelled:
		q.finish(j, backend.StateCancelled, 0, now)
	case s.Outcome == backend.OutcomeReleased:
		j.state = backend.StateWaiting
	case s.Outcome == backend.OutcomeBlocked:
		q.block(j, s.Key)
		tell = true
	default:
		due := now
		if s.Delay > 0 {
			due = dueAt(now, s.Delay)
		}
		tell = q.schedule(j, due, now)
	}
	return j, tell, nil
}
