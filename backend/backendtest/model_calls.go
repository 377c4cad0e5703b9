package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

func (p *player) enqueue(limit int) {
	n := rapid.IntRange(1, limit).Draw(p.T, "jobs")
	jobs := make([]backend.NewJob, n)
	for i := range jobs {
		jobs[i].Job = backend.Job{
			ID:       rapid.SampledFrom(modelIDs).Draw(p.T, "id"),
			Queue:    p.queue,
			Kind:     "kind",
			Payload:  rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(p.T, "payload"),
			Priority: rapid.IntRange(backend.PriorityLowest, backend.PriorityHighest).Draw(p.T, "priority"),
		}
		if rapid.Bool().Draw(p.T, "delayed") {
			jobs[i].Delay = never
		}
		jobs[i].ReplaceFinished = rapid.Bool().Draw(p.T, "replacing")
		if jobs[i].Lane = p.lane(); p.racing {
			jobs[i].Priority, jobs[i].Delay = 0, 0
			continue
		}
		jobs[i].Unique = p.unique()
		jobs[i].Limits = p.limits()
	}
	receipts, err := p.store.Enqueue(p.ctx, jobs)
	want := p.model.enqueue(jobs)
	limited := false
	for i := range want {
		if want[i].Err != nil && i < len(receipts) {
			require.ErrorIs(p, receipts[i].Err, backend.ErrLimited)
			receipts[i].Err, limited = backend.ErrLimited, true
		}
	}
	require.Equal(p, want, receipts)
	if limited {
		require.ErrorIs(p, err, backend.ErrLimited)
	} else {
		require.NoError(p, err)
	}
}

func (p *player) worker() *modelWorker { return rapid.SampledFrom(p.workers).Draw(p.T, "worker") }

var modelKeys = []string{"k", "kk"}

func (p *player) lease() {
	w := p.worker()
	w.tokens++
	request := backend.LeaseRequest{
		Worker: w.id, Token: fmt.Sprintf("%s.%d", w.id, w.tokens), Queues: []string{p.queue},
		Unblock:  rapid.SliceOfDistinct(rapid.SampledFrom(modelKeys), rapid.ID[string]).Draw(p.T, "unblock"),
		Max:      rapid.IntRange(0, 5).Draw(p.T, "max"),
		Duration: never,
	}
	reply, err := p.store.Lease(p.ctx, request)
	require.NoError(p, err)
	w.asked, w.given = request, nil
	for i, l := range reply.Leases {
		next, at := p.nextIs(request.Unblock, l.Job.ID)
		if at < 0 { // one that is parked may have gone on to another limit before, with the slot of its first
			p.followAll()
			next, at = p.nextIs(request.Unblock, l.Job.ID)
		}
		require.GreaterOrEqual(p, at, 0, "lease %d of %v: %q is not next", i, leased(reply.Leases), l.Job.ID)
		p.handOut(next[at])
		p.model.lease(next[at], w.id, request.Token)
		w.given = append(w.given, l.Job.ID)
		w.granted = append(w.granted, backend.Held{Queue: p.queue, ID: l.Job.ID, Token: request.Token})
	}
	if len(reply.Leases) < request.Max {
		if len(p.model.next(request.Unblock)) > 0 {
			p.followAll()
		}
		require.Empty(p, p.model.next(request.Unblock), "fewer leases than asked for, while jobs wait")
	}
	p.park(len(reply.Leases) < request.Max)
	require.LessOrEqual(p, len(reply.Leases), request.Max)
	p.compareLeases(request, reply)
}

func (p *player) leaseAgain() {
	w := p.worker()
	request := w.asked
	if request.Token == "" {
		return
	}
	if rapid.Bool().Draw(p.T, "ask for none") {
		request.Max = 0
	}
	want := []string{}
	for _, id := range w.given {
		if p.model.held(id, request.Token) != nil {
			want = append(want, id)
		}
	}
	reply, err := p.store.Lease(p.ctx, request)
	require.NoError(p, err)
	require.Equal(p, want, leased(reply.Leases), "the repeated Lease")
	p.compareLeases(request, reply)
}

func (p *player) settle() {
	w := p.worker()
	w.call.Worker = w.id
	w.call.Call++
	w.call.Settlements = nil
	if len(w.granted) > 0 {
		for range rapid.IntRange(1, 4).Draw(p.T, "settlements") {
			w.call.Settlements = append(w.call.Settlements, p.settlement(p.grant(w)))
		}
	}
	w.answer = p.model.settle(w.call.Settlements)
	p.sendSettle(w)
}

func (p *player) settleAgain() {
	if w := p.worker(); w.call.Call > 0 {
		p.sendSettle(w)
	}
}

func (p *player) sendSettle(w *modelWorker) {
	results, err := p.store.Settle(p.ctx, w.call)
	require.NoError(p, err)
	require.Len(p, results, len(w.answer))
	for i, r := range results {
		want := w.answer[i]
		if want.Err != nil {
			require.ErrorIs(p, r.Err, want.Err)
			r.Err = want.Err
		}
		require.Equal(p, want, r, "settlement %d as %v", i, w.call.Settlements[i].Outcome)
	}
}

// grant draws a lease that a worker was ever given; the last ones are the most
// likely.
func (p *player) grant(w *modelWorker) backend.Held {
	n := len(w.granted)
	held := w.granted[n-1-rapid.IntRange(0, min(n, 8)-1).Draw(p.T, "lease")]
	if e := p.model.jobs[held.ID]; e != nil && e.worker == w.id && rapid.Bool().Draw(p.T, "held") {
		held.Token = e.token
	}
	return held
}

