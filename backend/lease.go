package backend

import "time"

// LeaseRequest asks for jobs.
type LeaseRequest struct {
	// Worker is the id of the worker that will hold the leases.
	Worker string
	// Token is chosen by the worker, new for each call, and becomes the fencing
	// token of every lease that the call hands out. It begins with the worker's
	// id and a dot.
	Token string
	// Queues are asked in this order.
	Queues []string
	// Unblock names keys: blocked jobs that wait for one of them are handed
	// out, before the waiting ones.
	Unblock []string
	// Max bounds the number of jobs, over all queues; at most MaxBatch. With 0
	// no job is handed out, but a repeated call still answers.
	Max int
	// Ahead is how many of them are to wait at the worker until it has a place for
	// them: the last ones of as many as Max. If their leases expire, no crash is
	// counted for them, as their worker mostly had not begun them. A job with limits is
	// not among them, nor what waits behind it.
	Ahead int
	// Duration is how long the leases hold unless they are renewed. It must be
	// the same for all workers of a queue.
	Duration time.Duration
}

// LeaseReply answers a LeaseRequest.
type LeaseReply struct {
	Leases []Lease
	// Now is the store's clock.
	Now time.Time
	// NextDue is when the next scheduled job is due, the next lease expires, a pause ends
	// or a parked job has its tokens, whichever is first; zero if there is none of them.
	NextDue time.Time
	// More is true if jobs still wait that could be leased now, as far as was looked: they
	// may turn out to have no room in their limits.
	More bool
	// Blocked lists, for at most MaxBlockedKeys, the keys that blocked jobs in
	// these queues wait for: a hint that is quick. Sweep answers about given keys. Limits
	// are not among them.
	Blocked []string
	// Paused lists the queues of the request that are paused.
	Paused []string
	// Reclaimed counts the expired leases that were returned to their queues.
	Reclaimed int
}

// Lease is the right to run a job until an instant.
type Lease struct {
	Job     Job
	Token   string
	History History
	// Crashes counts how often an earlier lease on this job expired.
	Crashes int
	// ExpiresAt is by the store's clock.
	ExpiresAt time.Time
	// Err is set if what is stored of the job cannot be read. Job then has its
	// ID and Queue only. The lease is to be settled all the same, as dead.
	Err error
}

// Attempt is the number of the attempt that the lease is for, from 1.
func (l *Lease) Attempt() int { return l.History.Attempts + 1 }

// Outcome is what became of a leased job.
type Outcome uint8

const (
	// OutcomeCompleted ends a job well.
	OutcomeCompleted Outcome = iota + 1
	// OutcomeRetry schedules it again after Delay: the attempt failed. Without
	// a Delay it waits at once, behind those of its priority.
	OutcomeRetry
	// OutcomeSnoozed does the same: its handler asked so.
	OutcomeSnoozed
	// OutcomeReleased hands it back to the front of its queue, uncounted, before
	// those of its priority. Jobs of one call come in the order of the call.
	OutcomeReleased
	// OutcomeBlocked sets it aside until a Lease names its Key.
	OutcomeBlocked
	// OutcomeCancelled and OutcomeDead end it.
	OutcomeCancelled
	OutcomeDead
)

var outcomes = [...]string{
	"", "completed", "retry", "snoozed", "released", "blocked", "cancelled", "dead",
}

func (o Outcome) String() string {
	if int(o) < len(outcomes) && o > 0 {
		return outcomes[o]
	}
	return "invalid"
}

// Settlement says what became of one leased job.
type Settlement struct {
	Queue, ID, Token string
	Outcome          Outcome
	// Delay is for OutcomeRetry and OutcomeSnoozed; it is not negative.
	Delay time.Duration
	// Key is for OutcomeBlocked.
	Key string
	// Keep is for OutcomeCompleted: how long the job is kept. 0 takes the
	// backend's retention policy, a negative one forgets it at once.
	Keep time.Duration
	// History replaces the stored one; nil leaves it.
	History *History
}

// SettleRequest is a batch of settlements of one worker.
type SettleRequest struct {
	Worker string
	// Call numbers the worker's calls of Settle, from 1, each new one higher.
	Call        uint64
	Settlements []Settlement
}

// SettleResult says what a settlement did.
type SettleResult struct {
	// State is the job's state afterwards. It differs from what the outcome
	// says where somebody asked to cancel the running job: retry, snoozed,
	// released and blocked then become cancelled.
	State State
	// Stale is true if the token no longer holds the job: nothing changed.
	Stale bool
	// Err is a rejection: nothing changed, and it is final.
	Err error
}

// RenewRequest prolongs leases of one worker.
type RenewRequest struct {
	Worker   string
	Duration time.Duration
	Leases   []Held
}

// Held names one lease.
type Held struct {
	Queue, ID, Token string
	// Progress, if not nil, replaces what is stored of the job's progress.
	Progress []byte
}

// RenewResult answers for one lease.
type RenewResult struct {
	// Lost is true if the token no longer holds the job.
	Lost bool
	// CancelRequested is true if somebody asked to cancel the job.
	CancelRequested bool
	// Err is a rejection of this one, final.
	Err error
}

// SweepRequest asks for housekeeping.
type SweepRequest struct {
	Queues []string
	// First are those of Queues that are not to wait for their turn.
	First []string
	// Duration is the length of the leases in these queues.
	Duration time.Duration
	// Keys are what the worker could unblock: the reply tells for which of them
	// blocked jobs wait. At most MaxSweepKeys.
	Keys []string
}

// SweepReply says what was found.
type SweepReply struct {
	// Reclaimed counts the leases that had expired.
	Reclaimed int
	// Trimmed counts the finished jobs that were removed.
	Trimmed int
	// Blocked lists those of the request's Keys that blocked jobs in these queues
	// wait for, however many other keys there are.
	Blocked []string
	// Schedules is another number after each PutSchedule and DeleteSchedule in these
	// queues; 0 if there never was one. Queues that were not swept count as they were
	// when they last were.
	Schedules uint64
	// More is true if a bound was reached and another Sweep would find more.
	More bool
	// Next is how soon a lease in these queues expires, if it is not renewed, as far
	// as the store knows without a look at all of them; 0 if it knows of none.
	Next time.Duration
}
