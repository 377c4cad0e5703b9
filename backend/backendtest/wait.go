package backendtest

import (
	"context"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// waiter is a Waiter with a worker that leases by it.
type waiter struct {
	*worker
	backend.Waiter
}

// answer is how a Lease of a waiter ended.
type answer struct {
	reply backend.LeaseReply
	err   error
	token string
}

// waiter makes a Waiter that the end of the test closes. Each has a worker of its
// own.
func (k *kit) waiter(queues ...string) *waiter {
	k.Helper()
	if len(queues) == 0 {
		queues = []string{"q"}
	}
	inner, err := k.Waiter(queues)
	require.NoError(k, err)
	k.Cleanup(func() { require.NoError(k, inner.Close()) })
	k.waiters++
	w := &waiter{k.worker(named("waiter", k.waiters)[k.waiters-1]), inner}
	w.queues = queues
	return w
}

// wait starts a Lease of one job that is to end by being woken.
func (w *waiter) wait() <-chan answer { return w.waitIn(w.ctx) }

func (w *waiter) waitIn(ctx context.Context) <-chan answer {
	ended := make(chan answer, 1)
	request := w.request(1)
	go func() {
		reply, err := w.Waiter.Lease(ctx, request, never)
		ended <- answer{reply, err, request.Token}
	}()
	return ended
}

// waitFor is a Lease with a limit, in the foreground.
func (w *waiter) waitFor(limit time.Duration) backend.LeaseReply {
	w.Helper()
	reply, err := w.Waiter.Lease(w.ctx, w.request(1), limit)
	require.NoError(w, err)
	return reply
}

// repeat asks what became of a Lease that ended with an error, without wanting
// more.
func (w *waiter) repeat(a answer) []string {
	w.Helper()
	request := w.request(0)
	request.Token = a.token
	return leased(w.send(request).Leases)
}

// requireEnd requires that a Lease ends soon.
func (k *kit) requireEnd(ended <-chan answer, why string) answer {
	k.Helper()
	select {
	case a := <-ended:
		return a
	case <-time.After(soon):
		require.Fail(k, "the Lease goes on", why)
		return answer{}
	}
}

// requireFailure requires that a Lease ends soon with an error.
func (k *kit) requireFailure(want error, ended <-chan answer, why string) {
	k.Helper()
	require.ErrorIs(k, k.requireEnd(ended, why).err, want, why)
}

// requireWoken requires that a Lease ends soon and has a job, if one is named.
func (k *kit) requireWoken(ended <-chan answer, why string, ids ...string) {
	k.Helper()
	a := k.requireEnd(ended, why)
	require.NoError(k, a.err, why)
	require.Equal(k, ids, append([]string(nil), leased(a.reply.Leases)...), why)
}

// requireJob requires that a Lease, or one of those that follow if it is empty,
// soon has a job.
func (w *waiter) requireJob(ended <-chan answer, id, why string) backend.Lease {
	w.Helper()
	for start := time.Now(); ; ended = w.wait() {
		a := w.requireEnd(ended, why)
		require.NoError(w, a.err, why)
		if len(a.reply.Leases) > 0 {
			require.Equal(w, []string{id}, leased(a.reply.Leases), why)
			return a.reply.Leases[0]
		}
		require.Less(w, time.Since(start), soon, why)
	}
}

// settleDown gives a Lease that was just started the time to get in line.
func settleDown() {
	const enough = 100 * time.Millisecond
	for range 20 {
		began := time.Now()
		time.Sleep(enough)
		if time.Since(began) < enough+enough/4 { // else the machine stood still, and so may those who are to wait
			return
		}
	}
}

// quietly is a waiter that has used up the wake-ups of before. No job may be there.
func (k *kit) quietly() *waiter {
	k.Helper()
	w := k.waiter()
	for range 20 {
		start := time.Now()
		require.Empty(k, w.waitFor(100*time.Millisecond).Leases)
		if time.Since(start) > 90*time.Millisecond {
			return w
		}
	}
	require.Fail(k, "wake-ups without end")
	return nil
}

var waitTests = []test{
	{"a waiter of bad queues is rejected", func(k *kit) {
		_, err := k.Waiter([]string{"{q}"})
		require.ErrorIs(k, err, backend.ErrRejected)
		_, err = k.Waiter([]string{"q", "q"})
		require.ErrorIs(k, err, backend.ErrRejected)
	}},
	{"a waiter rejects a bad request at once", func(k *kit) {
		w := k.waiter()
		request := w.request(1)
		request.Token = ""
		_, err := w.Waiter.Lease(k.ctx, request, never)
		require.ErrorIs(k, err, backend.ErrRejected)
	}},
	{"a waiter answers when its limit has passed", func(k *kit) {
		w := k.waiter()
		start := time.Now()
		require.Empty(k, w.waitFor(200*time.Millisecond).Leases)
		require.GreaterOrEqual(k, time.Since(start), 190*time.Millisecond)
		require.Less(k, time.Since(start), soon)
	}},
	{"an enqueue wakes who waits", func(k *kit) {
		// lesson: nothing waits for a poll.
		ended := k.waiter().wait()
		settleDown()
		k.enqueueAll("a")
		k.requireWoken(ended, "a job was enqueued", "a")
	}},
	{"an enqueue that nobody waits for is not missed", func(k *kit) {
		w := k.waiter()
		k.enqueueAll("a")
		k.requireWoken(w.wait(), "a job was enqueued before", "a")
		later := k.waiter()
		k.enqueueAll("b")
		k.requireWoken(later.wait(), "a job was enqueued before", "b")
	}},
	{"a waiter of several queues is woken by each", func(k *kit) {
		w := k.waiter("one", "two", "three")
		for _, q := range []string{"three", "one", "two"} {
			ended := w.wait()
			settleDown()
			k.enqueue(job("in "+q, in(q)))
			w.requireJob(ended, "in "+q, "a job was enqueued in "+q)
		}
	}},
	{"a waiter is not woken by other queues", func(k *kit) {
		w := k.waiter()
		k.enqueue(job("a", in("other")))
		start := time.Now()
		require.Empty(k, w.waitFor(200*time.Millisecond).Leases)
		require.GreaterOrEqual(k, time.Since(start), 190*time.Millisecond)
	}},
	{"a waiter leases as much as it asks for, in order", func(k *kit) {
		w := k.waiter()
		k.enqueueAll(named("a", 5)...)
		request := w.request(3)
		reply, err := w.Waiter.Lease(k.ctx, request, never)
		require.NoError(k, err)
		require.Equal(k, named("a", 3), leased(reply.Leases))
		require.True(k, reply.More)
		for _, l := range reply.Leases {
			require.Equal(k, request.Token, l.Token)
		}
		require.Equal(k, named("a", 3), leased(w.send(request).Leases), "the call is repeated")
	}},
	{"a wait ends at once with its ctx", func(k *kit) {
		w := k.waiter()
		ctx, cancel := context.WithCancel(k.ctx)
		ended := w.waitIn(ctx)
		settleDown()
		cancel()
		k.requireFailure(context.Canceled, ended, "its ctx has ended")
		k.requireFailure(context.Canceled, w.waitIn(ctx), "its ctx had ended before")
		ctx, cancel = context.WithTimeout(k.ctx, 50*time.Millisecond)
		defer cancel()
		interrupted := k.requireEnd(w.waitIn(ctx), "its ctx has a deadline")
		require.ErrorIs(k, interrupted.err, context.DeadlineExceeded)
		require.Empty(k, w.repeat(interrupted), "and from now on it takes nothing, however late it comes")
		k.enqueueAll("a")
		k.requireWoken(w.wait(), "a waiter that was interrupted may wait again", "a")
	}},
	{"a wait that is interrupted loses no wake-up and no job", func(k *kit) {
		first, second := k.waiter(), k.waiter()
		for i, id := range named("a", 20) {
			ctx, cancel := context.WithCancel(k.ctx)
			ended := first.waitIn(ctx)
			settled := make(chan struct{})
			go func() {
				defer close(settled)
				time.Sleep(time.Duration(i%4) * time.Millisecond)
				cancel()
			}()
			time.Sleep(time.Duration(i/4%4) * time.Millisecond)
			k.enqueueAll(id)
			a := k.requireEnd(ended, "it was interrupted")
			got := leased(a.reply.Leases)
			if a.err != nil {
				got = first.repeat(a)
			}
			if len(got) == 0 {
				k.requireWoken(second.wait(), "the first was interrupted", id)
			} else {
				require.Equal(k, []string{id}, got)
			}
			<-settled
		}
	}},
	{"what an interrupted wait did not take is not taken later", func(k *kit) {
		w, other := k.waiter(), k.worker("other")
		for _, id := range named("a", 10) {
			ctx, cancel := context.WithCancel(k.ctx)
			ended := w.waitIn(ctx)
			settleDown()
			cancel()
			require.Empty(k, w.repeat(k.requireEnd(ended, "it was interrupted")))
			k.enqueueAll(id)
			other.leaseOne(id)
		}
	}},
	{"a nudge ends a wait", func(k *kit) {
		for _, queues := range [][]string{{"q"}, {"q", "other"}} {
			w := k.waiter(queues...)
			ended := w.wait()
			settleDown()
			w.Nudge()
			k.requireWoken(ended, "it was nudged")
			w.Nudge()
			k.requireWoken(w.wait(), "it was nudged before")
			ended = w.wait()
			settleDown()
			k.enqueueAll("for " + queues[len(queues)-1])
			w.requireJob(ended, "for "+queues[len(queues)-1], "a job was enqueued")
			require.NoError(k, w.Close())
			w.Nudge()
		}
	}},
	{"Close ends a wait and later ones", func(k *kit) {
		w := k.waiter()
		ended := w.wait()
		settleDown()
		require.NoError(k, w.Close())
		k.requireFailure(backend.ErrClosed, ended, "the waiter was closed")
		k.requireFailure(backend.ErrClosed, w.wait(), "the waiter was closed")
		require.NoError(k, w.Close())
	}},
	{"a closed waiter takes no wake-up with it", func(k *kit) {
		first, second := k.waiter(), k.waiter()
		ended := first.wait()
		settleDown()
		require.NoError(k, first.Close())
		k.requireFailure(backend.ErrClosed, ended, "the waiter was closed")
		k.enqueueAll("a")
		k.requireWoken(second.wait(), "a job was enqueued", "a")
	}},
}

var wakeTests = []test{
	{"one waiter is woken per enqueue", func(k *kit) {
		var woken []<-chan answer
		for range 4 {
			woken = append(woken, k.quietly().wait())
		}
		settleDown()
		for _, id := range named("a", 2) {
			k.enqueueAll(id)
			k.eventually("one is woken", func() bool {
				for i := range woken {
					select {
					case a := <-woken[i]:
						require.NoError(k, a.err)
						require.Equal(k, []string{id}, leased(a.reply.Leases))
						woken = slices.Delete(woken, i, i+1)
						return true
					default:
					}
				}
				return false
			})
			time.Sleep(300 * time.Millisecond)
			for i := range woken {
				require.Empty(k, woken[i], "a second waiter was woken by one job")
			}
		}
	}},
	{"who leases and leaves jobs behind wakes the next", func(k *kit) {
		// lesson: wake-ups form a chain, not a stampede, and the chain must not
		// break.
		const waiters = 5
		got := make(chan int, waiters)
		for range waiters {
			ended := k.waiter().wait()
			go func() {
				if a := <-ended; a.err == nil {
					got <- len(a.reply.Leases)
				} else {
					got <- -1
				}
			}()
		}
		settleDown()
		k.enqueueAll(named("a", waiters)...)
		for range waiters {
			select {
			case n := <-got:
				require.Equal(k, 1, n)
			case <-time.After(patience):
				require.Fail(k, "the chain of wake-ups is broken")
			}
		}
	}},
	{"a job scheduled before all others wakes a waiter, which learns NextDue and leases it in time", func(k *kit) {
		w := k.waiter()
		ended := w.wait()
		settleDown()
		k.enqueue(job("a", delay(300*time.Millisecond)))
		a := k.requireEnd(ended, "a job was scheduled")
		require.NoError(k, a.err)
		reply := a.reply
		for len(reply.Leases) == 0 {
			require.False(k, reply.NextDue.IsZero())
			reply = w.waitFor(reply.NextDue.Sub(reply.Now))
		}
		due := k.get("a").DueAt
		require.WithinRange(k, reply.Now, due.Add(-2*time.Millisecond), due.Add(soon))
	}},
	{"a pause for a time wakes a waiter, which learns NextDue and leases in time", func(k *kit) {
		w := k.waiter()
		var reply backend.LeaseReply
		var until time.Time
		for d := 300 * time.Millisecond; until.IsZero(); d *= 2 { // over before it is looked at on a machine that stood still
			ended := w.wait()
			settleDown()
			require.NoError(k, k.Pause(k.ctx, "q", d))
			a := k.requireEnd(ended, "the queue was paused for a time")
			require.NoError(k, a.err)
			reply, until = a.reply, k.info().PausedUntil
		}
		k.enqueueAll("a")
		for len(reply.Leases) == 0 {
			require.False(k, reply.NextDue.IsZero())
			reply = w.waitFor(reply.NextDue.Sub(reply.Now))
		}
		require.WithinRange(k, reply.Now, until.Add(-2*time.Millisecond), until.Add(soon))
	}},
	{"what makes a job wait wakes a waiter", func(k *kit) {
		w := k.worker("w")
		var held []backend.Lease
		hold := func() { k.enqueueAll("a"); held = w.lease(1) }
		release := func(outcome backend.Outcome, options ...func(*backend.Settlement)) func() {
			return func() { w.settle(settlement(held[0], outcome, options...)) }
		}
		for _, c := range []struct {
			what         string
			prepare, act func()
			later        bool
		}{
			{what: "released", prepare: hold, act: release(backend.OutcomeReleased)},
			{what: "retried without delay", prepare: hold, act: release(backend.OutcomeRetry)},
			{what: "put off, the next to be due", prepare: hold, act: release(backend.OutcomeSnoozed, after(time.Minute)), later: true},
			{what: "run now", prepare: func() { k.enqueue(job("a", delay(time.Minute))) },
				act: func() { k.acted(k.RunNow, "a", backend.StateWaiting) }},
			{what: "retried by hand", prepare: func() { hold(); release(backend.OutcomeDead)() },
				act: func() { k.acted(k.Retry, "a", backend.StateWaiting) }},
			{what: "unblocked by hand", prepare: func() { hold(); release(backend.OutcomeBlocked)() },
				act: func() { k.acted(k.RunNow, "a", backend.StateWaiting) }},
			{what: "resumed", prepare: func() { require.NoError(k, k.Pause(k.ctx, "q", 0)); k.enqueueAll("a") },
				act: func() { require.NoError(k, k.Resume(k.ctx, "q")) }},
			{what: "resumed, in a lane", prepare: func() { require.NoError(k, k.Pause(k.ctx, "q", 0)); k.enqueue(job("a", inLane("tenant"))) },
				act: func() { require.NoError(k, k.Resume(k.ctx, "q")) }},
			{what: "taken back", prepare: func() { k.enqueueAll("a"); w.leaseFor(1, 10*short) }, act: func() { k.expire(1) }},
		} {
			c.prepare()
			waiter := k.quietly()
			ended := waiter.wait()
			settleDown()
			c.act()
			if c.later {
				k.requireWoken(ended, "the job was "+c.what)
				k.acted(k.Delete, "a", "")
			} else {
				l := waiter.requireJob(ended, "a", "the job was "+c.what)
				waiter.settle(settlement(l, backend.OutcomeCompleted, keep(-1)))
			}
			require.NoError(k, waiter.Close())
		}
	}},
}
