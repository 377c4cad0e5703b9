package actors

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Defaults of Config.
const (
	DefaultConcurrency = 10
	DefaultLease       = 15 * time.Second
	DefaultGrace       = 25 * time.Second
	DefaultName        = "caddis"
)

// Config describes a worker. Zero fields have the defaults that they name.
type Config struct {
	// Backend is the job store. Whoever made it closes it, after the worker has
	// stopped. caddis.New makes an in-memory one if it is nil.
	Backend backend.Backend
	// Registry knows the kinds of jobs and their handlers. It is required.
	Registry *jobs.Registry

	// Queues are the queues to take jobs from; by default "default" and those that the
	// registry's kinds with a handler go to, by name. A start warns of kinds whose
	// queue is not among them.
	//
	// An entry can be a pattern, in which * stands for any text: "mail.*" for the queues
	// that begin so, "*" for all. An entry behind a ! is left out: "*", "!bulk",
	// "!test.*". Queues that appear while the worker runs are found at once, or where a
	// store cannot tell, within a third of the lease; those that the store does not have
	// any more are forgotten.
	Queues []string
	// Choice decides which queue is asked first as long as there is more work than free
	// executors: Strict() by default, in the order of Queues (by name, where a pattern
	// stands for several). Weighted and RoundRobin keep any of them from starving.
	Choice QueueChoice
	// Gates close queues on this worker while a check says so; none by default.
	Gates []Gate
	// Concurrency is the number of jobs that run at the same time; 10 by
	// default.
	Concurrency int
	// Lease is how long the store waits for a sign of life before it gives a
	// job to another worker; 15 s by default. Leases are renewed every third of
	// it. All workers of a queue must have the same.
	Lease time.Duration

	// Grace is how long a stop may take in total; 25 s by default, which fits
	// into the 30 s that Kubernetes gives by default.
	Grace time.Duration
	// CancelTime is the part of the grace that is left to jobs after their
	// contexts have been cancelled; by default a fifth of the grace, at most
	// 5 s.
	CancelTime time.Duration
	// HandBackTime is the last part of the grace, kept for giving back the jobs
	// that ignore their contexts and for the store to confirm everything; by
	// default a tenth of the grace, at most 2 s.
	HandBackTime time.Duration

	// Strategy decides what becomes of an executor whose handler panicked; by
	// default OneForOne(0, 0): it is restarted, and the worker goes on.
	Strategy actor.SupervisorStrategy

	// Logger gets what the worker has to say; slog.Default() by default.
	// Payloads are never logged.
	Logger *slog.Logger
	// OnEvent is told what happens here: to jobs that are enqueued by this System and its
	// handlers, to those that this worker runs (once the store has confirmed what became
	// of them), and to the worker; nil by default. It is called by one goroutine at a
	// time, in order, and holds up nothing: it is told later, and where more than
	// jobs.MaxEvents wait the newest are dropped, which Status and Report count. A panic
	// is logged and changes nothing for the job.
	OnEvent func(jobs.Event)
	// Record says what the worker records of its jobs in the store: figures and events.
	Record Recording
	// Name is the supervisor's name in its actor system, unique there; "caddis"
	// by default.
	Name string
	// ActorSystem hosts the actors of a caddis.System; it makes its own if this
	// is nil. Spawn ignores it.
	ActorSystem *actor.ActorSystem

	// events hands events to OnEvent, if there is one.
	events *jobs.Events
	// retry is the pause between calls to a store that does not answer.
	retry jobs.Exponential
}

// Recording says what a worker records in the store: of each of its queues figures over
// time, which jobs.Client.Figures reads, and the events of the journal, for
// jobs.Client.Events. It is one call every few seconds in which something has happened.
// What the store does not take within five minutes is dropped, which Status and Report
// count.
type Recording struct {
	// Off records nothing.
	Off bool
	// Every is the time between two calls, from 100 ms to a minute; 2 s by default.
	Every time.Duration
	// Events is how many events a call has at most, up to 500; 200 by default. Started,
	// completed, snoozed and handed back ones have half of that, so that they leave room
	// for the others. Of those beyond the journal has one event with their number. A
	// negative number keeps none.
	Events int
}

// Defaults of Recording.
const (
	DefaultRecordEvery  = 2 * time.Second
	DefaultRecordEvents = 200
	maxRecordEvents     = backend.MaxRecordEvents / 2
)

