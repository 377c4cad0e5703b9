package actors

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// keeper keeps what the worker has. Every third of a lease it renews the leases of
// all runs, sweeps the worker's queues, and publishes the worker's record. It
// listens for commands, and it stores the progress that handlers report.
//
// What it learns it puts into effect itself: a run whose lease is lost, or whose
// job somebody cancelled, has its context cancelled. It sends blockedKeys to the
// fetcher. It goes on while the tree drains; told to drain itself, it signs the
// worker off and ends.
type keeper struct {
	tree *tree

	calling  bool
	abort    context.CancelFunc
	failures int
	timer    *time.Timer
	// again is a round that was asked for while another one was under way.
	again    *round
	draining bool
	gone     bool

	endListen context.CancelFunc
}

// round is one turn of the keeper: all of it, or only the renewal of some runs.
type round struct {
	full   bool
	filter func(*run) bool
}

type (
	beat         struct{}
	progressMade struct{}
	saveProgress struct{}
	rounded      struct {
		full    bool
		blocked []string
		err     error
	}
	commanded struct{ backend.Command }
	signedOff struct{}
)

func (*beat) IgnoreDeadLetterLogging()         {}
func (*progressMade) IgnoreDeadLetterLogging() {}
func (*saveProgress) IgnoreDeadLetterLogging() {}
func (*rounded) IgnoreDeadLetterLogging()      {}
func (*commanded) IgnoreDeadLetterLogging()    {}
func (*signedOff) IgnoreDeadLetterLogging()    {}

const (
	// progressDelay gathers progress before it is stored.
	progressDelay = 250 * time.Millisecond
	// signOffTimeout bounds the farewell.
	signOffTimeout = 500 * time.Millisecond
)

func (k *keeper) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		k.listen(c)
		k.turn(c, round{full: true})
	case *actor.Stopping, *actor.Restarting:
		k.leave()
	case *beat:
		k.turn(c, round{full: true})
	case *progressMade:
		k.tree.after(progressDelay, c.Self(), &saveProgress{})
	case *saveProgress:
		k.tree.progressPending.Store(false)
		k.turn(c, round{filter: (*run).hasProgress})
	case *commanded:
		if m.Verb == backend.CommandCancel {
			k.turn(c, round{filter: func(r *run) bool {
				return r.lease.Job.ID == m.ID && r.lease.Job.Queue == m.Queue
			}})
		}
	case *rounded:
		k.rounded(c, m)
	case *drain:
		k.draining = true
		k.leave()
		if !k.calling {
			k.signOff(c)
		}
	case *signedOff:
		c.Stop(c.Self())
	}
}

func (k *keeper) leave() {
	k.endListen()
	if k.timer != nil {
		k.timer.Stop()
	}
	if k.abort != nil {
		k.abort()
	}
}

// turn makes a round, or remembers it while another one is under way.
func (k *keeper) turn(c actor.Context, what round) {
	if k.draining {
		return
	}
	if k.calling {
		if k.again == nil || what.full {
			k.again = &what
		} else if first := *k.again; !first.full {
			k.again = &round{filter: func(r *run) bool { return first.filter(r) || what.filter(r) }}
		}
		return
	}
	runs := k.tree.renewable(what.filter)
	if !what.full && len(runs) == 0 {
		return
	}
	t, self := k.tree, c.Self()
	k.calling = true
	if what.full {
		t.keeperPulse.Store(time.Now().UnixNano())
	}
	k.abort = t.call(min(callTimeout, t.config.Lease/3), func(ctx context.Context) {
		answer := &rounded{full: what.full}
		answer.err = t.renew(ctx, runs)
		if what.full && answer.err == nil {
			answer.blocked, answer.err = t.keepHouse(ctx)
		}
		t.heard("renew", answer.err)
		t.system.Root.Send(self, answer)
	})
}

func (k *keeper) rounded(c actor.Context, m *rounded) {
	k.calling, k.abort = false, nil
	if k.draining {
		if !k.gone {
			k.signOff(c)
		}
		return
	}
	switch {
	case m.err != nil:
		k.failures++
		k.beatIn(c, min(k.tree.config.retry.Delay(k.failures), k.tree.config.Lease/6))
	case m.full:
		k.failures = 0
		k.beatIn(c, k.tree.config.Lease/3)
	}
	if m.full {
		c.Send(k.tree.fetcher, &blockedKeys{m.blocked})
	}
	if again := k.again; again != nil {
		k.again = nil
		k.turn(c, *again)
	}
}

