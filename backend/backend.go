// Package backend says what a job store must do: the verbs, their types and
// their errors. It imports nothing else of Caddis. Implementations are
// backend/memory, backend/sqlite and backend/redis; backend/backendtest is the suite
// that every implementation passes.
//
// # The contract
//
// A backend offers verbs, not storage primitives. Each verb
//
//   - takes a batch and is atomic per queue (per shard, where a queue has
//     several): it validates first and then writes, so no input leaves it half
//     done;
//   - may be repeated after a lost reply with the same effect. Lease is
//     repeated with the same token, Settle and Record with the same call number,
//     WriteMemo with the same call, Enqueue with the same ids; all others have the
//     same effect however often they run;
//   - never scans: what it costs depends on the batch, not on how much is
//     stored or running;
//   - maps the store's errors to ours: [ErrUnavailable] (try again; [ErrDenied]
//     is one), [ErrRejected] (final), [ErrFull].
//
// There is one clock, the store's: it decides what is due and what has expired.
// Delays are therefore handed over as durations. The payload is opaque.
//
// All methods may be called concurrently, unless they say otherwise.
package backend

import (
	"context"
	"database/sql"
	"time"
)

// Backend is a job store.
type Backend interface {
	Producer
	Consumer
	Inspector
	Operator
	Scheduler
	Limiter
	Memos
	Directory
	Recorder

	// Check asks the store whether jobs are safe in it. It returns an error if
	// the store cannot be used at all (too old, out of reach), and warnings
	// about settings that can lose jobs.
	Check(ctx context.Context) ([]Warning, error)

	// Close frees what the backend opened itself. Calls in flight end with
	// ErrClosed, as do later ones. A second Close does nothing.
	Close() error
}

// Producer stores new jobs.
type Producer interface {
	// Enqueue stores jobs and answers one receipt per job, in order. An id that
	// its queue already holds is not stored again: the receipt says Existing
	// and tells the state of the job that is there.
	//
	// Jobs of several queues may come in one call; the call is atomic per
	// queue. When some could be stored and others not, Enqueue answers the
	// receipts with Err set on those that were not, and an error; of a job that a
	// limit refuses it is an ErrLimited. An
	// ErrUnavailable leaves open whether the jobs were stored. To repeat the
	// call with the same ids stores none that is held; a job that has finished
	// and been forgotten meanwhile is stored again, unless its Retention keeps
	// it.
	Enqueue(ctx context.Context, jobs []NewJob) ([]Receipt, error)
}

// Consumer hands out jobs under leases and takes back what became of them.
type Consumer interface {
	// Lease hands out up to Max waiting jobs, highest priority first, then in
	// the order in which they became due, lanes by turns. It first returns expired leases to
	// the front of their queue (counting a crash for each job) and moves due
	// scheduled jobs to the waiting ones.
	//
	// A call repeated with the same token, with no other Lease of the same
	// worker between, answers the jobs that the first one handed out and that
	// are still held under that token, and takes no new ones. Where an answer can
	// be lost on its way, the repeated call renews these leases.
	Lease(ctx context.Context, request LeaseRequest) (LeaseReply, error)

	// Waiter returns a Waiter on the queues. It does no I/O.
	Waiter(queues []string) (Waiter, error)

	// Settle records what became of leased jobs, and answers one result per
	// settlement, in order. A settlement whose token is no longer the one under
	// which the job is held changes nothing: its result is Stale.
	//
	// After an error the whole call is to be repeated with the same Call
	// number and the same settlements: what was applied the first time is not
	// applied again and answers what it answered. This holds as long as no
	// other Settle of the same worker comes between.
	Settle(ctx context.Context, request SettleRequest) ([]SettleResult, error)

	// Renew prolongs leases from now by request.Duration, stores the progress
	// of jobs that have some, and answers one result per lease, in order.
	Renew(ctx context.Context, request RenewRequest) ([]RenewResult, error)

	// SaveHistory stores the history of a job that is held, in the midst of its attempt: it
	// replaces the stored one as that of a settlement does, but for its progress, which
	// Renew stores, and the lease goes on. So what is in it is there for whoever leases
	// the job next, also if this worker vanishes. If the token no longer holds the job
	// nothing changes, and the error is ErrState.
	SaveHistory(ctx context.Context, held Held, history History) error

	// Sweep does the housekeeping of queues that nobody leases from at the
	// moment: it returns a bounded number of expired leases to the front of
	// their queue, lets due jobs wait, trims finished jobs to the retention policy,
	// and wakes a worker where jobs wait. Of many queues a store may sweep a part
	// in each call, in turns; those that the request names First it does in each.
	Sweep(ctx context.Context, request SweepRequest) (SweepReply, error)
}

// Waiter waits for work and leases it. It belongs to one fetcher: its methods are
// not to be called concurrently, but for Nudge and Close.
type Waiter interface {
	// Lease waits until one of the queues may have work, or until limit has
	// passed, and then does what Consumer.Lease does. The request names the
	// queues of the waiter. The reply may be empty before the limit.
	//
	// It returns at once when ctx ends, with ctx's error. After an error it is
	// not known whether jobs were handed out: the call is then to be repeated by
	// Consumer.Lease with the same token (and a Max of 0, if no job is wanted any
	// more), and what comes late of this one takes nothing.
	//
	// Of all waiters on a queue one is woken per enqueue, and its lease wakes the
	// next if it leaves jobs behind.
	Lease(ctx context.Context, request LeaseRequest, limit time.Duration) (LeaseReply, error)

	// Nudge makes the Lease in flight, or else the next one, lease without waiting
	// any longer. It does not block.
	Nudge()

	// Close ends a Lease in flight with ErrClosed and frees what the waiter
	// holds. A wake-up that it did not use is for another waiter.
	Close() error
}

