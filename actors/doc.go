// Package actors runs jobs: it is a worker, as a supervised tree of actors that takes
// jobs from a store under leases, runs their handlers, brings what became of them to
// the store, and stops gracefully.
//
// Users meet [Config] with [QueueChoice] and [Gate], [Spawn] and [Worker]; the messages [Stop], [Quiet], [Resume],
// [Resize] and [Inspect] that the worker's PID takes; the [Report] that a stop ends
// with; and the strategies of supervision ([OneForOne], [OneForAll], [Backoff],
// [Intensity], [OnPanic], [Always]), which compose. It is the only package that knows
// protoactor.
//
// # The tree
//
//	                   supervisor
//	    ┌───────────┬──────┴────────┬────────────┬──────────────────┐
//	 fetcher       pool          settler       keeper ─ changes ─► clock
//	  ▲  │           └─ executor    ▲            │                  │
//	  │  └──── job ────►  × N ─ run ┘            │                  │
//	  └────── slot ────── ┘                      │                  │
//	 lease, wait                  settle   renew, sweep,          tick
//	                                       announce, listen
//	═══════════════════════════ line ══════════════════════════ the store
//
// No actor waits: calls to the store and handlers run in goroutines and answer by a
// message. Each actor says in its file what it takes, what it sends and how it ends.
//
//   - supervisor: the phases of the life; the order of the stop.
//   - fetcher: turns free slots into leases, one call at a time; keeps a little stock.
//   - pool: owns the executors; asks the strategy about those that fail.
//   - executor: runs one job at a time for its slot.
//   - settler: brings settlements to the store until they are confirmed.
//   - recorder: brings figures and events to the store, beside the work.
//   - keeper: renews leases, sweeps, publishes the worker's record and progress, hears
//     commands.
//   - clock: enqueues the jobs of schedules that are due; none leads.
//
// # The stop
//
//	draining       pills for clock, fetcher and pool; executors end after their jobs
//	cancelling     the handlers' contexts end with jobs.ErrStopping
//	handing-back   what still runs is handed back and left behind
//	               settler: all is confirmed ─► recorder: the last figures ─► keeper: signs off ─► report
//
// Each step begins when its time has come, or the one before has nothing left to do. A
// pill is a message here (drain), and every actor ends itself when it is ready. When
// the grace is over the parts are stopped; a watchdog gives the report if even that
// does not end the tree, as an actor in the code of others cannot be made to end.
//
// # The nouns
//
// An actor can be restarted, and messages can vanish with it, so what must not be lost
// lives in plain values beside the actors:
//
//   - run: a leased job on its way, from its lease to its confirmation.
//   - ledger: all runs, and the count of what became of those that ended.
//   - slot: a place for one handler; it outlives the executors that serve it.
//   - roster: all slots.
//   - stock: what the fetcher has leased ahead.
//   - served: which queues the worker takes from, by name and by pattern.
//   - chooser: asks the choice in which order.
//   - gates: samples the checks that close queues.
//   - lookout: the fetcher's wait for work, which can be nudged and closed.
//   - control: what the worker was told by operators, and has carried out.
//   - plan: the timetable of a stop.
//   - life: in which state the worker is, and what may still be begun.
//   - news: tells the log, subscribers, hooks and records what happened.
//   - records: what of that is to be brought to the store.
//   - door: what the worker's name stands for, before, during and after its life.
//
// What connects them:
//
//   - line: calls to the store, with their time, their panics and whose fault it is
//     when they fail.
//   - batches: what is brought to the store over the line: bounded in number and bytes,
//     divided when the store cannot take it, repeated until it is answered.
//   - outside: who is in the code of others, and does not come back.
//   - guard: carries out what a strategy decides, as far as that is sound.
//   - relay: lets an actor and the work that it begins take turns in one goroutine.
//   - post: messages from other goroutines, now or later.
package actors
