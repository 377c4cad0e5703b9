package redis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// part is what of a batch concerns one tag; split divides a batch, in the
// order in which the tags first come.
type part struct {
	tag *tag
	at  []int
}

func split(n int, tagOf func(i int) *tag) []part {
	var parts []part
	byTag := map[*tag]int{} // where the part of a tag is
	last := -1
	for i := range n {
		t := tagOf(i)
		if t == nil {
			continue
		}
		if last < 0 || parts[last].tag != t {
			at, seen := byTag[t]
			if !seen {
				at = len(parts)
				byTag[t] = at
				parts = append(parts, part{tag: t, at: make([]int, 0, n-i)})
			}
			last = at
		}
		parts[last].at = append(parts[last].at, i)
	}
	return parts
}

// tagFor is the tag of a job of a queue that was leased from, and so entered,
// before.
func (b *Backend) tagFor(queue, id string) *tag { return b.local(queue).tagOf(id) }

// checkCaller says what is wrong with a call about n jobs that a worker holds.
func checkCaller(worker string, n int) error {
	if worker == "" {
		return fmt.Errorf("%w: the call names no worker", backend.ErrRejected)
	}
	if n > backend.MaxBatch {
		return fmt.Errorf("%w: %d jobs in one call, %d are allowed", backend.ErrRejected, n, backend.MaxBatch)
	}
	return nil
}

// Settle implements backend.Consumer.
func (b *Backend) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	if err := checkCaller(request.Worker, len(request.Settlements)); err != nil {
		return nil, b.fail("settle", "", err)
	}
	if request.Call == 0 {
		return nil, b.fail("settle", "", fmt.Errorf("%w: the call has no number; number the calls from 1", backend.ErrRejected))
	}
	results := make([]backend.SettleResult, len(request.Settlements))
	outcomes := make([]outcome, len(request.Settlements))
	for i := range request.Settlements {
		s := &request.Settlements[i]
		err := s.Check()
		if err == nil {
			err = backend.CheckQueue(s.Queue)
		}
		if err == nil {
			outcomes[i], err = b.outcome(s)
		}
		if err != nil {
			results[i].Err = &backend.Error{Op: "settle", Queue: s.Queue, ID: s.ID, Err: err}
		}
	}
	parts := split(len(results), func(i int) *tag {
		if results[i].Err != nil {
			return nil
		}
		s := &request.Settlements[i]
		return b.tagFor(s.Queue, s.ID)
	})
	calls := make([]*call, len(parts))
	for n, p := range parts {
		if calls[n] = settleCommonCall(&request, p, outcomes); calls[n] == nil {
			calls[n] = b.settleCall(&request, p, outcomes)
		}
	}
	if err := b.run(ctx, calls...); err != nil {
		return nil, b.fail("settle", "", err)
	}
	var whole []*call
	for n, p := range parts {
		if reply, err := calls[n].result(); err == nil && reply == any(int64(0)) { // rare
			calls[n] = b.settleCall(&request, p, outcomes)
			whole = append(whole, calls[n])
		}
	}
	if err := b.run(ctx, whole...); err != nil {
		return nil, b.fail("settle", "", err)
	}
	for n, p := range parts {
		reply, err := calls[n].result()
		if spoilt(err) {
			b.setAside("settle", p.tag, err)
			for _, i := range p.at {
				s := &request.Settlements[i]
				results[i].Err = &backend.Error{Op: "settle", Queue: s.Queue, ID: s.ID, Err: classify(err)}
			}
			continue
		}
		if err != nil {
			return nil, b.fail("settle", p.tag.queue, err)
		}
		letters := asString(reply)
		if len(letters) != len(p.at) {
			return nil, b.fail("settle", p.tag.queue, fmt.Errorf("%w: %d answers to %d settlements; was the call number used before?", backend.ErrRejected, len(letters), len(p.at)))
		}
		for k, i := range p.at {
			if letters[k] == '-' {
				results[i].Stale = true
			} else {
				results[i].State = stateOf[letters[k]]
			}
			p.tag.doubt()
		}
	}
	b.tellBlocked(ctx, request.Settlements, results)
	return results, nil
}

// tellBlocked tells the other workers in which queues jobs became blocked: one of them
// may know the kind.
func (b *Backend) tellBlocked(ctx context.Context, settlements []backend.Settlement, results []backend.SettleResult) {
	var told []string
	for i := range results {
		if queue := settlements[i].Queue; results[i].State == backend.StateBlocked && !slices.Contains(told, queue) {
			told = append(told, queue)
			b.tell(ctx, backend.CommandBlocked, queue, []string{""})
		}
	}
}

// settleCommonCall makes the call of the common path, or returns nil if that is not for
// all settlements of the part.
func settleCommonCall(request *backend.SettleRequest, p part, outcomes []outcome) *call {
	c := p.tag.call(settleCommon, "s:"+request.Worker, 2+len(p.at))
	c.add(strconv.FormatUint(request.Call, 10), nil)
	tokens := len(c.args) - 1
	var groups []byte
	members := 0
	for k, i := range p.at {
		s := &request.Settlements[i]
		if outcomes[i].text != forgotten || s.Token == "" || strings.IndexByte(s.Token, 0) >= 0 {
			return nil
		}
		c.args = append(c.args, &s.ID)
		members++
		if k == len(p.at)-1 || request.Settlements[p.at[k+1]].Token != s.Token {
			groups = append(append(groups, s.Token...), 0)
			groups = append(strconv.AppendInt(groups, int64(members), 10), 0)
			members = 0
		}
	}
	c.args[tokens] = groups
	return c
}

