package backend

import (
	"encoding/json"
	"time"
)

// State is where a job is in its life.
//
//	            ┌──────────── due ────────────┐
//	enqueue ─► scheduled                      ▼
//	  └───────────────────────────────────► waiting ──lease──► running ──► completed
//	                                          ▲ ▲                │ ├─ retry, snoozed: scheduled
//	               blocked ── may go on ──────┘ │                │ ├─ blocked
//	                                            └── released ────┤ ├─ cancelled
//	                                            └── lease expired┘ └─ dead
type State string

const (
	// StateScheduled is a job that is not due yet.
	StateScheduled State = "scheduled"
	// StateWaiting is a job that is due and waits for a worker.
	StateWaiting State = "waiting"
	// StateBlocked is a job that waits for something other than its time and a
	// free worker: for a worker that knows its kind, or for room in a limit.
	StateBlocked State = "blocked"
	// StateRunning is a job that a worker holds a lease on.
	StateRunning State = "running"
	// StateCompleted, StateCancelled and StateDead are final.
	StateCompleted State = "completed"
	StateCancelled State = "cancelled"
	StateDead      State = "dead"
)

// States lists all states in the order of a job's life.
var States = []State{
	StateScheduled, StateWaiting, StateBlocked, StateRunning,
	StateCompleted, StateCancelled, StateDead,
}

// Final reports whether a job in this state is finished.
func (s State) Final() bool {
	return s == StateCompleted || s == StateCancelled || s == StateDead
}

// Priorities run from lowest to highest. Within a queue a job of a higher
// priority is always leased before one of a lower priority.
const (
	PriorityLowest  = -2
	PriorityNormal  = 0
	PriorityHighest = 2
)

// Job is one unit of work, as its producer described it. Once stored it does not
// change; what changes is in [History]. Zero values of the options mean "not
// said": the worker that runs the job then decides. In JSON durations are in
// nanoseconds and the payload is base64.
type Job struct {
	// ID is unique within the queue, at most MaxIDLength bytes.
	ID string `json:"id"`
	// Queue is the line in which the job waits.
	Queue string `json:"queue"`
	// Kind ties the payload to its handler.
	Kind string `json:"kind"`
	// Payload is opaque to the backend, at most MaxPayload bytes.
	Payload []byte `json:"payload"`
	// Codec names the encoding of the payload; empty means "json".
	Codec string `json:"codec,omitempty"`
	// Priority is between PriorityLowest and PriorityHighest.
	Priority int `json:"priority,omitempty"`

	// MaxAttempts is how often the job may fail before it is dead.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// MaxCrashes is how often its worker may vanish before it is dead.
	MaxCrashes int `json:"max_crashes,omitempty"`
	// Timeout bounds one attempt.
	Timeout time.Duration `json:"timeout,omitempty"`
	// Deadline is the instant after which the job must not run any more.
	Deadline time.Time `json:"deadline,omitzero"`
	// ExpireAfter is how long the job may wait after it is first due.
	ExpireAfter time.Duration `json:"expire_after,omitempty"`
	// Retention is how long the job is kept once completed.
	Retention time.Duration `json:"retention,omitempty"`

	// Limits are what the job counts against, at most MaxLimits.
	Limits []Limit `json:"limits,omitempty"`
	// Lane is where the job waits among those of its priority.
	Lane Lane `json:"lane,omitzero"`

	// Tags are free words for people who look for the job.
	Tags []string `json:"tags,omitempty"`
	// Headers carry context, such as trace ids, from the producer to the
	// handler.
	Headers map[string]string `json:"headers,omitempty"`

	// EnqueuedAt is the store's time of the enqueue, to the millisecond.
	EnqueuedAt time.Time `json:"enqueued_at,omitzero"`
	// DueAt is when the job was first to run: EnqueuedAt, unless it was
	// delayed.
	DueAt time.Time `json:"due_at,omitzero"`
}

// NewJob is a job to be stored. The backend sets its EnqueuedAt and DueAt.
type NewJob struct {
	Job
	// Delay is how long the job is not due yet, by the store's clock.
	Delay time.Duration
	// At is the instant at which it is due; used when Delay is 0. An instant
	// in the past means now.
	At time.Time
	// Fresh says that the id was made at random for this very call, so that a
	// store need not look whether it is held already.
	Fresh bool
	// ReplaceFinished says that a finished job of this id which is still kept gives
	// way: it is forgotten, with its history, and this one is stored as new. A job
	// that has not finished is left as it is.
	ReplaceFinished bool
	// Unique is the key that the job holds, if any.
	Unique Unique
}

