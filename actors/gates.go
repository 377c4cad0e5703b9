package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// gates samples the worker's gates, each in a goroutine of its own that ends with the
// tree. Checks are code of others: they run in goroutines that nobody waits for longer
// than their TTL. Where one opens or closes, changed is called.
type gates struct {
	outside  *outside
	dispatch *dispatcher
	log      *slog.Logger
	changed  func()

	mu   sync.Mutex
	list []*gate
}

// gate is one of them; the mutex of gates guards its status.
type gate struct {
	Gate
	status GateStatus
	// faulty is set while the check does not answer as it should, which is logged once.
	faulty bool
}

var errUnchecked = errors.New("it has not been checked yet")

func newGates(config *Config, o *outside, d *dispatcher, log *slog.Logger) *gates {
	all := &gates{outside: o, dispatch: d, log: log}
	for _, g := range config.Gates {
		all.list = append(all.list, &gate{Gate: g, status: GateStatus{
			Name: g.Name, Reason: errUnchecked.Error(), Since: time.Now(), Queues: slices.Clone(g.Queues),
		}})
	}
	return all
}

// start begins to sample, until ctx ends.
func (a *gates) start(ctx context.Context) {
	for _, g := range a.list {
		v := a.outside.enter(&visit{whose: "the gate " + g.Name, due: time.Now().Add(forever)})
		a.dispatch.Schedule(func() {
			defer a.outside.leave(v)
			a.sample(ctx, g)
		})
	}
}

// shut reports whether any gate closes a queue.
func (a *gates) shut(queue string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.list, func(g *gate) bool {
		_, about := patterns(g.Queues).rank(queue)
		return about && !g.status.Open
	})
}

// statuses describes all gates; nil if there are none.
func (a *gates) statuses() (all []GateStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range a.list {
		all = append(all, g.status)
	}
	return all
}

// sample checks a gate again and again. A check that does not answer is waited for
// before there is another one.
func (a *gates) sample(ctx context.Context, g *gate) {
	for ctx.Err() == nil {
		answer := a.ask(ctx, g)
		late := time.NewTimer(g.TTL)
		select {
		case err := <-answer:
			a.note(ctx, g, err)
		case <-ctx.Done():
		case <-late.C:
			a.note(ctx, g, &gateFault{fmt.Sprintf("its check has not answered for %v", g.TTL)})
			select {
			case err := <-answer:
				a.note(ctx, g, err)
			case <-ctx.Done():
			}
		}
		late.Stop()
		if !rest(ctx, g.Every) {
			return
		}
	}
}

// rest waits, and reports whether ctx goes on.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// gateFault is what keeps a check from being an answer.
type gateFault struct{ reason string }

func (f *gateFault) Error() string { return f.reason }

// ask makes one check.
func (a *gates) ask(ctx context.Context, g *gate) <-chan error {
	answer := make(chan error, 1)
	ctx, cancel := context.WithTimeout(ctx, g.TTL)
	go func() {
		err := error(&gateFault{"its check ended its goroutine"})
		defer func() {
			cancel()
			answer <- err
		}()
		var said error
		fault := a.outside.run("the check of the gate "+g.Name, max(g.TTL, newsTime), func() { said = sound(g.Check(ctx)) })
		switch {
		case fault != nil:
			err = &gateFault{fault.Error()}
		case said != nil && ctx.Err() != nil && errors.Is(said, context.DeadlineExceeded):
			err = &gateFault{fmt.Sprintf("its check has not answered within %v", g.TTL)}
		default:
			err = said
		}
	}()
	return answer
}

// note takes over what a check has answered.
func (a *gates) note(ctx context.Context, g *gate, err error) {
	if ctx.Err() != nil {
		return // it was told to end
	}
	var fault *gateFault
	faulty := errors.As(err, &fault)
	a.mu.Lock()
	before := g.status
	unchecked := before.Reason == errUnchecked.Error()
	g.status.Open, g.status.Reason = err == nil, ""
	if err != nil {
		g.status.Reason = bounded(err.Error())
	}
	if faulty {
		g.status.Faults++
	}
	if before.Open != g.status.Open {
		g.status.Since = time.Now()
	}
	tell := faulty && !g.faulty
	g.faulty = faulty
	a.mu.Unlock()

	args := []any{"gate", g.Name, "queues", g.Queues}
	switch {
	case tell:
		a.log.Error("the check of a gate has a fault, so the gate is closed", append(args, "error", g.status.Reason)...)
	case before.Open && err != nil:
		a.log.Info("a gate has closed; no jobs are taken from its queues", append(args, "reason", bounded(err.Error()))...)
	case unchecked && err != nil:
		a.log.Info("a gate is closed; no jobs are taken from its queues", append(args, "reason", bounded(err.Error()))...)
	case !before.Open && err == nil && !unchecked:
		a.log.Info("a gate has opened", args...)
	}
	if before.Open != (err == nil) {
		a.changed()
	}
}
