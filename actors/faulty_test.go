package actors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// faulty is a store between the worker and the true one. It notes every call and
// lets a test break any verb: before the effect, after it, or by taking time.
type faulty struct {
	backend.Backend

	mu    sync.Mutex
	rules map[string]rule
	calls map[string][]time.Time
	lease []backend.LeaseRequest
	sets  []backend.SettleRequest
	renew []backend.RenewRequest
	sweep []backend.SweepRequest
	// records are all, also those that failed.
	records []backend.Record
	// hidden are queues that the store does not tell of.
	hidden []string
	// broken is closed when a rule for waits is set.
	broken chan struct{}
}

// rule stands around the calls of a verb; call has the effect.
type rule func(ctx context.Context, call func() error) error

var errDown = fmt.Errorf("the test has cut the line: %w", backend.ErrUnavailable)

// down fails without an effect.
func down(context.Context, func() error) error { return errDown }

// lostReply fails after the effect.
func lostReply(_ context.Context, call func() error) error {
	if err := call(); err != nil {
		return err
	}
	return errDown
}

// hangs ends only with its context, without an effect.
func hangs(ctx context.Context, _ func() error) error {
	<-ctx.Done()
	return errors.Join(errDown, ctx.Err())
}

// held has its effect when the gate opens, or ends with its context without one.
func held(gate <-chan struct{}) rule {
	return func(ctx context.Context, call func() error) error {
		select {
		case <-gate:
			return call()
		case <-ctx.Done():
			return hangs(ctx, call)
		}
	}
}

// first applies a rule to the first n calls, and none to the rest.
func first(n int, r rule) rule {
	var mu sync.Mutex
	return func(ctx context.Context, call func() error) error {
		mu.Lock()
		n--
		over := n < 0
		mu.Unlock()
		if over {
			return call()
		}
		return r(ctx, call)
	}
}

func newFaulty(b backend.Backend) *faulty {
	return &faulty{Backend: b, rules: map[string]rule{}, calls: map[string][]time.Time{}, broken: make(chan struct{})}
}

// on sets the rule for some verbs; "" means all that have none of their own. nil
// ends a rule. Waits in flight meet the new rule.
func (f *faulty) on(r rule, verbs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, verb := range verbs {
		f.rules[verb] = r
		if r != nil && (verb == "" || verb == "wait") {
			close(f.broken)
			f.broken = make(chan struct{})
		}
	}
}

// rule returns the rule for a verb; one that only calls if there is none.
func (f *faulty) rule(verb string) rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.rules[verb]
	if r == nil {
		r = f.rules[""]
	}
	if r == nil {
		r = func(_ context.Context, call func() error) error { return call() }
	}
	return r
}

// count returns how often a verb was called.
func (f *faulty) count(verb string) int { return len(f.times(verb)) }

// times returns when a verb was called.
func (f *faulty) times(verb string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.calls[verb]...)
}

// forget drops what was noted.
func (f *faulty) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.calls)
	f.lease, f.sets, f.renew = nil, nil, nil
}

func (f *faulty) leases() []backend.LeaseRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]backend.LeaseRequest(nil), f.lease...)
}

func (f *faulty) settles() []backend.SettleRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]backend.SettleRequest(nil), f.sets...)
}

func (f *faulty) sweeps() []backend.SweepRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]backend.SweepRequest(nil), f.sweep...)
}

func (f *faulty) do(ctx context.Context, verb string, call func() error) error {
	f.mu.Lock()
	f.calls[verb] = append(f.calls[verb], time.Now())
	f.mu.Unlock()
	return f.rule(verb)(ctx, call)
}