// Receipt says what an enqueue did with one job.
type Receipt struct {
	Queue string `json:"queue"`
	ID    string `json:"id"`
	// State is the state of the job, or of the Holder, right after the enqueue.
	State State `json:"state,omitempty"`
	// Existing is true if the queue held a job of this id already; that one is
	// unchanged.
	Existing bool `json:"existing,omitempty"`
	// Holder is, for a job with a unique key, the id of the job that holds it after the
	// enqueue: its own, or that of another one, because of which it was not stored under
	// its own id. State is then the holder's, and empty if that is held for a time and
	// its job forgotten. It is empty if Existing is true.
	Holder string `json:"holder,omitempty"`
	// Replaced is true if the job has taken the place of the Holder.
	Replaced bool `json:"replaced,omitempty"`
	// Err is why the job was not stored. In JSON it is its text, "error".
	Err error `json:"-"`
}

// Duplicate reports whether another job holds the unique key: nothing was stored, or if
// Replaced is true, it was under that job's id.
func (r Receipt) Duplicate() bool { return r.Holder != "" && r.Holder != r.ID }

// MarshalJSON writes the error as its text.
func (r Receipt) MarshalJSON() ([]byte, error) {
	type plain Receipt
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(r), text(r.Err)})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// History is what has become of a job so far. The worker that holds the lease
// writes it, by its settlements.
type History struct {
	// Attempts counts the attempts that failed or completed the job since it
	// was enqueued or retried by hand.
	Attempts int `json:"attempts,omitempty"`
	// AttemptLimit is the MaxAttempts that the worker which settled last went by.
	AttemptLimit int `json:"attempt_limit,omitempty"`
	// Snoozes counts how often a handler put the job off.
	Snoozes int `json:"snoozes,omitempty"`
	// Failures are the errors of past attempts, oldest first, at most
	// MaxFailures of them.
	Failures []Failure `json:"failures,omitempty"`
	// Result is what the handler left, encoded by the job's codec.
	Result []byte `json:"result,omitempty"`
	// Progress is the last progress that was reported before the job was
	// settled, encoded by the job's codec.
	Progress []byte `json:"progress,omitempty"`
	// Checkpoint is what the handler saved to go on from, encoded by the job's codec.
	Checkpoint []byte `json:"checkpoint,omitempty"`
	// Logs are what the handler has logged in the last attempt, oldest first, at most
	// MaxLogs records of MaxLogBytes together.
	Logs []LogRecord `json:"logs,omitempty"`
	// Worker is the last worker that settled the job.
	Worker string `json:"worker,omitempty"`
	// StartedAt and FinishedAt frame the last attempt.
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// LogRecord is what a handler logged.
type LogRecord struct {
	At time.Time `json:"at"`
	// Level is as log/slog writes it, such as INFO.
	Level string `json:"level"`
	// Text has message and attributes, as msg=… key=value.
	Text string `json:"text"`
}

// Failure is how one attempt ended.
type Failure struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Worker  string    `json:"worker,omitempty"`
	Error   string    `json:"error"`
	// Stack is the stack of a panic.
	Stack string `json:"stack,omitempty"`
}

// JobInfo is a job and all that is known of it.
type JobInfo struct {
	Job
	State State `json:"state"`
	History
	// Crashes counts how often a lease on the job expired since it was enqueued
	// or retried by hand.
	Crashes int `json:"crashes,omitempty"`
	// ScheduledFor is when a scheduled job is due.
	ScheduledFor time.Time `json:"scheduled_for,omitzero"`
	// BlockedOn is the key that a blocked job waits for; PairOf reads that of a parked one.
	BlockedOn string `json:"blocked_on,omitempty"`
	// LeasedBy, Token and LeaseExpiresAt describe the lease of a running job.
	LeasedBy       string    `json:"leased_by,omitempty"`
	Token          string    `json:"token,omitempty"`
	LeaseExpiresAt time.Time `json:"lease_expires_at,omitzero"`
	// CancelRequested is true for a running job that is to be cancelled.
	CancelRequested bool `json:"cancel_requested,omitempty"`
	// KeptUntil is when a finished job is forgotten.
	KeptUntil time.Time `json:"kept_until,omitzero"`
}

// JobsQuery asks for a page of jobs.
type JobsQuery struct {
	Queue string
	State State
	// Cursor is empty for the first page, and Next of the page before else.
	Cursor string
	// Limit is the size of the page: 1 to MaxPage, 0 means DefaultPage.
	Limit int
}

// JobsPage is one page. Jobs that move while one pages may be missed or seen
// twice. A page may be shorter than its limit, or empty, although others follow:
// what a store reads for one page is bounded in bytes and in steps.
type JobsPage struct {
	Jobs []JobInfo `json:"jobs"`
	// Next is the cursor of the following page, empty after the last.
	Next string `json:"next,omitempty"`
}

