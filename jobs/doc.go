// Package jobs says what a job is: typed args, kinds and their handlers,
// options, outcomes, retries, and the [Client] that enqueues and inspects. A
// program that only enqueues needs this package and one backend.
package jobs
