package actors

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/jobs"
)

// tree is one worker put together: the parts that its actors share, each of which gets
// those that it needs, and the addresses of the actors. Only the supervisor and the
// Worker have all of it.
type tree struct {
	config   Config
	worker   string
	log      *slog.Logger
	dispatch *dispatcher
	started  time.Time

	door    *door
	outside *outside
	line    *line
	records *records
	news    *news
	life    *life
	post    *post
	ledger  *ledger
	roster  *roster
	clock   *storeClock
	bell    *progressBell
	queues  *served
	gates   *gates
	control *control
	showing *showing
	parts   *parts

	supervisor, fetcher, pool, settler, recorder, keeper, ticker *actor.PID

	// watchdog ends a stop that does not end by itself, watchdogAt and lastCalls.
	stopMu     sync.Mutex
	watchdog   *time.Timer
	watchdogAt time.Time
	// finishing is set when all parts have ended, or are not waited for any more.
	finishing atomic.Bool
	concluded sync.Once

	// done is closed when all is over; outcome is set before.
	done    chan struct{}
	outcome *Stopped
}

// plant puts a tree together. Nothing runs yet.
func plant(system *actor.ActorSystem, config Config, worker string) *tree {
	t := &tree{
		config: config, worker: worker, dispatch: newDispatcher(), started: time.Now(),
		door: newDoor(system, config.Name), outside: newOutside(), ledger: newLedger(),
		roster: newRoster(config.Concurrency), clock: &storeClock{}, done: make(chan struct{}),
	}
	t.supervisor = t.door.supervisor
	for name, pid := range map[string]**actor.PID{
		"fetcher": &t.fetcher, "pool": &t.pool, "settler": &t.settler, "recorder": &t.recorder, "keeper": &t.keeper, "clock": &t.ticker,
	} {
		*pid = system.NewLocalPID(t.supervisor.Id + "/" + name)
	}
	t.log = guarded(config.Logger, t.outside)
	t.config.Logger = t.log
	t.line = newLine(&t.config, t.outside, t.dispatch)
	t.records = newRecords(&t.config, worker, t.clock)
	t.news = newNews(&t.config, worker, t.outside, t.dispatch, t.clock, t.records)
	if t.records != nil {
		config.events.OnStored(t.records.stored)
	}
	t.life = &life{worker: worker, door: t.door, log: t.log, news: t.news}
	t.life.begin(t.started)
	t.post = &post{root: system.Root, line: t.line}
	t.control = &control{heeded: map[jobs.OrderVerb]uint64{}}
	t.showing, t.parts = &showing{}, &parts{}
	t.life.changed = func() { t.post.send(t.keeper, &stateChanged{}) }
	t.bell = &progressBell{post: t.post, keeper: t.keeper}
	t.queues, t.gates = newServed(&t.config), newGates(&t.config, t.outside, t.dispatch, t.log)
	if len(t.gates.list) > 0 {
		t.queues.shut = t.gates.shut
	}
	t.gates.changed = func() { t.post.send(t.fetcher, &queuesChanged{}) }
	t.door.status, t.door.stopIn = t.status, t.stopIn
	return t
}

// props are the options that all actors of the tree have.
func props(dispatch actor.Dispatcher, producer func() actor.Actor, options ...actor.PropsOption) *actor.Props {
	options = append(options, actor.WithDispatcher(dispatch), actor.WithMailbox(newDrainInbox))
	return actor.PropsFromProducer(producer, options...)
}

// status describes the tree as it is.
func (t *tree) status() Status {
	runs, settled := t.ledger.size()
	slots, _ := t.roster.size()
	s := Status{
		Concurrency: slots, Running: runs - settled, Unconfirmed: settled,
		BackendError: t.line.outage.text(), Counts: t.ledger.snapshot(),
	}
	t.life.fill(&s)
	s.EventsDropped, s.Unrecorded = t.config.events.Dropped(), t.records.missing()
	s.Gates = t.gates.statuses()
	s.Stuck, s.StuckCalls = t.outside.overdue(time.Now())
	return s
}