func (k *keeper) beatIn(c actor.Context, d time.Duration) {
	if k.timer != nil {
		k.timer.Stop()
	}
	k.timer = k.tree.after(d, c.Self(), &beat{})
}

// listen hears commands until the keeper ends.
func (k *keeper) listen(c actor.Context) {
	t, self := k.tree, c.Self()
	ctx, end := context.WithCancel(t.callContext)
	k.endListen = end
	t.calls.Add(1)
	t.dispatch.Schedule(func() {
		defer t.calls.Done()
		err := t.config.Backend.Listen(ctx, func(command backend.Command) {
			t.system.Root.Send(self, &commanded{command})
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrClosed) {
			t.log.Warn("commands are not heard any more; a cancel takes effect at the next renewal", "error", err)
		}
	})
}

func (k *keeper) signOff(c actor.Context) {
	k.gone = true
	t, self := k.tree, c.Self()
	limit := signOffTimeout
	if by := t.stopBy.Load(); by != 0 {
		limit = max(time.Millisecond, min(limit, time.Until(time.Unix(0, by))))
	}
	t.call(limit, func(ctx context.Context) {
		if err := t.config.Backend.SignOff(ctx, t.worker, t.config.Queues); err != nil {
			t.log.Debug("the worker's record stays until it expires", "error", err)
		}
		t.system.Root.Send(self, &signedOff{})
	})
}

// hasProgress reports whether there is progress to store. It takes it from the
// handler, so it is called by one goroutine at a time: the keeper's.
func (r *run) hasProgress() bool {
	if work := r.work.Load(); work != nil {
		if p := work.TakeProgress(); p != nil {
			r.progress = p
		}
	}
	return r.progress != nil
}

// renewable lists the runs whose leases are to be renewed.
func (t *tree) renewable(filter func(*run) bool) []*run {
	runs := t.ledger.list()
	kept := runs[:0]
	for _, r := range runs {
		fresh := r.hasProgress()
		if !r.lost.Load() && (filter == nil || filter(r) || fresh) {
			kept = append(kept, r)
		}
	}
	return kept
}

// renew prolongs the leases of runs and puts into effect what the store answers.
func (t *tree) renew(ctx context.Context, runs []*run) error {
	for len(runs) > 0 {
		n := min(len(runs), backend.MaxBatch)
		request := backend.RenewRequest{
			Worker: t.worker, Duration: t.config.Lease, Leases: make([]backend.Held, n),
		}
		for i, r := range runs[:n] {
			request.Leases[i] = backend.Held{
				Queue: r.lease.Job.Queue, ID: r.lease.Job.ID, Token: r.lease.Token, Progress: r.progress,
			}
		}
		results, err := t.config.Backend.Renew(ctx, request)
		if err == nil {
			err = checkAnswers(len(results), n)
		}
		if err != nil {
			return err
		}
		for i, result := range results {
			r := runs[i]
			r.progress = nil
			switch {
			case result.Lost:
				t.loseLease(r)
			case result.CancelRequested:
				r.cancel(jobs.ErrCancelled)
			}
		}
		runs = runs[n:]
	}
	return nil
}

// loseLease ends a run whose job the store has given to somebody else. One that is
// settled is left to the settler, which hears the same.
func (t *tree) loseLease(r *run) {
	if r.settled.Load() || r.lost.Swap(true) {
		return
	}
	t.log.Warn("a lease was lost; the job may run twice", "queue", r.lease.Job.Queue,
		"id", r.lease.Job.ID, "kind", r.lease.Job.Kind)
	r.cancel(jobs.ErrLeaseLost)
}

// keepHouse sweeps the queues and publishes the worker's record.
func (t *tree) keepHouse(ctx context.Context) (blocked []string, err error) {
	swept, err := t.config.Backend.Sweep(ctx, backend.SweepRequest{
		Queues: t.config.Queues, Duration: t.config.Lease,
	})
	if err != nil {
		return nil, err
	}
	if swept.Reclaimed > 0 {
		t.log.Warn("jobs of a worker that vanished are back in their queues", "jobs", swept.Reclaimed)
	}
	return swept.Blocked, t.config.Backend.Announce(ctx, t.record(), t.config.Lease)
}