// Inspector reads what is stored.
type Inspector interface {
	// Job returns one job, or ErrNotFound.
	Job(ctx context.Context, queue, id string) (JobInfo, error)

	// Jobs returns one page of the jobs of a queue in a state. What a page
	// costs depends on its size and not on where it lies.
	Jobs(ctx context.Context, query JobsQuery) (JobsPage, error)

	// Queues returns all queues that ever held a job or were named by a
	// worker, by name.
	Queues(ctx context.Context) ([]QueueInfo, error)

	// QueueNames returns the names of these queues, in order. It reads one list, so
	// that a worker may ask every few seconds.
	QueueNames(ctx context.Context) ([]string, error)

	// Queue returns one queue, or ErrNotFound.
	Queue(ctx context.Context, name string) (QueueInfo, error)

	// Lanes tells which lanes of a queue have jobs that wait; none if there is no such
	// queue.
	Lanes(ctx context.Context, query LanesQuery) (LanesInfo, error)
}

// Operator acts on stored jobs and queues. Each verb that takes ids answers one
// result per id, in order; Err of a result is ErrNotFound where there is no such
// job and ErrState where its state does not allow the act.
type Operator interface {
	// Cancel ends jobs. One that is scheduled, waiting or blocked becomes
	// cancelled at once. For one that is running the request is kept with the
	// lease, and the result's state is StateRunning: its worker learns of it
	// by Renew, or sooner by Listen, and the job ends cancelled unless it
	// completes or dies first. For a cancelled job it does nothing.
	Cancel(ctx context.Context, queue string, ids []string) ([]ActResult, error)

	// Retry makes dead or cancelled jobs wait again, with all attempts and
	// crashes back and with their history kept.
	Retry(ctx context.Context, queue string, ids []string) ([]ActResult, error)

	// Delete removes jobs in any state but running.
	Delete(ctx context.Context, queue string, ids []string) ([]ActResult, error)

	// RunNow makes scheduled or blocked jobs wait for a worker at once. For
	// waiting jobs it does nothing.
	RunNow(ctx context.Context, queue string, ids []string) ([]ActResult, error)

	// Pause stops the hand-out of a queue's jobs for a time, from now on by the store's
	// clock, or with 0 until Resume; those that run go on. A queue may be paused before
	// it holds any job. Of several pauses the last counts. When its time is over the
	// queue goes on by itself: NextDue of a LeaseReply tells when.
	Pause(ctx context.Context, queue string, d time.Duration) error

	// Resume undoes Pause.
	Resume(ctx context.Context, queue string) error
}

// Directory is the list of the workers.
type Directory interface {
	// Announce publishes or refreshes a worker's record, which is listed until it
	// was not refreshed for ttl. It answers which others were not.
	Announce(ctx context.Context, worker WorkerInfo, ttl time.Duration) (Announced, error)

	// SignOff removes a worker's record and what the store remembers of its
	// last calls. Its leases are not touched.
	SignOff(ctx context.Context, worker string, queues []string) error

	// Workers returns the records that have not been forgotten, by id.
	Workers(ctx context.Context) ([]WorkerInfo, error)

	// Listen calls deliver for each command to any worker, one at a time, until
	// ctx ends, and returns its error. It reconnects by itself. Commands are
	// hints that make things quick: one may be lost, and Renew tells the truth.
	Listen(ctx context.Context, deliver func(Command)) error
}

// Transactional is a store in an SQL database, whose verbs can be part of a
// transaction of the application. A [Backend] need not be one.
type Transactional interface {
	// EnqueueTx is Enqueue within tx: the jobs are there if and only if it commits,
	// and who waits for work is woken when it does. If it answers an error, none of
	// the jobs is part of tx.
	EnqueueTx(ctx context.Context, tx *sql.Tx, jobs []NewJob) ([]Receipt, error)

	// CompleteTx says within tx that a leased job is done: if tx commits the job will
	// end completed, whatever else its worker settles and even if the worker
	// vanishes. The worker settles it all the same, which frees the lease and keeps
	// the history. The error is ErrState if the token no longer holds the job: then tx
	// is to be rolled back.
	CompleteTx(ctx context.Context, tx *sql.Tx, held Held) error
}

// Versioned is a store that is, or is kept in, software with a version of its own. A
// [Backend] need not be one.
type Versioned interface {
	// Version names the software and its version, such as "Redis 7.2.4", for people.
	Version(ctx context.Context) (string, error)
}

// Warning is something about the store that can lose jobs or stop the work.
type Warning struct {
	// Setting is what it is about, such as "maxmemory-policy".
	Setting string
	// Problem says what can happen.
	Problem string
	// Remedy says what would be right.
	Remedy string
}

func (w Warning) String() string { return w.Setting + ": " + w.Problem + "; " + w.Remedy }