// ask is do for verbs with an answer, which is not given along with an error.
func ask[T any](ctx context.Context, f *faulty, verb string, call func() (T, error)) (answer T, err error) {
	err = f.do(ctx, verb, func() (err error) {
		answer, err = call()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return answer, nil
}

func (f *faulty) Lease(ctx context.Context, request backend.LeaseRequest) (backend.LeaseReply, error) {
	f.mu.Lock()
	f.lease = append(f.lease, request)
	f.mu.Unlock()
	return ask(ctx, f, "lease", func() (backend.LeaseReply, error) { return f.Backend.Lease(ctx, request) })
}

func (f *faulty) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	f.mu.Lock()
	f.sets = append(f.sets, request)
	f.mu.Unlock()
	return ask(ctx, f, "settle", func() ([]backend.SettleResult, error) { return f.Backend.Settle(ctx, request) })
}

func (f *faulty) Renew(ctx context.Context, request backend.RenewRequest) ([]backend.RenewResult, error) {
	f.mu.Lock()
	f.renew = append(f.renew, request)
	f.mu.Unlock()
	return ask(ctx, f, "renew", func() ([]backend.RenewResult, error) { return f.Backend.Renew(ctx, request) })
}

func (f *faulty) Sweep(ctx context.Context, request backend.SweepRequest) (backend.SweepReply, error) {
	f.mu.Lock()
	f.sweep = append(f.sweep, request)
	f.mu.Unlock()
	return ask(ctx, f, "sweep", func() (backend.SweepReply, error) { return f.Backend.Sweep(ctx, request) })
}

func (f *faulty) PutSchedule(ctx context.Context, schedule backend.Schedule) (backend.Schedule, error) {
	return ask(ctx, f, "put schedule", func() (backend.Schedule, error) { return f.Backend.PutSchedule(ctx, schedule) })
}

func (f *faulty) Schedules(ctx context.Context, query backend.SchedulesQuery) (backend.SchedulesPage, error) {
	return ask(ctx, f, "schedules", func() (backend.SchedulesPage, error) { return f.Backend.Schedules(ctx, query) })
}

func (f *faulty) Tick(ctx context.Context, ticks []backend.Tick) (backend.TickReply, error) {
	return ask(ctx, f, "tick", func() (backend.TickReply, error) { return f.Backend.Tick(ctx, ticks) })
}

func (f *faulty) Record(ctx context.Context, record backend.Record) error {
	f.mu.Lock()
	f.records = append(f.records, record)
	f.mu.Unlock()
	return f.do(ctx, "record", func() error { return f.Backend.Record(ctx, record) })
}

func (f *faulty) Announce(ctx context.Context, worker backend.WorkerInfo, ttl time.Duration) (backend.Announced, error) {
	sent := context.WithoutCancel(ctx)
	return ask(ctx, f, "announce", func() (backend.Announced, error) { return f.Backend.Announce(sent, worker, ttl) })
}

func (f *faulty) SignOff(ctx context.Context, worker string, queues []string) error {
	return f.do(ctx, "sign off", func() error { return f.Backend.SignOff(ctx, worker, queues) })
}

func (f *faulty) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	return ask(ctx, f, "memo", func() (backend.Memo, error) { return f.Backend.Memo(ctx, name, key) })
}

func (f *faulty) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	return ask(ctx, f, "write memo", func() (backend.Memo, error) { return f.Backend.WriteMemo(ctx, write) })
}

func (f *faulty) Listen(ctx context.Context, deliver func(backend.Command)) error {
	return f.do(ctx, "listen", func() error { return f.Backend.Listen(ctx, deliver) })
}

func (f *faulty) Waiter(queues []string) (backend.Waiter, error) {
	var inner backend.Waiter
	err := f.do(context.Background(), "waiter", func() (err error) {
		inner, err = f.Backend.Waiter(queues)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &faultyWaiter{Waiter: inner, of: f, closed: make(chan struct{})}, nil
}

type faultyWaiter struct {
	backend.Waiter
	of     *faulty
	once   sync.Once
	closed chan struct{}
}

// Lease ends when the waiter is closed, whatever the rules do. When it has waited,
// it meets the rule for leases.
func (w *faultyWaiter) Lease(ctx context.Context, request backend.LeaseRequest, limit time.Duration) (backend.LeaseReply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.of.mu.Lock()
	w.of.lease = append(w.of.lease, request)
	broken := w.of.broken
	w.of.mu.Unlock()
	done := make(chan struct{})
	defer close(done)
	waiting, cut := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-w.closed:
			cancel()
		case <-broken:
			cut(errDown)
		case <-done:
		}
	}()
	return ask(ctx, w.of, "wait", func() (reply backend.LeaseReply, err error) {
		reply, err = w.Waiter.Lease(waiting, request, limit)
		switch {
		case err == nil:
			err = w.of.rule("lease")(ctx, func() error { return nil })
		case context.Cause(waiting) == errDown:
			err = w.of.rule("wait")(ctx, func() error { return errDown })
		}
		return reply, err
	})
}

func (w *faultyWaiter) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Waiter.Close()
}

// hide has the store say that it has none of some queues.
func (f *faulty) hide(queues ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hidden = queues
}

func (f *faulty) QueueNames(ctx context.Context) ([]string, error) {
	names, err := f.Backend.QueueNames(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(f.hidden, name) }), err
}
