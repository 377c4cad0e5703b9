package actors

import (
	"context"
	"os"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// keeper keeps what the worker has. Every third of a lease it renews the leases of
// all runs, and keeps house (see house). It listens for commands, and it stores the
// progress that handlers report.
// It makes one call at a time, the most urgent first: leases, orders, house, progress.
// Orders are what operators have told the worker by way of the store (see control). While
// somebody looks, and while the worker stops, it tells how its tree is (see showing).
//
// What it learns it puts into effect itself: a run whose lease is lost, or whose
// job somebody cancelled, has its context cancelled. It sends blockedKeys to the
// fetcher, and queuesChanged to fetcher and clock. It goes on while the tree drains; told to drain itself, it signs the
// worker off and ends.
type keeper struct {
	config  *Config
	worker  string
	started time.Time
	status  func() Status
	line    *line
	ledger  *ledger
	clock   *storeClock
	life    *life
	post    *post
	bell    *progressBell
	fetcher *actor.PID
	ticker  *actor.PID
	queues  *served
	news    *news
	control *control
	showing *showing
	// look is the tree as it is, farewell the last that the worker tells.
	look, farewell func() jobs.WorkerTree
	// supervisor and door take what the worker is told.
	supervisor, door *actor.PID

	leases, progress batches[*run]
	house            house

	// calling is what the call in flight is for; "" if there is none.
	calling  string
	abort    context.CancelFunc
	resting  bool // after a failure
	timer    *time.Timer
	draining bool
	gone     bool

	endListen context.CancelFunc
}

type (
	beat         struct{}
	rested       struct{}
	progressMade struct{}
	saveProgress struct{}
	renewed      struct {
		by      *keeper
		what    *batches[*run]
		results []backend.RenewResult
		err     error
	}
	commanded struct{ backend.Command }
	hurry     struct{}
	signedOff struct{}
)

func (*beat) IgnoreDeadLetterLogging()         {}
func (*rested) IgnoreDeadLetterLogging()       {}
func (*progressMade) IgnoreDeadLetterLogging() {}
func (*saveProgress) IgnoreDeadLetterLogging() {}
func (*renewed) IgnoreDeadLetterLogging()      {}
func (*commanded) IgnoreDeadLetterLogging()    {}
func (*hurry) IgnoreDeadLetterLogging()        {}
func (*signedOff) IgnoreDeadLetterLogging()    {}

const (
	// renewCount and renewBytes bound a renewal, progressBytes a call that stores
	// progress: it is small, as the next renewal waits for it.
	renewCount    = 2000
	renewBytes    = 1 << 20
	progressBytes = 128 << 10
	// progressDelay gathers progress before it is stored.
	progressDelay = 250 * time.Millisecond
	// signOffTimeout bounds the farewell.
	signOffTimeout = 500 * time.Millisecond
)

func newKeeper(t *tree) *keeper {
	const lease = 300 // about what queue, id and token take
	k := &keeper{
		house:  house{all: true},
		config: &t.config, worker: t.worker, started: t.started, status: t.status, line: t.line, ledger: t.ledger,
		clock: t.clock, life: t.life, post: t.post, bell: t.bell, fetcher: t.fetcher, ticker: t.ticker,
		queues: t.queues, news: t.news, control: t.control, showing: t.showing, look: t.look, farewell: t.farewell, supervisor: t.supervisor, door: t.door.pid,
		leases: batches[*run]{count: renewCount, bytes: renewBytes, weigh: func(*run) int { return lease }},
		progress: batches[*run]{count: renewCount, bytes: progressBytes,
			weigh: func(r *run) int { return lease + len(r.newestProgress()) }},
	}
	for _, kind := range t.config.Registry.Kinds() {
		k.house.keys = append(k.house.keys, jobs.BlockKey(kind))
	}
	return k
}

func (k *keeper) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		k.listen(c)
		k.beat(c)
	case *actor.Stopping, *actor.Restarting:
		k.leave()
		k.hangUp()
	case *beat:
		k.beat(c)
	case *rested:
		k.resting = false
	case *progressMade:
		k.post.after(progressDelay, c.Self(), &saveProgress{})
		return
	case *saveProgress:
		k.bell.heard()
		k.gatherProgress()
	case *commanded:
		k.command(m.Command)
	case *renewed:
		if m.by != k {
			return // it came for one that failed
		}
		k.calling, k.abort = "", nil
		k.renewed(c, m)
	case *ordersRead:
		if m.by != k {
			return
		}
		k.calling, k.abort = "", nil
		k.ordersRead(c, m)
	case *chore:
		k.house.due = true
	case *stateChanged:
		k.house.due = !k.draining
		k.showing.due = true
	case *showDue:
		k.showing.ticking, k.showing.due = false, true
	case *shown:
		if m.by != k {
			return
		}
		k.calling, k.abort = "", nil
		k.shown(c, m)
	case *houseKept:
		if m.by != k {
			return
		}
		k.calling, k.abort = "", nil
		k.houseKept(c, m)
	case *drain:
		k.draining = true
		k.leave()
		if k.calling != announcing && k.calling != telling {
			k.hangUp()
		}
		k.post.after(min(signOffTimeout, k.life.untilEnd()/2), c.Self(), &hurry{})
	case *hurry: // the farewell is not to wait any longer for a call
		k.hangUp()
	case *signedOff:
		c.Stop(c.Self())
		return
	}
	k.advance(c)
}

