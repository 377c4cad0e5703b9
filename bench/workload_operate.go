package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

const (
	// backlogQueue has jobs that wait and that no worker takes.
	backlogQueue = "backlog"
	// buriedEach is how many dead jobs a store keeps of a queue; those of the workload are in
	// as many queues as that takes.
	buriedEach = 10_000
	// requestsEach is how often a page is asked for, each time of a dashboard that remembers
	// nothing; rounds is how often the worker is measured alone and beside an operation.
	requestsEach  = 11
	besideRounds  = 4
	besideWorkers = 50
)

// operating measures what people on call do in a store with twenty times as many jobs waiting
// as a drain has, twice as many dead and a fifth of them parked: each page of the dashboard,
// with what it asks of the store, and what an operation on the dead jobs costs a worker.
func operating(ctx context.Context, b *bench) error {
	waiting, dead, parked := b.part(20, 1), b.part(2, 1), b.part(1, 5)
	return b.turns(ctx, b.among(caddisPeer), func(run int, p *peer) error {
		r, err := b.rig(ctx, p, place{concurrency: besideWorkers})
		if err != nil {
			return err
		}
		defer r.close()
		if err := r.warmUp(ctx, r.store, besideWorkers, min(b.jobs, warmJobs)); err != nil {
			return err
		}
		s := r.store.(*caddisStore)
		r.staying = int64(parkedKeys + parked)
		graves, err := bury(ctx, s, dead)
		if err := errors.Join(err, park(ctx, s, jobs.DefaultQueue, parked), pileUp(ctx, s, waiting)); err != nil {
			return err
		}
		of := settings{"waiting": waiting, "dead": dead, "parked": parked}
		if err := b.pages(ctx, run, p, s, graves[0], of); err != nil {
			return err
		}
		return b.besideOperation(ctx, run, r, graves, of)
	})
}

// pileUp stores jobs that no worker takes.
func pileUp(ctx context.Context, s *caddisStore, n int) error {
	for first := 0; first < n; first += batchSize {
		if err := enqueueTo(ctx, s, backlogQueue, first, min(batchSize, n-first)); err != nil {
			return err
		}
	}
	return nil
}

func enqueueTo(ctx context.Context, s *caddisStore, queue string, first, count int) error {
	items := make([]jobs.Item, count)
	for i := range items {
		items[i] = jobs.New(newTask(first+i), jobs.Queue(queue))
	}
	_, err := s.client.EnqueueMany(ctx, items...)
	return err
}

// bury stores jobs that are dead, and answers their queues.
func bury(ctx context.Context, s *caddisStore, n int) (queues []string, err error) {
	const worker = "digger"
	for first := 0; first < n; first += batchSize {
		queue := "graves-" + strconv.Itoa(first/buriedEach)
		if !slices.Contains(queues, queue) {
			queues = append(queues, queue)
		}
		count := min(batchSize, n-first)
		if err := enqueueTo(ctx, s, queue, first, count); err != nil {
			return nil, err
		}
		call := uint64(first + 1)
		reply, err := s.backend.Lease(ctx, backend.LeaseRequest{
			Worker: worker, Token: worker + "." + strconv.FormatUint(call, 10), Queues: []string{queue}, Max: count, Duration: time.Hour,
		})
		if err != nil {
			return nil, err
		}
		settlements := make([]backend.Settlement, len(reply.Leases))
		for i, l := range reply.Leases {
			failure := backend.Failure{Attempt: 1, At: time.Now(), Worker: worker, Error: fmt.Sprintf("user %d: connection refused", first+i)}
			settlements[i] = backend.Settlement{
				Queue: queue, ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeDead,
				History: &backend.History{Attempts: 1, Failures: []backend.Failure{failure}, FinishedAt: time.Now()},
			}
		}
		if _, err := s.backend.Settle(ctx, backend.SettleRequest{Worker: worker, Call: call, Settlements: settlements}); err != nil {
			return nil, err
		}
	}
	all := int64(0)
	for _, queue := range queues {
		info, err := s.client.Queue(ctx, queue)
		if err != nil {
			return nil, err
		}
		all += info.Counts[backend.StateDead]
	}
	if all != int64(n) {
		return nil, fmt.Errorf("%d jobs are dead, want %d", all, n)
	}
	return queues, nil
}

// asked is a store that counts the calls that a page makes.
type asked struct {
	backend.Backend
	calls atomic.Int64
}

func (a *asked) Job(ctx context.Context, queue, id string) (backend.JobInfo, error) {
	a.calls.Add(1)
	return a.Backend.Job(ctx, queue, id)
}

func (a *asked) Jobs(ctx context.Context, q backend.JobsQuery) (backend.JobsPage, error) {
	a.calls.Add(1)
	return a.Backend.Jobs(ctx, q)
}

func (a *asked) Queues(ctx context.Context) ([]backend.QueueInfo, error) {
	a.calls.Add(1)
	return a.Backend.Queues(ctx)
}

func (a *asked) Queue(ctx context.Context, name string) (backend.QueueInfo, error) {
	a.calls.Add(1)
	return a.Backend.Queue(ctx, name)
}

func (a *asked) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	a.calls.Add(1)
	return a.Backend.Workers(ctx)
}

func (a *asked) Schedules(ctx context.Context, q backend.SchedulesQuery) (backend.SchedulesPage, error) {
	a.calls.Add(1)
	return a.Backend.Schedules(ctx, q)
}

func (a *asked) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	a.calls.Add(1)
	return a.Backend.Memo(ctx, name, key)
}

func (a *asked) WriteMemo(ctx context.Context, w backend.MemoWrite) (backend.Memo, error) {
	a.calls.Add(1)
	return a.Backend.WriteMemo(ctx, w)
}

