package actors

import "github.com/asynkron/protoactor-go/actor"

// State is where a worker is in its life.
//
//	starting ─► running ◄──► quiet
//	               │           │
//	               └─────┬─────┘ Stop
//	                     ▼
//	                 draining ─► cancelling ─► handing-back
//	                     │           │              │
//	                     └───────────┴──────────────┴──► stopped, or crashed
type State string

const (
	// StateStarting lasts until all actors of the tree run.
	StateStarting State = "starting"
	// StateRunning takes jobs and runs them.
	StateRunning State = "running"
	// StateQuiet runs what it has and takes no more; Resume undoes it.
	StateQuiet State = "quiet"
	// StateDraining takes no more, lets the running jobs finish, and stops.
	StateDraining State = "draining"
	// StateCancelling has cancelled the contexts of the running jobs.
	StateCancelling State = "cancelling"
	// StateHandingBack gives back the jobs that ignore their contexts, and
	// waits until the store has confirmed all settlements.
	StateHandingBack State = "handing-back"
	// StateStopped and StateCrashed are final.
	StateStopped State = "stopped"
	StateCrashed State = "crashed"
)

// Stopping reports whether a stop has begun and is not over.
func (s State) Stopping() bool {
	return s == StateDraining || s == StateCancelling || s == StateHandingBack
}

// Final reports whether the worker has ended.
func (s State) Final() bool { return s == StateStopped || s == StateCrashed }

// StateChanged is published on the EventStream of the actor system at each
// change, by a goroutine that no actor waits for. Subscribe is the way to hear of it.
type StateChanged struct {
	// PID is the worker's, Worker its id.
	PID      *actor.PID
	Worker   string
	From, To State
}
