// Package jobstest tests handlers and the code that enqueues, without a server, without
// a worker and without sleeping.
//
//	func TestSignUp(t *testing.T) {
//		registry := jobs.NewRegistry()
//		shop.Register(registry, mailer) // by jobs.Handle
//		store := jobstest.New(t, registry)
//
//		err := shop.SignUp(ctx, store.Client(), "ada@example.com")
//		require.NoError(t, err)
//		store.RequireEnqueued(t, shop.Welcome{User: "ada"}, jobs.In(3*time.Minute))
//
//		report := store.Drain(ctx) // three minutes later, at once
//		report.RequireCompleted(t)
//	}
//
// [Store.RequireEnqueued] is told what is expected in the words of the enqueue, and
// [Enqueued] lists what was. [Store.Run] runs one handler once, as a worker would, and
// returns what became of the attempt. [Store.Drain] runs everything to its end, delays,
// retries and follow-up jobs included; [Store.RunFor] does so for a time, schedules included.
//
// # Time
//
// The store has a clock of its own, which moves on when nothing else is to be done: a
// backoff of three days takes microseconds. What a handler itself sees is the real time:
// its time.Now, its timers, and the timeout of its context. A test of those belongs into
// a bubble of testing/synctest, where Drain can let the time of the bubble pass:
//
//	synctest.Test(t, func(t *testing.T) {
//		store := jobstest.New(t, registry)
//		store.Sleep = time.Sleep
//		…
//	})
package jobstest