func (a *asked) Events(ctx context.Context, q backend.EventsQuery) (backend.EventsPage, error) {
	a.calls.Add(1)
	return a.Backend.Events(ctx, q)
}

func (a *asked) Figures(ctx context.Context, q backend.FiguresQuery) (backend.Series, error) {
	a.calls.Add(1)
	return a.Backend.Figures(ctx, q)
}

func (a *asked) Limit(ctx context.Context, q backend.LimitQuery) (backend.LimitInfo, error) {
	a.calls.Add(1)
	return a.Backend.Limit(ctx, q)
}

func (a *asked) Check(ctx context.Context) ([]backend.Warning, error) {
	a.calls.Add(1)
	return a.Backend.Check(ctx)
}

// pages measures each page on the server, from the request to its last byte.
func (b *bench) pages(ctx context.Context, run int, p *peer, s *caddisStore, grave string, of settings) error {
	counted := &asked{Backend: s.backend}
	client, err := jobs.NewClient(counted, jobs.ClientConfig{})
	if err != nil {
		return err
	}
	if _, _, err := ask(ctx, client, "", counted); err != nil { // the server has the scripts then
		return err
	}
	page, err := s.client.Jobs(ctx, backend.JobsQuery{Queue: backlogQueue, State: backend.StateWaiting, Limit: 1})
	if err != nil {
		return err
	}
	id := url.QueryEscape(page.Jobs[0].ID)
	for _, path := range []string{
		"", "figures", "queues", "queue?name=" + backlogQueue, "queue?name=" + grave, "jobs", "jobs?state=dead", "jobs?state=blocked",
		"jobs?state=dead&error=none", "jobs?state=waiting&kind=none", "job?queue=" + backlogQueue + "&id=" + id, "find?id=" + id, "errors",
		"workers", "schedules", "limits", "limit?queue=" + jobs.DefaultQueue + "&name=key&key=1", "operations", "audit",
	} {
		var took []float64
		var calls int64
		for range requestsEach {
			ms, n, err := ask(ctx, client, path, counted)
			if err != nil {
				return err
			}
			took, calls = append(took, ms), max(calls, n)
		}
		slices.Sort(took)
		name := "page /" + path
		if len(name) > 40 {
			name = name[:40]
		}
		b.note(p, run, name, "median", took[len(took)/2], "ms", of)
		b.note(p, run, name, "slowest", took[len(took)-1], "ms", of)
		b.note(p, run, name, "store calls", float64(calls), "calls", of)
	}
	return nil
}

// ask asks a new dashboard for a page, and answers how long that took and how many calls.
func ask(ctx context.Context, client *jobs.Client, path string, counted *asked) (ms float64, calls int64, err error) {
	board, err := dashboard.New(client, dashboard.Config{Logger: quietLogger})
	if err != nil {
		return 0, 0, err
	}
	defer board.Close()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/"+path, nil)
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8280"
	w := httptest.NewRecorder()
	before, began := counted.calls.Load(), time.Now()
	board.ServeHTTP(w, r)
	ms, calls = milliseconds(time.Since(began)), counted.calls.Load()-before
	if w.Code != http.StatusOK && w.Code != http.StatusSeeOther {
		return 0, 0, fmt.Errorf("the page %s answers %d: %s", path, w.Code, w.Body)
	}
	return ms, calls, nil
}

// besideOperation measures a busy worker alone and beside an operation that retries dead jobs
// of other queues, in turns.
func (b *bench) besideOperation(ctx context.Context, run int, r *rig, graves []string, of settings) error {
	s := r.store.(*caddisStore)
	drain := func() (float64, error) {
		if err := fill(ctx, r.peer, s, b.jobs); err != nil {
			return 0, err
		}
		took, err := r.run(ctx, s, besideWorkers, newLedger(b.jobs))
		return rate(b.jobs, took), err
	}
	operations := operate.NewOperations(s.client, quietLogger, nil)
	defer operations.Close()
	var rates [2][]float64
	var retried int64
	for range besideRounds {
		alone, err := drain()
		if err != nil {
			return err
		}
		o, err := operations.Start(ctx, operate.Request{Act: operate.ActRetry, Queues: graves, State: backend.StateDead, By: "bench"})
		if err != nil {
			return err
		}
		beside, err := drain()
		if err != nil {
			return err
		}
		if o, err = ended(ctx, operations, o.ID); err != nil {
			return err
		}
		if o.Phase != operate.PhaseStopped && !b.quick {
			return fmt.Errorf("the operation was %s before the drain was: %s", o.Phase, o.Error)
		}
		retried += o.Applied
		rates[0], rates[1] = append(rates[0], alone), append(rates[1], beside)
	}
	for i, name := range []string{"worker alone", "beside an operation"} {
		slices.Sort(rates[i])
		b.note(r.peer, run, name, "drain", rates[i][len(rates[i])/2], "jobs/s", of)
	}
	loss := 100 * (1 - rates[1][len(rates[1])/2]/rates[0][len(rates[0])/2])
	b.note(r.peer, run, "beside an operation", "slower by", loss, "%", of)
	b.note(r.peer, run, "beside an operation", "jobs retried meanwhile", float64(retried), "jobs", of)
	return nil
}

// ended stops an operation, and waits until it has.
func ended(ctx context.Context, operations *operate.Operations, id string) (operate.Operation, error) {
	if _, err := operations.Stop(ctx, id, "bench"); err != nil {
		return operate.Operation{}, err
	}
	for {
		o, err := operations.Get(ctx, id)
		if err != nil || o.Phase != operate.PhaseRunning {
			return o, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return o, context.Cause(ctx)
		}
	}
}