// beat begins a round.
func (k *keeper) beat(c actor.Context) {
	if k.draining {
		return
	}
	k.life.keeperPulse.Store(time.Now().UnixNano())
	k.timer = k.post.after(k.config.Lease/3, c.Self(), &beat{})
	k.leases.replace(k.ledger.renewable())
	k.house.due = true
	k.control.remind()
	k.gatherProgress()
	c.Send(k.fetcher, &blockedKeys{}) // its pulse
}

// leave hears and begins nothing more.
func (k *keeper) leave() {
	k.endListen()
	if k.timer != nil {
		k.timer.Stop()
	}
	k.house.leave()
}

func (k *keeper) hangUp() {
	if k.abort != nil {
		k.abort()
	}
}

// advance makes the next call, if there is one to make.
func (k *keeper) advance(c actor.Context) {
	switch {
	case k.calling != "":
	case k.draining:
		k.signOff(c)
	case k.resting:
	case k.leases.size() > 0:
		k.renew(c, &k.leases, k.config.Lease/3)
	case k.control.due:
		k.readOrders(c)
	case k.showing.due && k.show(c):
	case k.house.due:
		k.keepHouse(c)
	case k.progress.size() > 0:
		k.renew(c, &k.progress, k.config.Lease/6)
	}
}

// renew prolongs leases, or stores progress.
func (k *keeper) renew(c actor.Context, what *batches[*run], within time.Duration) {
	self := c.Self()
	batch, _ := what.next(k.line)
	request := backend.RenewRequest{Worker: k.worker, Duration: k.config.Lease, Leases: make([]backend.Held, len(batch))}
	for i, r := range batch {
		request.Leases[i] = backend.Held{Queue: r.lease.Job.Queue, ID: r.lease.Job.ID, Token: r.lease.Token}
		if what == &k.progress {
			request.Leases[i].Progress = r.newestProgress()
		}
	}
	k.calling = "renew"
	answer := &renewed{by: k, what: what}
	k.abort = k.line.call(k.line.dispatch.Schedule, k.calling, min(callTimeout, within), func(ctx context.Context) (err error) {
		answer.results, err = k.line.store.Renew(ctx, request)
		if err == nil {
			err = checkAnswers(len(answer.results), len(request.Leases))
		}
		return err
	}, func(err error) {
		answer.err = err
		k.post.send(self, answer)
	})
}