// Fill returns the config with its defaults, or an error that lists everything
// that is wrong with it.
func (c Config) Fill() (Config, error) {
	if len(c.Queues) == 0 {
		c.Queues = defaultQueues(c.Registry)
	}
	if c.events == nil {
		c.events = jobs.NewEvents(c.OnEvent)
	}
	if c.Choice == nil {
		c.Choice = Strict()
	}
	c.Gates = slices.Clone(c.Gates)
	for i := range c.Gates {
		c.Gates[i] = c.Gates[i].fill()
	}
	setDefault(&c.Concurrency, DefaultConcurrency)
	setDefault(&c.Lease, DefaultLease)
	setDefault(&c.Grace, DefaultGrace)
	setDefault(&c.CancelTime, min(max(0, c.Grace)/5, 5*time.Second))
	setDefault(&c.HandBackTime, min(max(0, c.Grace)/10, 2*time.Second))
	setDefault(&c.Record.Every, DefaultRecordEvery)
	setDefault(&c.Record.Events, DefaultRecordEvents)
	setDefault(&c.Name, DefaultName)
	if c.Strategy == nil {
		c.Strategy = OneForOne(0, 0)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = guarded(c.Logger, nil)
	c.retry = jobs.Exponential{Initial: 50 * time.Millisecond, Max: 500 * time.Millisecond, Jitter: 0.5}

	var wrong []error
	reject := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if c.Backend == nil {
		reject("Backend is missing")
	}
	if c.Registry == nil {
		reject("Registry is missing: make one with jobs.NewRegistry and give it handlers with jobs.Handle")
	} else if len(c.Registry.Kinds()) == 0 {
		reject("Registry has no handler: give it at least one with jobs.Handle")
	} else if err := c.Registry.CheckSchedules(); err != nil {
		reject("Registry: %w", err)
	}
	if err := patterns(c.Queues).check(); err != nil {
		reject("Queues: %w", err)
	} else {
		if w, ours := c.Choice.(*weighted); ours {
			for _, err := range w.check(c.Queues) {
				reject("Choice: %w", err)
			}
		}
		if err := checkGates(c.Gates, c.Queues); err != nil {
			reject("Gates: %w", err)
		}
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrency {
		reject("Concurrency is %d: it goes from 1 to %d", c.Concurrency, maxConcurrency)
	}
	if err := backend.CheckLease(c.Lease); err != nil {
		reject("Lease: %w", err)
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"Grace", c.Grace}, {"CancelTime", c.CancelTime}, {"HandBackTime", c.HandBackTime}} {
		if d.d < 0 {
			reject("%s is %v: it cannot be negative", d.name, d.d)
		}
	}
	switch r := c.Record; {
	case r.Every < 100*time.Millisecond || r.Every > time.Minute:
		reject("Record: Every is %v: it goes from 100ms to 1m0s", r.Every)
	case r.Events > maxRecordEvents:
		reject("Record: Events is %d: it goes up to %d, and a negative number means none", r.Events, maxRecordEvents)
	}
	if c.CancelTime > c.Grace-max(0, c.HandBackTime) && c.Grace > 0 {
		reject("CancelTime (%v) and HandBackTime (%v) are parts of Grace (%v) and together longer", c.CancelTime, c.HandBackTime, c.Grace)
	}
	if err := errors.Join(wrong...); err != nil {
		return c, fmt.Errorf("caddis: the configuration is not valid: %w", err)
	}
	return c, nil
}

// Events hands events to OnEvent, for clients beside the worker. It is there once the
// config is filled.
func (c *Config) Events() *jobs.Events { return c.events }

func defaultQueues(registry *jobs.Registry) []string {
	queues := []string{jobs.DefaultQueue}
	if registry == nil {
		return queues
	}
	for _, q := range slices.Sorted(maps.Keys(registry.Queues())) {
		if q != jobs.DefaultQueue {
			queues = append(queues, q)
		}
	}
	return queues
}

// declaredQueues are the queues that jobs of a registry go to, "default" in front.
func declaredQueues(registry *jobs.Registry) []string {
	return union(defaultQueues(registry), registry.ScheduleQueues())
}

// warnOfUnserved tells of kinds that the worker could run and does not take.
func (c *Config) warnOfUnserved() {
	queues := c.Registry.Queues()
	for _, q := range slices.Sorted(maps.Keys(queues)) {
		if _, taken := patterns(c.Queues).rank(q); !taken {
			c.Logger.Warn("this worker does not take from the queue that its kinds go to; "+
				"unless another one does, their jobs wait for ever: add it to Config.Queues",
				"queue", q, "kinds", queues[q], "queues", c.Queues)
		}
	}
}

// maxConcurrency keeps a slip of the keyboard from taking all memory.
const maxConcurrency = 1_000_000

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
