package backendtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

const (
	// long is a lease that does not expire during a test, short one that does.
	long  = time.Minute
	short = 150 * time.Millisecond
	// soon bounds what has to happen at once, patience what has to happen at
	// all: both are generous, as machines are noisy.
	soon     = 3 * time.Second
	patience = 2 * time.Minute
	// never is longer than a test.
	never = time.Hour
)

// kit is what a test of the suite works with: a store, and the queue "q".
type kit struct {
	*testing.T
	backend.Backend
	ctx     context.Context
	waiters int
}

func newKit(t *testing.T, b backend.Backend) *kit {
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return &kit{T: t, Backend: b, ctx: ctx}
}

// job describes a job in queue "q".
func job(id string, options ...func(*backend.NewJob)) backend.NewJob {
	j := backend.NewJob{Job: backend.Job{ID: id, Queue: "q", Kind: "kind", Payload: []byte("payload of " + id)}}
	for _, option := range options {
		option(&j)
	}
	return j
}

func in(queue string) func(*backend.NewJob) { return func(j *backend.NewJob) { j.Queue = queue } }

func priority(p int) func(*backend.NewJob) { return func(j *backend.NewJob) { j.Priority = p } }

func delay(d time.Duration) func(*backend.NewJob) { return func(j *backend.NewJob) { j.Delay = d } }

// named returns count ids that sort as they are made.
func named(prefix string, count int) []string {
	ids := make([]string, count)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%05d", prefix, i)
	}
	return ids
}

// enqueue stores jobs that must be accepted.
func (k *kit) enqueue(jobs ...backend.NewJob) []backend.Receipt {
	k.Helper()
	receipts, err := k.Enqueue(k.ctx, jobs)
	require.NoError(k, err)
	require.Len(k, receipts, len(jobs))
	for i, r := range receipts {
		require.Equal(k, jobs[i].ID, r.ID)
		require.Equal(k, jobs[i].Queue, r.Queue)
		require.NoError(k, r.Err)
	}
	return receipts
}

func (k *kit) enqueueAll(ids ...string) {
	k.Helper()
	jobs := make([]backend.NewJob, len(ids))
	for i, id := range ids {
		jobs[i] = job(id)
	}
	k.enqueue(jobs...)
}

// get reads a job of queue "q" that must be there.
func (k *kit) get(id string) backend.JobInfo {
	k.Helper()
	info, err := k.Job(k.ctx, "q", id)
	require.NoError(k, err)
	return info
}

func (k *kit) requireState(want backend.State, ids ...string) {
	k.Helper()
	for _, id := range ids {
		require.Equal(k, want, k.get(id).State, "state of %q", id)
	}
}

func (k *kit) requireGone(ids ...string) {
	k.Helper()
	for _, id := range ids {
		_, err := k.Job(k.ctx, "q", id)
		require.ErrorIs(k, err, backend.ErrNotFound, "job %q", id)
	}
}

func (k *kit) info() backend.QueueInfo {
	k.Helper()
	info, err := k.Queue(k.ctx, "q")
	require.NoError(k, err)
	return info
}

// requireCounts compares the counts of queue "q"; states left out must be empty.
func (k *kit) requireCounts(want map[backend.State]int64) {
	k.Helper()
	full := map[backend.State]int64{}
	for _, s := range backend.States {
		full[s] = want[s]
	}
	require.Equal(k, full, k.info().Counts)
}

// eventually calls done until it is true.
func (k *kit) eventually(what string, done func() bool) {
	k.Helper()
	for start := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			require.Fail(k, "it did not happen in time", what)
		}
	}
}

// sweep does the housekeeping of queue "q" until there is none left.
func (k *kit) sweep(lease time.Duration) (reclaimed int) {
	k.Helper()
	for {
		reply, err := k.Sweep(k.ctx, backend.SweepRequest{Queues: []string{"q"}, Duration: lease})
		require.NoError(k, err)
		reclaimed += reply.Reclaimed
		if !reply.More {
			return reclaimed
		}
	}
}

// act returns the result of an operator's verb on one job.
func (k *kit) act(verb func(context.Context, string, []string) ([]backend.ActResult, error), id string) backend.ActResult {
	k.Helper()
	results, err := verb(k.ctx, "q", []string{id})
	require.NoError(k, err)
	require.Len(k, results, 1)
	require.Equal(k, id, results[0].ID)
	return results[0]
}

// acted is act where the verb must succeed.
func (k *kit) acted(verb func(context.Context, string, []string) ([]backend.ActResult, error), id string, want backend.State) {
	k.Helper()
	result := k.act(verb, id)
	require.NoError(k, result.Err)
	require.Equal(k, want, result.State)
}

// worker leases and settles under an id of its own.
type worker struct {
	*kit
	id     string
	queues []string
	tokens int
	calls  uint64
}

