package backendtest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// calls makes a call of each verb and returns its error by its name.
func (k *kit) calls(ctx context.Context) map[string]error {
	errs := map[string]error{}
	_, errs["enqueue"] = k.Enqueue(ctx, []backend.NewJob{job("new")})
	_, errs["lease"] = k.Lease(ctx, backend.LeaseRequest{Worker: "v", Token: "v.1", Queues: []string{"q"}, Max: 1, Duration: long})
	_, errs["settle"] = k.Settle(ctx, backend.SettleRequest{Worker: "v", Call: 1, Settlements: []backend.Settlement{
		{Queue: "q", ID: "a", Token: "v.1", Outcome: backend.OutcomeDead},
	}})
	_, errs["renew"] = k.Renew(ctx, backend.RenewRequest{Worker: "v", Duration: long, Leases: []backend.Held{{Queue: "q", ID: "a", Token: "v.1"}}})
	_, errs["sweep"] = k.Sweep(ctx, backend.SweepRequest{Queues: []string{"q"}, Duration: long})
	_, errs["job"] = k.Job(ctx, "q", "a")
	_, errs["jobs"] = k.Jobs(ctx, backend.JobsQuery{Queue: "q", State: backend.StateWaiting})
	_, errs["queues"] = k.Queues(ctx)
	_, errs["queue names"] = k.QueueNames(ctx)
	_, errs["queue"] = k.Queue(ctx, "q")
	_, errs["cancel"] = k.Cancel(ctx, "q", []string{"a"})
	_, errs["retry"] = k.Retry(ctx, "q", []string{"a"})
	_, errs["delete"] = k.Delete(ctx, "q", []string{"a"})
	_, errs["run now"] = k.RunNow(ctx, "q", []string{"a"})
	errs["pause"] = k.Pause(ctx, "q", 0)
	errs["resume"] = k.Resume(ctx, "q")
	_, errs["put schedule"] = k.PutSchedule(ctx, schedule("nightly"))
	errs["delete schedule"] = k.DeleteSchedule(ctx, "q", "nightly")
	_, errs["schedules"] = k.Schedules(ctx, backend.SchedulesQuery{Queue: "q"})
	_, errs["tick"] = k.Tick(ctx, []backend.Tick{tickOf(schedule("nightly"), backend.OverlapAllow)})
	_, errs["announce"] = k.Announce(ctx, backend.WorkerInfo{ID: "v", Queues: []string{"q"}}, time.Minute)
	errs["sign off"] = k.SignOff(ctx, "v", []string{"q"})
	_, errs["workers"] = k.Workers(ctx)
	errs["record"] = k.Record(ctx, backend.Record{Worker: "v", Call: 1, Events: []backend.Event{happened("q", "a")}})
	_, errs["figures"] = k.Figures(ctx, backend.FiguresQuery{Queue: "q"})
	_, errs["events"] = k.Events(ctx, backend.EventsQuery{Queue: "q"})
	_, errs["check"] = k.Check(ctx)
	errs["listen"] = k.Listen(ctx, func(backend.Command) {})
	return errs
}

var closeTests = []test{
	{"a ctx that has ended stops every verb before it does anything", func(k *kit) {
		k.enqueueAll("a")
		ctx, cancel := context.WithCancel(k.ctx)
		cancel()
		for verb, err := range k.calls(ctx) {
			require.ErrorIs(k, err, context.Canceled, verb)
		}
		k.requireState(backend.StateWaiting, "a")
		k.requireCounts(map[backend.State]int64{backend.StateWaiting: 1})
		require.Empty(k, k.workers())
	}},
	{"every verb of a closed store says so", func(k *kit) {
		k.enqueueAll("a")
		waiter := k.waiter()
		require.NoError(k, k.Close())
		for verb, err := range k.calls(k.ctx) {
			require.ErrorIs(k, err, backend.ErrClosed, verb)
		}
		k.requireFailure(backend.ErrClosed, waiter.wait(), "the store was closed")
		require.NoError(k, k.Close(), "a second Close does nothing")
	}},
	{"Close ends the calls in flight", func(k *kit) {
		ended := k.waiter().wait()
		listening := make(chan error, 1)
		go func() { listening <- k.Listen(k.ctx, func(backend.Command) {}) }()
		settleDown()
		require.NoError(k, k.Close())
		k.requireFailure(backend.ErrClosed, ended, "the store was closed")
		select {
		case err := <-listening:
			require.ErrorIs(k, err, backend.ErrClosed)
		case <-time.After(soon):
			require.Fail(k, "Listen goes on after Close")
		}
	}},
}