// settleCall makes the call for settlements of any kind.
func (b *Backend) settleCall(request *backend.SettleRequest, p part, outcomes []outcome) *call {
	c := p.tag.call(settleScript, "s:"+request.Worker, 5+2*len(p.at))
	c.add(strconv.FormatUint(request.Call, 10), b.retention)
	// Settlements that follow each other with the same token and outcome are a
	// group.
	var token, text string
	size, members := 0, 0 // where the size of the group is, and what it is
	for k, i := range p.at {
		s, o := &request.Settlements[i], &outcomes[i]
		if k == 0 || s.Token != token || o.text != text {
			token, text = s.Token, o.text
			size, members = len(c.args)+2, 0
			c.add(token, text, 0)
		}
		members++
		c.args[size] = members
		if text == forgotten {
			c.args = append(c.args, &s.ID)
		} else {
			c.args = append(c.args, &s.ID, &o.history)
		}
	}
	return c
}

// outcome is what a settlement says, as the script takes it.
type outcome struct{ text, history string }

// forgotten is the text of a job that has completed and is not kept. Its history goes
// with it.
const forgotten = "F"

func (b *Backend) outcome(s *backend.Settlement) (o outcome, err error) {
	if o.text = b.outcomeText(s); o.text != forgotten && s.History != nil {
		o.history, err = encodeHistory(s.History)
	}
	return o, err
}

func (b *Backend) outcomeText(s *backend.Settlement) string {
	switch s.Outcome {
	case backend.OutcomeCompleted:
		keep := s.Keep
		if keep == 0 {
			keep = b.config.Retention.Completed.Age
		}
		if keep <= 0 {
			return forgotten
		}
		return "C" + strconv.FormatInt(millis(keep), 10)
	case backend.OutcomeRetry:
		return "R" + strconv.FormatInt(millis(s.Delay), 10)
	case backend.OutcomeSnoozed:
		return "S" + strconv.FormatInt(millis(s.Delay), 10)
	case backend.OutcomeReleased:
		return "L"
	case backend.OutcomeBlocked:
		return "B" + s.Key
	case backend.OutcomeCancelled:
		return "X"
	}
	return "D"
}

// Renew implements backend.Consumer.
func (b *Backend) Renew(ctx context.Context, request backend.RenewRequest) ([]backend.RenewResult, error) {
	if err := backend.CheckLease(request.Duration); err != nil {
		return nil, b.fail("renew", "", err)
	}
	if err := checkCaller(request.Worker, len(request.Leases)); err != nil {
		return nil, b.fail("renew", "", err)
	}
	results := make([]backend.RenewResult, len(request.Leases))
	for i := range request.Leases {
		held := &request.Leases[i]
		err := backend.CheckQueue(held.Queue)
		if err == nil && len(held.Progress) > backend.MaxPayload {
			err = fmt.Errorf("%w: progress of %d bytes, %d are allowed", backend.ErrRejected, len(held.Progress), backend.MaxPayload)
		}
		if err != nil {
			results[i].Err = &backend.Error{Op: "renew", Queue: held.Queue, ID: held.ID, Err: err}
		}
	}
	parts := split(len(results), func(i int) *tag {
		if results[i].Err != nil {
			return nil
		}
		return b.tagFor(request.Leases[i].Queue, request.Leases[i].ID)
	})
	calls := make([]*call, len(parts))
	for n, p := range parts {
		c := p.tag.call(renewScript, "", 1+3*len(p.at))
		c.add(request.Duration.Milliseconds())
		for _, i := range p.at {
			held := &request.Leases[i]
			progress := ""
			if held.Progress != nil {
				progress = "=" + string(held.Progress)
			}
			c.add(held.ID, held.Token, progress)
		}
		calls[n] = c
	}
	if err := b.run(ctx, calls...); err != nil {
		return nil, b.fail("renew", "", err)
	}
	for n, p := range parts {
		reply, err := calls[n].result()
		if spoilt(err) {
			b.setAside("renew", p.tag, err)
			for _, i := range p.at {
				held := &request.Leases[i]
				results[i].Err = &backend.Error{Op: "renew", Queue: held.Queue, ID: held.ID, Err: classify(err)}
			}
			continue
		}
		letters := asString(reply)
		if err == nil && len(letters) != len(p.at) {
			err = fmt.Errorf("%w: %d answers to %d leases", backend.ErrUnavailable, len(letters), len(p.at))
		}
		if err != nil {
			return nil, b.fail("renew", p.tag.queue, err)
		}
		for k, i := range p.at {
			results[i].Lost = letters[k] == '-'
			results[i].CancelRequested = letters[k] == 'c'
		}
	}
	return results, nil
}
