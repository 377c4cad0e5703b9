package backendtest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// waiter makes a Waiter that the end of the test closes.
func (k *kit) waiter(queues ...string) backend.Waiter {
	k.Helper()
	if len(queues) == 0 {
		queues = []string{"q"}
	}
	w, err := k.Waiter(queues)
	require.NoError(k, err)
	k.Cleanup(func() { require.NoError(k, w.Close()) })
	return w
}

// wait starts a Wait that is to end by being woken.
func (k *kit) wait(w backend.Waiter) <-chan error {
	return k.waitIn(k.ctx, w)
}

func (k *kit) waitIn(ctx context.Context, w backend.Waiter) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- w.Wait(ctx, never) }()
	return ended
}

// requireEnd requires that a Wait ends soon.
func (k *kit) requireEnd(ended <-chan error, why string) error {
	k.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(soon):
		require.Fail(k, "Wait goes on", why)
		return nil
	}
}

// requireWoken requires that a Wait returns soon and without an error.
func (k *kit) requireWoken(ended <-chan error, why string) {
	k.Helper()
	require.NoError(k, k.requireEnd(ended, why), why)
}

// settleDown gives a Wait that was just started the time to get in line.
func settleDown() { time.Sleep(50 * time.Millisecond) }

// quietly is a waiter that has used up the wake-ups of before.
func (k *kit) quietly(queues ...string) backend.Waiter {
	k.Helper()
	w := k.waiter(queues...)
	for range 20 {
		start := time.Now()
		require.NoError(k, w.Wait(k.ctx, 100*time.Millisecond))
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
	{"Wait returns when its limit has passed", func(k *kit) {
		w := k.waiter()
		start := time.Now()
		require.NoError(k, w.Wait(k.ctx, 200*time.Millisecond))
		require.GreaterOrEqual(k, time.Since(start), 190*time.Millisecond)
		require.Less(k, time.Since(start), soon)
	}},
	{"an enqueue wakes who waits", func(k *kit) {
		// lesson: nothing waits for a poll.
		ended := k.wait(k.waiter())
		settleDown()
		k.enqueueAll("a")
		k.requireWoken(ended, "a job was enqueued")
	}},
	{"an enqueue that nobody waits for is not missed", func(k *kit) {
		w := k.waiter()
		k.enqueueAll("a")
		k.requireWoken(k.wait(w), "a job was enqueued before")
		later := k.waiter()
		k.enqueueAll("b")
		k.requireWoken(k.wait(later), "a job was enqueued before")
	}},
	{"a waiter of several queues is woken by each", func(k *kit) {
		w := k.waiter("one", "two", "three")
		for _, q := range []string{"three", "one", "two"} {
			ended := k.wait(w)
			settleDown()
			k.enqueue(job("a", in(q)))
			k.requireWoken(ended, "a job was enqueued in "+q)
		}
	}},
	{"a waiter is not woken by other queues", func(k *kit) {
		w := k.waiter()
		k.enqueue(job("a", in("other")))
		start := time.Now()
		require.NoError(k, w.Wait(k.ctx, 200*time.Millisecond))
		require.GreaterOrEqual(k, time.Since(start), 190*time.Millisecond)
	}},
	{"a Wait ends at once with its ctx", func(k *kit) {
		w := k.waiter()
		ctx, cancel := context.WithCancel(k.ctx)
		ended := k.waitIn(ctx, w)
		settleDown()
		cancel()
		require.ErrorIs(k, k.requireEnd(ended, "its ctx has ended"), context.Canceled)
		require.ErrorIs(k, k.requireEnd(k.waitIn(ctx, w), "its ctx had ended before"), context.Canceled)
		ctx, cancel = context.WithTimeout(k.ctx, 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(k, k.requireEnd(k.waitIn(ctx, w), "its ctx has a deadline"), context.DeadlineExceeded)
		k.enqueueAll("a")
		k.requireWoken(k.wait(w), "a waiter that was interrupted may wait again")
	}},
	{"a Wait that is interrupted loses no wake-up", func(k *kit) {
		first, second := k.waiter(), k.waiter()
		w := k.worker("w")
		for i, id := range named("a", 20) {
			ctx, cancel := context.WithCancel(k.ctx)
			ended := k.waitIn(ctx, first)
			settled := make(chan struct{})
			go func() {
				defer close(settled)
				time.Sleep(time.Duration(i%4) * time.Millisecond)
				cancel()
			}()
			time.Sleep(time.Duration(i/4%4) * time.Millisecond)
			k.enqueueAll(id)
			if k.requireEnd(ended, "it was interrupted") != nil {
				k.requireWoken(k.wait(second), "the first was interrupted")
			}
			<-settled
			w.leaseOne(id)
		}
	}},
	{"Close ends a Wait and later ones", func(k *kit) {
		w := k.waiter()
		ended := k.wait(w)
		settleDown()
		require.NoError(k, w.Close())
		require.ErrorIs(k, k.requireEnd(ended, "the waiter was closed"), backend.ErrClosed)
		require.ErrorIs(k, k.requireEnd(k.wait(w), "the waiter was closed"), backend.ErrClosed)
		require.NoError(k, w.Close())
	}},
	{"a closed waiter hands a wake-up that was not used to another", func(k *kit) {
		first, second := k.quietly(), k.waiter()
		k.enqueueAll("a")
		k.requireWoken(k.wait(first), "a job was enqueued")
		ended := k.wait(second)
		require.NoError(k, first.Close())
		k.requireWoken(ended, "the one that was woken closed")
	}},
	{"a closed waiter takes no wake-up with it", func(k *kit) {
		first, second := k.waiter(), k.waiter()
		ended := k.wait(first)
		settleDown()
		require.NoError(k, first.Close())
		require.ErrorIs(k, k.requireEnd(ended, "the waiter was closed"), backend.ErrClosed)
		k.enqueueAll("a")
		k.requireWoken(k.wait(second), "a job was enqueued")
	}},
}

var wakeTests = []test{
	{"one waiter is woken per enqueue", func(k *kit) {
		var woken []<-chan error
		for range 4 {
			woken = append(woken, k.wait(k.waiter()))
		}
		settleDown()
		w := k.worker("w")
		for round := range 2 {
			id := named("a", 2)[round]
			k.enqueueAll(id)
			index := -1
			k.eventually("one is woken", func() bool {
				for i := range woken {
					select {
					case err := <-woken[i]:
						require.NoError(k, err)
						index = i
						return true
					default:
					}
				}
				return false
			})
			woken = append(woken[:index], woken[index+1:]...)
			w.leaseOne(id)
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
		leases := make(chan int, waiters)
		for i := range waiters {
			waiter, w := k.waiter(), k.worker([]string{"a", "b", "c", "d", "e"}[i])
			go func() {
				if waiter.Wait(k.ctx, never) != nil {
					leases <- -1
					return
				}
				reply, err := w.Lease(k.ctx, w.request(1))
				if err != nil {
					leases <- -1
					return
				}
				leases <- len(reply.Leases)
			}()
		}
		settleDown()
		k.enqueueAll(named("a", waiters)...)
		for range waiters {
			select {
			case n := <-leases:
				require.Equal(k, 1, n)
			case <-time.After(patience):
				require.Fail(k, "the chain of wake-ups is broken")
			}
		}
	}},
	{"a job scheduled before all others wakes a waiter, which learns NextDue and leases it in time", func(k *kit) {
		waiter, w := k.waiter(), k.worker("w")
		ended := k.wait(waiter)
		settleDown()
		k.enqueue(job("a", delay(300*time.Millisecond)))
		k.requireWoken(ended, "a job was scheduled")
		reply := w.send(w.request(1))
		for len(reply.Leases) == 0 {
			require.False(k, reply.NextDue.IsZero())
			require.NoError(k, waiter.Wait(k.ctx, reply.NextDue.Sub(reply.Now)))
			reply = w.send(w.request(1))
		}
		due := k.get("a").DueAt
		require.WithinRange(k, reply.Now, due.Add(-2*time.Millisecond), due.Add(soon))
	}},
	{"what makes a job wait wakes a waiter", func(k *kit) {
		w := k.worker("w")
		release := func(outcome backend.Outcome, options ...func(*backend.Settlement)) func() {
			return func() { w.settle(settlement(w.lease(1)[0], outcome, options...)) }
		}
		for _, c := range []struct {
			what         string
			prepare, act func()
		}{
			{"released", func() { k.enqueueAll("a") }, release(backend.OutcomeReleased)},
			{"retried without delay", func() {}, release(backend.OutcomeRetry)},
			{"put off, the next to be due", func() {}, release(backend.OutcomeSnoozed, after(time.Minute))},
			{"run now", func() {}, func() { k.acted(k.RunNow, "a", backend.StateWaiting) }},
			{"retried by hand", release(backend.OutcomeDead), func() { k.acted(k.Retry, "a", backend.StateWaiting) }},
			{"unblocked by hand", release(backend.OutcomeBlocked), func() { k.acted(k.RunNow, "a", backend.StateWaiting) }},
			{"resumed", func() { require.NoError(k, k.Pause(k.ctx, "q")) }, func() { require.NoError(k, k.Resume(k.ctx, "q")) }},
			{"taken back", func() { w.leaseFor(1, short) }, func() { k.expire(1) }},
		} {
			c.prepare()
			waiter := k.quietly()
			ended := k.wait(waiter)
			settleDown()
			c.act()
			k.requireWoken(ended, "the job was "+c.what)
			require.NoError(k, waiter.Close())
		}
	}},
}