func (k *kit) worker(id string) *worker { return &worker{kit: k, id: id, queues: []string{"q"}} }

// request is a new request for leases on the worker's queues, "q" if nothing else
// is said.
func (w *worker) request(limit int) backend.LeaseRequest {
	w.tokens++
	return backend.LeaseRequest{
		Worker: w.id, Token: fmt.Sprintf("%s.%d", w.id, w.tokens),
		Queues: w.queues, Max: limit, Duration: long,
	}
}

func (w *worker) send(request backend.LeaseRequest) backend.LeaseReply {
	w.Helper()
	reply, err := w.Lease(w.ctx, request)
	require.NoError(w, err)
	for _, l := range reply.Leases {
		require.NoError(w, l.Err)
		require.Equal(w, request.Token, l.Token)
	}
	return reply
}

func (w *worker) lease(limit int) []backend.Lease {
	w.Helper()
	return w.send(w.request(limit)).Leases
}

// leaseFor leases jobs for a duration that all workers of a test agree on.
func (w *worker) leaseFor(limit int, duration time.Duration) []backend.Lease {
	w.Helper()
	request := w.request(limit)
	request.Duration = duration
	return w.send(request).Leases
}

// leaseOne leases the one job that must be next.
func (w *worker) leaseOne(id string) backend.Lease {
	w.Helper()
	leases := w.lease(1)
	require.Equal(w, []string{id}, leased(leases))
	return leases[0]
}

func (w *worker) settleRequest(settlements ...backend.Settlement) backend.SettleRequest {
	w.calls++
	return backend.SettleRequest{Worker: w.id, Call: w.calls, Settlements: settlements}
}

// settle makes a new call of Settle.
func (w *worker) settle(settlements ...backend.Settlement) []backend.SettleResult {
	w.Helper()
	return w.sendSettle(w.settleRequest(settlements...))
}

func (w *worker) sendSettle(request backend.SettleRequest) []backend.SettleResult {
	w.Helper()
	results, err := w.Settle(w.ctx, request)
	require.NoError(w, err)
	require.Len(w, results, len(request.Settlements))
	return results
}

// settled makes a new call of Settle for one job, which must be applied.
func (w *worker) settled(l backend.Lease, outcome backend.Outcome, want backend.State, options ...func(*backend.Settlement)) {
	w.Helper()
	result := w.settle(settlement(l, outcome, options...))[0]
	require.NoError(w, result.Err)
	require.False(w, result.Stale, "the settlement of %q is stale", l.Job.ID)
	require.Equal(w, want, result.State)
}

func settlement(l backend.Lease, outcome backend.Outcome, options ...func(*backend.Settlement)) backend.Settlement {
	s := backend.Settlement{Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token, Outcome: outcome}
	if outcome == backend.OutcomeBlocked {
		s.Key = "key"
	}
	for _, option := range options {
		option(&s)
	}
	return s
}

func settlements(leases []backend.Lease, outcome backend.Outcome, options ...func(*backend.Settlement)) []backend.Settlement {
	s := make([]backend.Settlement, len(leases))
	for i := range leases {
		s[i] = settlement(leases[i], outcome, options...)
	}
	return s
}

func after(d time.Duration) func(*backend.Settlement) {
	return func(s *backend.Settlement) { s.Delay = d }
}

func keep(d time.Duration) func(*backend.Settlement) {
	return func(s *backend.Settlement) { s.Keep = d }
}

func on(key string) func(*backend.Settlement) {
	return func(s *backend.Settlement) { s.Key = key }
}

func with(h backend.History) func(*backend.Settlement) {
	return func(s *backend.Settlement) { s.History = &h }
}

// renew prolongs one lease.
func (w *worker) renew(l backend.Lease, duration time.Duration, progress []byte) backend.RenewResult {
	w.Helper()
	results, err := w.Renew(w.ctx, backend.RenewRequest{
		Worker: w.id, Duration: duration,
		Leases: []backend.Held{{Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token, Progress: progress}},
	})
	require.NoError(w, err)
	require.Len(w, results, 1)
	require.NoError(w, results[0].Err)
	return results[0]
}

// lapse has leases end soon and together, after what was to happen while they lasted.
func (w *worker) lapse(leases ...backend.Lease) {
	w.Helper()
	request := backend.RenewRequest{Worker: w.id, Duration: short}
	for _, l := range leases {
		request.Leases = append(request.Leases, backend.Held{Queue: l.Job.Queue, ID: l.Job.ID, Token: l.Token})
	}
	_, err := w.Renew(w.ctx, request)
	require.NoError(w, err)
}

// leased returns the ids of leases.
func leased(leases []backend.Lease) []string {
	ids := make([]string, len(leases))
	for i := range leases {
		ids[i] = leases[i].Job.ID
	}
	return ids
}