func (p *player) settlement(held backend.Held) backend.Settlement {
	s := backend.Settlement{Queue: held.Queue, ID: held.ID, Token: held.Token}
	s.Outcome = rapid.SampledFrom([]backend.Outcome{1, 2, 3, 4, 5, 6, 7, 4, 0}).Draw(p.T, "outcome")
	if rapid.Bool().Draw(p.T, "later") {
		s.Delay = never
	}
	s.Keep = rapid.SampledFrom([]time.Duration{0, -1, never}).Draw(p.T, "keep")
	s.Key = rapid.SampledFrom(modelKeys).Draw(p.T, "key")
	if rapid.Bool().Draw(p.T, "history") {
		s.History = &backend.History{Attempts: rapid.IntRange(0, 3).Draw(p.T, "attempts"), Worker: "w", StartedAt: pastInstant}
		if e := p.model.jobs[held.ID]; e != nil {
			s.History.Progress = e.history.Progress
		}
		if rapid.Bool().Draw(p.T, "failure") {
			s.History.Failures = []backend.Failure{{Attempt: s.History.Attempts, At: pastInstant, Error: "error"}}
		}
	}
	return s
}

func (p *player) renew() {
	w := p.worker()
	if len(w.granted) == 0 {
		return
	}
	request := backend.RenewRequest{Worker: w.id, Duration: never}
	for range rapid.IntRange(1, 3).Draw(p.T, "leases") {
		held := p.grant(w)
		if rapid.Bool().Draw(p.T, "progress") {
			held.Progress = []byte(rapid.SampledFrom([]string{"1", "22"}).Draw(p.T, "done"))
		}
		request.Leases = append(request.Leases, held)
	}
	results, err := p.store.Renew(p.ctx, request)
	require.NoError(p, err)
	require.Equal(p, p.model.renew(request.Leases), results)
}

func (p *player) saveHistory() {
	w := p.worker()
	if len(w.granted) == 0 {
		return
	}
	held := p.grant(w)
	h := backend.History{Attempts: rapid.IntRange(0, 3).Draw(p.T, "attempts"), Worker: w.id, Progress: []byte("none")}
	h.Checkpoint = []byte(rapid.SampledFrom([]string{"1", "22"}).Draw(p.T, "checkpoint"))
	err := p.store.SaveHistory(p.ctx, held, h)
	if !p.model.saveHistory(held, h) {
		require.ErrorIs(p, err, backend.ErrState)
		return
	}
	require.NoError(p, err)
}

// expire shortens the leases of one worker and waits until they have expired. It
// takes real time, so it does so rarely.
func (p *player) expire() {
	w := p.worker()
	request := backend.RenewRequest{Worker: w.id, Duration: backend.MinLease}
	var all []*entry
	for _, id := range modelIDs {
		if e := p.model.jobs[id]; e != nil && e.state == backend.StateRunning && e.worker == w.id {
			all = append(all, e)
			request.Leases = append(request.Leases, backend.Held{Queue: p.queue, ID: id, Token: e.token})
		}
	}
	if len(all) == 0 {
		return
	}
	for range 7 {
		if !rapid.Bool().Draw(p.T, "rarely") {
			return
		}
	}
	results, err := p.store.Renew(p.ctx, request)
	require.NoError(p, err)
	require.Equal(p, p.model.renew(request.Leases), results)
	reclaimed := 0
	for start := time.Now(); reclaimed < len(all); time.Sleep(10 * time.Millisecond) {
		require.Less(p, time.Since(start), patience, "the leases are not taken back")
		reply, err := p.store.Sweep(p.ctx, backend.SweepRequest{Queues: []string{p.queue}, Duration: backend.MinLease})
		require.NoError(p, err)
		reclaimed += reply.Reclaimed
	}
	require.Equal(p, len(all), reclaimed)
	p.model.expire(all)
}

func (p *player) act(name string, verb func(context.Context, string, []string) ([]backend.ActResult, error)) {
	ids := rapid.SliceOfN(rapid.SampledFrom(modelIDs), 1, 3).Draw(p.T, "ids")
	results, err := verb(p.ctx, p.queue, ids)
	require.NoError(p, err)
	require.Len(p, results, len(ids))
	for i, r := range results {
		want := p.model.act(name, ids[i])
		if want.Err != nil && errors.Is(r.Err, want.Err) {
			r.Err = want.Err
		}
		require.Equal(p, want, r, "%s %q", name, ids[i])
	}
}

func (p *player) pause() {
	p.model.paused = rapid.Bool().Draw(p.T, "paused")
	if !p.model.paused {
		require.NoError(p, p.store.Resume(p.ctx, p.queue))
		return
	}
	p.model.pausedFor = rapid.SampledFrom([]time.Duration{0, never}).Draw(p.T, "for")
	require.NoError(p, p.store.Pause(p.ctx, p.queue, p.model.pausedFor))
	p.model.known = true
}

func (p *player) sweep() {
	keys := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"k", "kk", "kkk"}), rapid.ID[string]).Draw(p.T, "keys")
	reply, err := p.store.Sweep(p.ctx, backend.SweepRequest{Queues: []string{p.queue}, Duration: never, Keys: keys})
	require.NoError(p, err)
	require.Zero(p, reply.Reclaimed)
	require.Zero(p, reply.Trimmed)
	require.False(p, reply.More)
	blocked := slices.DeleteFunc(p.model.blockedOn(), func(key string) bool { return !slices.Contains(keys, key) })
	require.ElementsMatch(p, blocked, reply.Blocked)
}
