package backendtest

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// compareLeases compares what a reply holds with the model after the lease.
func (p *player) compareLeases(request backend.LeaseRequest, reply backend.LeaseReply) {
	for _, l := range reply.Leases {
		e := p.model.jobs[l.Job.ID]
		require.NoError(p, l.Err)
		require.Equal(p, request.Token, l.Token)
		require.Equal(p, e.crashes, l.Crashes)
		require.Equal(p, described(e.job), described(l.Job))
		require.Equal(p, past(e.history), past(l.History))
		require.True(p, l.ExpiresAt.After(reply.Now))
	}
	// Whether there is room for what waits it has not looked.
	if more := len(p.model.next(request.Unblock)) > 0; more || !p.model.limited() {
		require.Equal(p, more, reply.More, "More")
	}
	require.ElementsMatch(p, p.model.blockedOn(), reply.Blocked)
	require.Equal(p, p.model.paused, slices.Equal(reply.Paused, []string{p.queue}), "Paused is %v", reply.Paused)
	pending := p.model.count(backend.StateScheduled) + p.model.count(backend.StateRunning)
	if pending > 0 || p.model.ends() || !p.model.limited() { // tokens come some time
		require.Equal(p, pending > 0 || p.model.ends(), !reply.NextDue.IsZero(), "NextDue is %v", reply.NextDue)
	}
}

func (p *player) compareQueue() {
	info, err := p.store.Queue(p.ctx, p.queue)
	require.NoError(p, err)
	require.Equal(p, p.model.counts(), info.Counts)
	require.Equal(p, p.model.paused, info.Paused)
	require.Equal(p, p.model.ends(), !info.PausedUntil.IsZero(), "PausedUntil is %v", info.PausedUntil)
	require.Equal(p, p.model.count(backend.StateWaiting) > 0, !info.OldestWaiting.IsZero())
	m := p.model
	require.Equal(p, [6]int64{m.completed, m.failed, m.cancelled, m.dead, m.crashed, 0},
		[6]int64{info.Completed, info.Failed, info.Cancelled, info.Dead, info.Crashed, info.Trimmed},
		"completed, failed, cancelled, dead, crashed, trimmed")
}

func (p *player) compareJob(id string) {
	info, err := p.store.Job(p.ctx, p.queue, id)
	e := p.model.jobs[id]
	if e == nil {
		require.ErrorIs(p, err, backend.ErrNotFound, "job %q", id)
		return
	}
	require.NoError(p, err)
	p.compareInfo(e, info)
}

func (p *player) compareInfo(e *entry, info backend.JobInfo) {
	type visible struct {
		job                  backend.Job
		state                backend.State
		history              backend.History
		crashes              int
		key, token, worker   string
		cancelRequested      bool
		scheduled, keptUntil bool
	}
	require.Equal(p, visible{
		described(e.job), e.state, past(e.history), e.crashes, e.key, e.token, e.worker, e.cancelRequested,
		e.state == backend.StateScheduled, e.state.Final(),
	}, visible{
		described(info.Job), info.State, past(info.History), info.Crashes, info.BlockedOn, info.Token, info.LeasedBy,
		info.CancelRequested, !info.ScheduledFor.IsZero(), !info.KeptUntil.IsZero(),
	}, "job %q", e.job.ID)
}

func (p *player) comparePages(state backend.State, limit int) {
	ids := []string{}
	query := backend.JobsQuery{Queue: p.queue, State: state, Limit: limit}
	for pages := 0; ; pages++ {
		require.Less(p, pages, 1000, "the pages do not end")
		page, err := p.store.Jobs(p.ctx, query)
		require.NoError(p, err)
		require.LessOrEqual(p, len(page.Jobs), limit)
		for _, info := range page.Jobs {
			e := p.model.jobs[info.ID]
			require.NotNil(p, e, "job %q is listed", info.ID)
			p.compareInfo(e, info)
			ids = append(ids, info.ID)
		}
		require.LessOrEqual(p, len(ids), len(modelIDs), "the %s jobs are listed without end", state)
		if page.Next == "" {
			break
		}
		query.Cursor = page.Next
	}
	slices.Sort(ids)
	require.Equal(p, p.model.in(state), ids, "the %s jobs", state)
}
