package actors

import (
	"errors"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// door is what the name of a worker stands for in its actor system. It is no
// actor: it hands all messages on to the supervisor, and is still there when that
// has ended. So whoever asks for the stop is answered at any time, which an
// actor cannot do: what is in its mailbox when it ends vanishes unanswered.
//
// It answers those who asked for the stop and tells those who watch the worker
// when the report is there. After that it gives way to the next worker of its
// name.
type door struct {
	system     *actor.ActorSystem
	pid        *actor.PID
	supervisor *actor.PID
	status     func() Status
	// stopIn is told of every order to stop, as whoever is to carry it out may be stuck.
	stopIn func(grace time.Duration)

	mu       sync.Mutex
	callers  []*actor.PID
	watchers []*actor.PID
	report   *Stopped
}

var _ actor.Process = (*door)(nil)

func newDoor(system *actor.ActorSystem, name string) *door {
	return &door{
		system:     system,
		pid:        system.NewLocalPID(name),
		supervisor: system.NewLocalPID(name + "/" + supervisorName),
	}
}

const supervisorName = "supervisor"

// open takes the name; it returns false if another one has it.
func (d *door) open() bool {
	names := d.system.ProcessRegistry.LocalPIDs.GetBucket(d.pid.Id)
	return names.Upsert(d.pid.Id, d, func(taken bool, by, _ any) any {
		if before, ok := by.(*door); taken && !(ok && before.over() != nil) {
			return by
		}
		return d
	}) == any(d)
}

// discard gives the name back.
func (d *door) discard() {
	names := d.system.ProcessRegistry.LocalPIDs.GetBucket(d.pid.Id)
	names.RemoveCb(d.pid.Id, func(_ string, by any, _ bool) bool { return by == any(d) })
}

// close answers with the report all who wait, and all who ask later.
func (d *door) close(report *Stopped, final Status) {
	d.mu.Lock()
	d.report = report
	d.status = func() Status { return final }
	callers, watchers := d.callers, d.watchers
	d.callers, d.watchers = nil, nil
	d.mu.Unlock()
	for _, caller := range callers {
		d.system.Root.Send(caller, report)
	}
	for _, watcher := range watchers {
		d.tellEnd(watcher)
	}
}

func (d *door) over() *Stopped {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.report
}

// SendUserMessage implements actor.Process.
func (d *door) SendUserMessage(_ *actor.PID, message any) {
	_, body, sender := actor.UnwrapEnvelope(message)
	stop, ok := body.(*Stop)
	switch {
	case ok:
		d.stopIn(stop.Grace)
	case isPoison(body):
		d.stopIn(0)
	}
	if ok && sender != nil {
		if report := d.await(sender); report != nil {
			d.system.Root.Send(sender, report)
			return
		}
		message = body // the answer is the door's
	}
	if supervisor, ok := d.system.ProcessRegistry.GetLocal(d.supervisor.Id); ok {
		supervisor.SendUserMessage(d.supervisor, message)
		return
	}
	if sender == nil {
		return
	}
	switch body.(type) {
	case *Stop:
	case *Inspect:
		d.mu.Lock()
		describe := d.status
		d.mu.Unlock()
		status := describe()
		d.system.Root.Send(sender, &status)
	case *Resize:
		d.system.Root.Send(sender, &Resized{Err: errEnded})
	default:
		d.system.DeadLetter.SendUserMessage(d.pid, message)
	}
}

var errEnded = errors.New("the worker has ended")

// await notes who waits for the report, or returns it if it is there.
func (d *door) await(caller *actor.PID) *Stopped {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.report == nil {
		d.callers = append(d.callers, caller)
	}
	return d.report
}

// SendSystemMessage implements actor.Process.
func (d *door) SendSystemMessage(_ *actor.PID, message any) {
	switch m := message.(type) {
	case *actor.Watch:
		if d.watch(m.Watcher) {
			d.tellEnd(m.Watcher)
		}
	case *actor.Unwatch:
		d.unwatch(m.Watcher)
	default:
		if supervisor, ok := d.system.ProcessRegistry.GetLocal(d.supervisor.Id); ok {
			supervisor.SendSystemMessage(d.supervisor, message)
		}
	}
}

func (d *door) watch(watcher *actor.PID) (over bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.report == nil {
		d.watchers = append(d.watchers, watcher)
	}
	return d.report != nil
}

func (d *door) unwatch(watcher *actor.PID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := d.watchers[:0]
	for _, each := range d.watchers {
		if !each.Equal(watcher) {
			kept = append(kept, each)
		}
	}
	d.watchers = kept
}

func (d *door) tellEnd(watcher *actor.PID) {
	process, _ := d.system.ProcessRegistry.Get(watcher)
	process.SendSystemMessage(watcher, &actor.Terminated{Who: d.pid})
}

// Stop implements actor.Process: it is the hard stop.
func (d *door) Stop(*actor.PID) {
	if _, ok := d.system.ProcessRegistry.GetLocal(d.supervisor.Id); ok {
		d.system.Root.Stop(d.supervisor)
	}
}
