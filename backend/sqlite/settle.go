package sqlite

import (
	"context"

	"github.com/caddis-go/caddis/backend"
)

// Settle implements backend.Consumer. The call is atomic over all its queues.
func (b *Backend) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	if err := checkSettle(&request); err != nil {
		return nil, &backend.Error{Op: "settle", Err: err}
	}
	var results []backend.SettleResult
	err := b.write(ctx, "settle", "", len(request.Settlements), func(t *txn) (err error) {
		results, err = t.settle(&request)
		return err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func checkSettle(request *backend.SettleRequest) error {
	switch {
	case request.Worker == "":
		return reject("the settlements name no worker")
	case request.Call == 0:
		return reject("the call has no number; number the calls from 1")
	case len(request.Settlements) > backend.MaxBatch:
		return reject("%d settlements in one call, %d are allowed", len(request.Settlements), backend.MaxBatch)
	}
	return nil
}

// rejected is the error of a bad settlement.
func rejected(s *backend.Settlement) error {
	err := s.Check()
	if err == nil && s.History != nil {
		_, err = encodeHistory(s.History)
	}
	if err == nil {
		return nil
	}
	return &backend.Error{Op: "settle", Queue: s.Queue, ID: s.ID, Err: err}
}

func (t *txn) settle(request *backend.SettleRequest) ([]backend.SettleResult, error) {
	c, err := t.caller(request.Worker)
	if err != nil {
		return nil, err
	}
	if c.known && c.call == int64(request.Call) {
		if len(c.results) != len(request.Settlements) {
			return nil, reject("call %d is repeated with %d settlements, it had %d", request.Call, len(request.Settlements), len(c.results))
		}
		return unpackResults(c.results, request.Settlements), nil
	}
	results := make([]backend.SettleResult, len(request.Settlements))
	states := make([]state, len(results))
	front := frontage{settlements: request.Settlements}
	for i := range request.Settlements {
		s := &request.Settlements[i]
		if results[i].Err = rejected(s); results[i].Err != nil {
			continue
		}
		q, err := t.find(s.Queue)
		if err != nil {
			return nil, err
		}
		to := stale
		if q != nil {
			if to, err = q.settle(s, &front); err != nil {
				return nil, err
			}
		}
		if results[i].Stale = to == stale; to != stale {
			states[i], results[i].State = to, to.public()
		}
	}
	c.call, c.results = int64(request.Call), packResults(results, states)
	return results, t.saveCaller(request.Worker, c)
}

// stale is what settle answers if the token does not hold the job.
const stale state = -1

// settle applies one settlement and answers the state of the job.
func (q *queue) settle(s *backend.Settlement, front *frontage) (state, error) {
	if s.Outcome == backend.OutcomeCompleted && q.t.store.keep(completed, s.Keep) < 0 {
		n, err := q.t.exec(`DELETE FROM caddis_job WHERE queue = ? AND id = ? AND state = 3 AND token = ?`, q.id, s.ID, s.Token)
		if n == 0 || err != nil {
			return stale, err
		}
		q.left(running, 0)
		q.ended(completed)
		q.freed()
		return completed, nil
	}
	j, err := q.get(s.ID)
	if err != nil || j == nil || j.state != running || j.token != s.Token {
		return stale, err
	}
	if s.History != nil {
		if err := j.setHistory(s.History); err != nil {
			return stale, err
		}
	}
	if s.Outcome == backend.OutcomeReleased || s.Outcome == backend.OutcomeBlocked {
		if err := q.refund(j); err != nil {
			return stale, err
		}
	}
	if s.Outcome == backend.OutcomeRetry && !j.done {
		q.ever.failed++
	}
	switch {
	case j.done && s.Outcome != backend.OutcomeCompleted:
		return completed, q.finish(j, completed, j.retention())
	case s.Outcome == backend.OutcomeCompleted:
		return completed, q.finish(j, completed, s.Keep)
	case s.Outcome == backend.OutcomeDead:
		return dead, q.finish(j, dead, 0)
	case j.cancel || s.Outcome == backend.OutcomeCancelled:
		return cancelled, q.finish(j, cancelled, 0)
	case s.Outcome == backend.OutcomeReleased:
		if err := q.comesBack(j); err != nil {
			return stale, err
		}
		return waiting, q.waitAt(j, front.place(q))
	case s.Outcome == backend.OutcomeBlocked:
		return blocked, q.block(j, s.Key)
	}
	err = q.putOff(j, s.Delay)
	return j.state, err
}

// frontage gives out the places before all that wait, to the jobs that a call hands
// back: they come in the order of the call.
type frontage struct {
	settlements []backend.Settlement
	next        map[string]int64
}

func (f *frontage) place(q *queue) int64 {
	if f.next == nil {
		f.next = make(map[string]int64)
	}
	rank, known := f.next[q.name]
	if !known {
		rank = q.front
		for i := range f.settlements {
			if s := &f.settlements[i]; s.Queue == q.name && s.Outcome == backend.OutcomeReleased {
				rank--
			}
		}
		q.front = rank
	}
	f.next[q.name] = rank + 1
	return rank
}

// setHistory replaces the history.
func (j *job) setHistory(h *backend.History) error {
	text, err := encodeHistory(h)
	if err != nil {
		return err
	}
	j.bytes += int64(len(text) - len(j.history))
	j.history = text
	return nil
}
