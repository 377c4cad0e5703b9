// Package jobs says what a job is: typed args, kinds and their handlers,
// options, outcomes and retries, and the [Client] that enqueues, inspects and
// acts. A program that only enqueues needs this package and one backend.
//
// Args are a Go type with a Kind. A [Registry] ties each kind to its handler:
//
//	type Welcome struct {
//		UserID int64 `json:"user_id"`
//	}
//
//	func (Welcome) Kind() string { return "welcome" }
//
//	registry := jobs.NewRegistry()
//	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
//		return mailer.Welcome(ctx, job.Args.UserID)
//	}, jobs.MaxAttempts(10), jobs.Timeout(30*time.Second))
//
// # What becomes of an attempt
//
// A handler that returns nil completes its job, even if its context has ended
// meanwhile. An error fails the attempt, which is retried after the kind's
// [Backoff] until [MaxAttempts] are used up; then the job is dead. A panic does
// the same and leaves its stack. Some errors say more, also when wrapped by %w:
//
//	jobs.Snooze(d)        put off by d, no attempt counted
//	jobs.RetryIn(d, err)  failed, with this delay before the next attempt
//	jobs.Cancel(err)      cancelled: not wanted any more
//	jobs.Discard(err)     dead now, whatever attempts are left
//
// Any other error that comes after the context ended is read by its cause:
//
//	ErrTimeout    a failed attempt
//	ErrDeadline   dead: there is no time left for another attempt
//	ErrCancelled  cancelled
//	ErrStopping   back to the front of the queue, no attempt counted
//	ErrLeaseLost  nothing: the job is another worker's
//
// A job may be run more than once, after a crash of its worker for instance, so
// handlers should be idempotent.
//
// # What is kept from logs
//
// Args, results and progress are data of the application. They do not appear in
// the errors of this package, and [Info], [Job] and [JobInfo] print and log
// without them. The JSON of a job has them as they are stored: encrypted, where package
// encrypt is used.
package jobs