// renewed puts into effect what the store answered. Progress that it does not take
// waits for the next beat, or for newer progress.
func (k *keeper) renewed(c actor.Context, m *renewed) {
	if m.err != nil {
		why, divided := m.what.failed(k.line, m.err)
		switch {
		case m.what == &k.leases && !divided:
			k.rest(c, m.what.tries.failures, m.err)
		case m.what == &k.progress && why == faultOwn && len(m.what.sent) == 1:
			m.what.answered()[0].progress = nil
			k.config.Logger.Warn("the job store does not take the progress of a job; it is dropped", "error", m.err.Error())
		case m.what == &k.progress && !divided:
			k.rest(c, m.what.tries.failures, m.err)
		}
		return
	}
	until := k.clock.now().Add(k.config.Lease).UnixNano()
	for i, r := range m.what.answered() {
		if m.what == &k.progress {
			r.progress = nil
		}
		switch result := &m.results[i]; {
		case result.Lost:
			k.loseLease(r)
			continue
		case result.CancelRequested:
			r.cancel(jobs.ErrCancelled)
		}
		r.renewedUntil.Store(until)
	}
}

// rest lets some time pass after a failure.
func (k *keeper) rest(c actor.Context, failures int, err error) {
	k.resting = true
	pause := min(k.line.pause(failures, err), k.config.Lease/6)
	k.post.after(pause, c.Self(), &rested{})
}

// command learns from the store about a job that is to be cancelled, about schedules and
// new queues, or looks at a queue in which jobs are blocked with the next beat.
func (k *keeper) command(command backend.Command) {
	if k.control.hears(command) {
		return
	}
	switch command.Verb {
	case backend.CommandBlocked:
		k.house.visit(command.Queue)
		return
	case backend.CommandQueue:
		k.house.fresh = append(k.house.fresh, command.Queue)
		if k.queues.appeared(command.Queue) {
			k.tellQueues()
		}
		return
	case backend.CommandSchedule:
		if k.queues.serves(command.Queue) {
			k.post.send(k.ticker, &schedulesChanged{})
		}
		return
	case backend.CommandCancel:
	default:
		return
	}
	for _, r := range k.ledger.renewable() {
		if r.lease.Job.ID == command.ID && r.lease.Job.Queue == command.Queue {
			k.leases.add(r)
		}
	}
}

// listen hears commands until the keeper ends.
func (k *keeper) listen(c actor.Context) {
	self := c.Self()
	ctx, end := context.WithCancel(k.line.ctx)
	k.endListen = end
	k.line.listen(ctx, func(command backend.Command) {
		k.post.send(self, &commanded{command})
	})
}

// signOff says farewell, once. Where jobs are left behind the record passes away
// instead, so that the other workers look for their leases as they expire.
func (k *keeper) signOff(c actor.Context) {
	if k.gone {
		return
	}
	k.gone = true
	self, record := c.Self(), k.record()
	limit := max(time.Millisecond, min(signOffTimeout, k.life.untilEnd()))
	k.line.call(k.line.dispatch.Schedule, "sign off", limit, func(ctx context.Context) error {
		var err error
		if k.ledger.leaves() {
			_, err = k.line.store.Announce(ctx, record, time.Millisecond)
		} else {
			err = k.line.store.SignOff(ctx, k.worker, k.queues.all())
		}
		if err == nil {
			k.lastWord(ctx)
		}
		return err
	}, func(err error) {
		if err != nil {
			k.config.Logger.Debug("the worker's record stays until it expires", "error", err)
		}
		k.post.send(self, &signedOff{})
	})
}

// loseLease ends a run whose job the store has given to somebody else. One that is
// settled is left to the settler, which hears the same.
func (k *keeper) loseLease(r *run) {
	if r.settled.Load() || r.lost.Swap(true) {
		return
	}
	k.config.Logger.Warn("a lease was lost; the job may run twice", "queue", r.lease.Job.Queue,
		"id", r.lease.Job.ID, "kind", r.lease.Job.Kind)
	r.cancel(jobs.ErrLeaseLost)
}

// record is what the worker publishes of itself.
func (k *keeper) record() backend.WorkerInfo {
	host, _ := os.Hostname()
	status := k.status()
	return backend.WorkerInfo{
		ID: k.worker, Host: host, PID: os.Getpid(),
		Queues: k.queues.all(), Closed: k.queues.closed(), Kinds: k.config.Registry.Kinds(),
		Concurrency: status.Concurrency, Running: status.Running,
		State: string(status.State), StartedAt: k.started,
	}
}
