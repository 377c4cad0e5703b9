package actors

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/jobs"
)

// Worker is a running tree of actors. Its methods may be called concurrently.
type Worker struct{ tree *tree }

// Spawn starts a worker in an actor system. It checks the configuration and does
// not wait for the store: the worker takes jobs as soon as the store answers.
//
// The worker's PID takes Stop, Quiet, Resume, Resize and Inspect, and a
// PoisonPill as a Stop.
func Spawn(system *actor.ActorSystem, config Config) (*Worker, error) {
	config, err := config.Fill()
	if err != nil {
		return nil, err
	}
	client, err := jobs.NewClient(config.Backend, jobs.ClientConfig{Registry: config.Registry, Events: config.events})
	if err != nil {
		return nil, err
	}
	config.Registry.Freeze()
	config.warnOfUnserved()

	t := plant(system, config, rand.Text())
	fail := func(err error) (*Worker, error) {
		t.line.hangUp()
		t.dispatch.close()
		return nil, fmt.Errorf("caddis: spawn %q: %w (give each worker of an actor system another Name)", config.Name, err)
	}
	if !t.door.open() {
		return fail(actor.ErrNameExists)
	}
	root := newSupervisor(t, jobs.WithClient(context.Background(), client))
	if _, err := system.Root.SpawnNamed(props(t.dispatch, func() actor.Actor { return root }, actor.WithGuardian(lastResort)), t.supervisor.Id); err != nil {
		t.door.discard()
		return fail(err)
	}
	return &Worker{t}, nil
}

// resizeOrder is Resize with an answer that does not vanish with a mailbox.
type resizeOrder struct {
	concurrency int
	answer      chan error
}

func (*resizeOrder) IgnoreDeadLetterLogging() {}

// PID is what takes the worker's messages, during its life and after it.
func (w *Worker) PID() *actor.PID { return w.tree.door.system.NewLocalPID(w.tree.config.Name) }

// ID is the random id under which the worker holds its leases.
func (w *Worker) ID() string { return w.tree.worker }

// Status describes the worker as it is.
func (w *Worker) Status() Status { return w.tree.status() }

// Tree describes the worker actor by actor; once it has ended, with its report.
func (w *Worker) Tree() jobs.WorkerTree {
	if r := w.Report(); r != nil {
		t := w.tree.farewell()
		t.Since, t.Report.StoppedAt, t.Report.Took = w.tree.shownAt(r.StoppedAt), w.tree.clock.at(r.StoppedAt), r.StopTook
		return t
	}
	t := w.tree.look()
	t.At = w.tree.clock.now()
	return t
}

// Stop begins a stop, or makes one more urgent, and returns at once. Done tells
// when it is over.
func (w *Worker) Stop(how Stop) { w.tree.door.system.Root.Send(w.PID(), &how) }

// Quiet, Resume and Resize send the messages of these names.
func (w *Worker) Quiet() { w.tree.door.system.Root.Send(w.PID(), &Quiet{}) }

// Resume ends Quiet.
func (w *Worker) Resume() { w.tree.door.system.Root.Send(w.PID(), &Resume{}) }

// Resize changes the number of executors. The worker refuses a number below 1 and
// any change once it stops.
func (w *Worker) Resize(concurrency int) error {
	order := &resizeOrder{concurrency: concurrency, answer: make(chan error, 1)}
	w.tree.door.system.Root.Send(w.PID(), order)
	var err error
	select {
	case err = <-order.answer:
	case <-w.Done():
		err = errEnded
	case <-time.After(callTimeout):
		err = errors.New("the worker does not answer")
	}
	if err != nil {
		return fmt.Errorf("caddis: resize: %w", err)
	}
	return nil
}

// Done is closed when the worker has stopped and nothing of it is left.
func (w *Worker) Done() <-chan struct{} { return w.tree.done }

// Report returns the report, or nil before Done.
func (w *Worker) Report() *Report {
	select {
	case <-w.tree.done:
		return &w.tree.outcome.Report
	default:
		return nil
	}
}

// Subscribe calls f at each change of state of the worker of a name in an actor
// system, until unsubscribe is called. It may be called before the worker is
// spawned. f is called by one goroutine at a time, in order. No actor waits for it, but
// the worker's end does, for a second at most: it should be quick, must not wait for the
// worker, and may send messages and begin a stop. A panic is logged.
func Subscribe(system *actor.ActorSystem, name string, f func(StateChanged)) (unsubscribe func()) {
	stream := system.EventStream
	subscription := stream.Subscribe(func(event any) {
		change, ok := event.(*StateChanged)
		if !ok || change.PID.Id != name {
			return
		}
		defer func() { // the others are to hear of it too
			if fault := recover(); fault != nil {
				guarded(system.Logger(), nil).Error("a subscriber to the worker's state panicked", "panic", (&jobs.Panic{Value: fault}).Error())
			}
		}()
		f(*change)
	})
	return func() { stream.Unsubscribe(subscription) }
}

// lastResort stands above all supervisors. One that fails is stopped, which hands
// its jobs back; the library's own guardian would restart it ten times and then
// drop it in silence. It must not escalate: that ends the process.
var lastResort = &guardian{}

type guardian struct{}

func (*guardian) HandleFailure(system *actor.ActorSystem, library actor.Supervisor, child *actor.PID,
	_ *actor.RestartStatistics, reason, _ any) {
	guarded(system.Logger(), nil).Error("a supervisor of caddis failed and is stopped; this is an error in caddis",
		slog.String("supervisor", child.Id), slog.Any("reason", reason))
	library.StopChildren(child)
}
