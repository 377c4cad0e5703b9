package jobs

import (
	"time"

	"github.com/caddis-go/caddis/backend"
)

// EventType is what an [Event] tells of: one word for each thing, in the log, in
// figures and here.
type EventType = backend.EventType

const (
	// EventEnqueued is a job that was stored and waits for a worker, EventScheduled one
	// that was stored and is due later: by a client of the process, or by a schedule.
	// The start of the job may be told before, as a worker can have it before the reply
	// to the enqueue is here.
	EventEnqueued  EventType = "enqueued"
	EventScheduled EventType = "scheduled"
	// EventStarted is an attempt whose handler is about to be called.
	EventStarted EventType = "started"
	// What follows is what became of a leased job, when the store has confirmed it.
	// EventRetried is a failed attempt after which there is another one, EventDied the
	// last one. EventCancelled is also a job that somebody cancelled while it ran.
	EventCompleted EventType = "completed"
	EventRetried   EventType = "retried"
	EventSnoozed   EventType = "snoozed"
	EventCancelled EventType = "cancelled"
	EventDied      EventType = "died"
	// EventHandedBack is a job that went back to the front of its queue, uncounted,
	// because of a stop, or because this worker had no place for it.
	EventHandedBack EventType = "handed-back"
	// EventParked is a job that was set aside and waits for something other than its
	// time and a free worker: for a worker that knows its kind.
	EventParked EventType = "parked"
	// EventRecovered are jobs whose worker vanished and that this one put back into
	// their queues. Jobs says how many.
	EventRecovered EventType = "recovered"

	EventWorkerStarted EventType = "worker-started"
	EventWorkerQuiet   EventType = "worker-quiet"
	EventWorkerResumed EventType = "worker-resumed"
	// EventWorkerStopped is the last of a worker. Err is why it crashed, if it did.
	EventWorkerStopped EventType = "worker-stopped"

	// EventLeftOut is in the journal of a store only, in the place of as many events as
	// Jobs says, for which a worker had no room; see [Client.Events].
	EventLeftOut EventType = "left-out"
)

// Event is something that happened in this process.
type Event struct {
	Type EventType
	// At is when: by the store's clock, as far as this process knows it.
	At time.Time
	// Worker is the id of the worker; empty for an enqueue by a client.
	Worker string
	// Job describes the job and the attempt; nil for events of workers and for
	// EventRecovered. It must not be changed. Of a job that was not begun MaxAttempts is
	// what the job says, of one that was just enqueued there is no attempt either.
	Job *Info
	// Err is what the handler returned, or why the worker crashed; nil if it is neither.
	// errors.As finds a *[Panic] if the handler panicked.
	Err error
	// Took is how long the handler ran; 0 if it was not called, or is still running
	// although its job was handed back.
	Took time.Duration
	// Jobs is how many jobs the event is about: 1 if Job is set.
	Jobs int
}

// EventOf is what an outcome is called as an event.
func EventOf(outcome backend.Outcome) EventType {
	switch outcome {
	case backend.OutcomeCompleted:
		return EventCompleted
	case backend.OutcomeRetry:
		return EventRetried
	case backend.OutcomeSnoozed:
		return EventSnoozed
	case backend.OutcomeReleased:
		return EventHandedBack
	case backend.OutcomeBlocked:
		return EventParked
	case backend.OutcomeCancelled:
		return EventCancelled
	default:
		return EventDied
	}
}

// Enqueued is the event of a job that was just stored in a state.
func Enqueued(job *backend.Job, state backend.State, at time.Time) Event {
	e := Event{Type: EventEnqueued, At: at, Jobs: 1, Job: &Info{
		ID: job.ID, Kind: job.Kind, Queue: job.Queue, Priority: job.Priority, MaxAttempts: job.MaxAttempts,
		EnqueuedAt: job.EnqueuedAt, DueAt: job.DueAt, Deadline: job.Deadline, Tags: job.Tags, Headers: job.Headers,
	}}
	if state == backend.StateScheduled {
		e.Type = EventScheduled
	}
	return e
}