// QueueInfo describes a queue.
type QueueInfo struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
	// PausedUntil is when the pause ends by itself; zero if it does not.
	PausedUntil time.Time `json:"paused_until,omitzero"`
	Shards      int       `json:"shards"`
	// Counts has an entry for every state.
	Counts map[State]int64 `json:"counts"`
	// OldestWaiting is when the job at the head of the waiting ones was
	// enqueued; zero if none waits. Priorities and shards are looked at in
	// turn and the oldest head is taken.
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
	// Completed, Failed (attempts settled as retry), Cancelled, Dead and Crashed
	// (leases expired) count what ever happened in the queue.
	Completed int64 `json:"completed"`
	Failed    int64 `json:"failed"`
	Cancelled int64 `json:"cancelled"`
	Dead      int64 `json:"dead"`
	Crashed   int64 `json:"crashed"`
	// Trimmed counts finished jobs that the retention policy removed before
	// their age was up, because of count or bytes.
	Trimmed int64 `json:"trimmed"`
}

// ActResult is what an operator's verb did to one job.
type ActResult struct {
	ID string `json:"id"`
	// State is the job's state afterwards; empty after Delete.
	State State `json:"state,omitempty"`
	// Err is why the verb was not applied. In JSON it is its text, "error".
	Err error `json:"-"`
}

// MarshalJSON writes the error as its text.
func (r ActResult) MarshalJSON() ([]byte, error) {
	type plain ActResult
	return json.Marshal(struct {
		plain
		Error string `json:"error,omitempty"`
	}{plain(r), text(r.Err)})
}

// WorkerInfo is what a worker publishes of itself.
type WorkerInfo struct {
	ID     string   `json:"id"`
	Host   string   `json:"host"`
	PID    int      `json:"pid"`
	Queues []string `json:"queues"`
	// Closed are those of Queues from which it takes no jobs at present, as a gate of it
	// is closed.
	Closed      []string  `json:"closed,omitempty"`
	Kinds       []string  `json:"kinds"`
	Concurrency int       `json:"concurrency"`
	Running     int       `json:"running"`
	State       string    `json:"state"`
	StartedAt   time.Time `json:"started_at"`
	// SeenAt is the store's time of the last Announce; set by the backend.
	SeenAt time.Time `json:"seen_at"`
}

// Announced answers an Announce.
type Announced struct {
	// Vanished are the records, at most MaxVanished, whose time has passed in the
	// last VanishedFor: these workers have neither announced themselves again nor
	// signed off, and nobody renews their leases. Each worker is told of each of them. A
	// store that finds out by itself who has vanished, and takes its leases back, need
	// not tell.
	Vanished []WorkerInfo
	// Next is how soon the time of the next one passes, if it is not refreshed; 0 if
	// there is no other worker.
	Next time.Duration
}

const (
	// VanishedFor is how long a store tells of a worker that has vanished.
	VanishedFor = time.Minute
	// MaxVanished is how many of them one Announce tells of.
	MaxVanished = 100
)

// Command is a hint to the workers.
type Command struct {
	// Verb is one of the constants below.
	Verb  string
	Queue string
	// ID is that of a job; empty for a verb about a queue.
	ID string
}

const (
	// CommandCancel says that a running job is to be cancelled.
	CommandCancel = "cancel"
	// CommandBlocked says that a queue has jobs that became blocked. A store that
	// sweeps all queues in each Sweep need not say it.
	CommandBlocked = "blocked"
	// CommandQueue says that a queue has appeared.
	CommandQueue = "queue"
	// CommandSchedule says that the schedules of a queue have changed.
	CommandSchedule = "schedule"
	// CommandControl says that a memo of the name ControlMemo was written, or may have been
	// while nothing was heard: a store says it each time that it begins to hear.
	CommandControl = "control"
)

// Retention bounds what is kept of the finished jobs of one state in one queue
// (in one shard, where a queue has several). Whichever bound is met first counts;
// where one is 0 and another is not, the one that is 0 does not bound.
type Retention struct {
	// Count is the number of jobs.
	Count int
	// Age is how long a job is kept. For completed jobs it applies to those
	// that do not say themselves by their Retention; 0 then means not at all.
	Age time.Duration
	// Bytes is the sum of bodies and histories.
	Bytes int64
}

// RetentionPolicy has the bounds for each final state. A field that is the zero
// Retention takes the one of DefaultRetention.
type RetentionPolicy struct {
	Completed, Cancelled, Dead Retention
}

// DefaultRetention is used where nothing else is said: completed jobs are
// forgotten at once unless they ask to be kept.
var DefaultRetention = RetentionPolicy{
	Completed: Retention{Count: 10_000, Age: 0, Bytes: 64 << 20},
	Cancelled: Retention{Count: 10_000, Age: 7 * 24 * time.Hour, Bytes: 64 << 20},
	Dead:      Retention{Count: 10_000, Age: 90 * 24 * time.Hour, Bytes: 256 << 20},
}
