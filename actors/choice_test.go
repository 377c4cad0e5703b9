package actors_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// fill stores n jobs in each of some queues.
func (r *rig) fill(n int, queues ...string) {
	r.t.Helper()
	for _, queue := range queues {
		items := make([]jobs.Item, n)
		for i := range items {
			items[i] = jobs.New(task{N: i}, jobs.Queue(queue))
		}
		_, err := r.client.EnqueueMany(context.Background(), items...)
		require.NoError(r.t, err)
	}
}

// begun notes from which queues jobs are begun, in order.
type begun struct {
	mu   sync.Mutex
	list []string
}

func (b *begun) handle(_ context.Context, job *jobs.Job[task]) error {
	b.mu.Lock()
	b.list = append(b.list, job.Queue)
	b.mu.Unlock()
	pause(10 * time.Millisecond)
	return nil
}

func (b *begun) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.list)
}

// count tells how many of the first n were of each queue.
func (b *begun) count(n int) map[string]int {
	count := map[string]int{}
	for _, queue := range b.all()[:n] {
		count[queue]++
	}
	return count
}

func queues(entries ...string) func(*actors.Config) {
	return func(c *actors.Config) { c.Queues = entries }
}

func choice(choice actors.QueueChoice) func(*actors.Config) {
	return func(c *actors.Config) { c.Choice = choice }
}

func TestTheChoiceOfQueuesDividesTheWorkAsItSays(t *testing.T) {
	for name, c := range map[string]struct {
		choice actors.QueueChoice
		want   map[string]int // of the first 120
	}{
		"strict, the default": {nil, map[string]int{"a": 100, "b": 20}},
		"in turns":            {actors.RoundRobin(), map[string]int{"a": 40, "b": 40, "c": 40}},
		"by weight":           {actors.Weighted(map[string]int{"b": 4}), map[string]int{"a": 20, "b": 80, "c": 20}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var b begun
				r := newStore(t)
				r.fill(100, "a", "b", "c")
				r.start(b.handle, queues("a", "b", "c"), choice(c.choice), concurrency(2))
				pause(5 * time.Second)
				require.Len(t, b.all(), 300)
				for queue, want := range c.want {
					require.InDelta(t, want, b.count(120)[queue], 12, "%s: %v", queue, b.count(120))
				}
			})
		})
	}
}

func TestAQueueThatWasEmptyHasNothingComingToIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var b begun
		r := newStore(t)
		r.fill(500, "a")
		r.start(b.handle, queues("a", "b"), choice(actors.RoundRobin()), concurrency(2))
		pause(time.Second)
		before := len(b.all())
		r.fill(100, "b")
		pause(500 * time.Millisecond)
		since := b.all()[before:]
		of := 0
		for _, queue := range since {
			if queue == "b" {
				of++
			}
		}
		require.InDelta(t, len(since)/2, of, 12)
	})
}

// wilful is a choice of a user's.
type wilful func(queues []string) []string

func (f wilful) Order(queues []string) []string { return f(queues) }
func (wilful) Leased(string, int)               {}

func TestAChoiceOfTheUsersOwnDecides(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var b begun
		r := newStore(t)
		r.fill(10, "a", "b", "c")
		r.start(b.handle, queues("a", "b", "c"), concurrency(1), choice(wilful(func(queues []string) []string {
			require.Equal(t, []string{"a", "b", "c"}, queues)
			return []string{"c", "nobody", "c", "b"} // "a" comes last
		})))
		pause(5 * time.Second)
		require.Equal(t, strings.Repeat("c", 10)+strings.Repeat("b", 10)+strings.Repeat("a", 10), strings.Join(b.all(), ""))
	})
}

func TestAChoiceThatPanicsOrHangsHoldsUpNothing(t *testing.T) {
	for name, order := range map[string]func(block chan struct{}) wilful{
		"panics": func(chan struct{}) wilful { return func([]string) []string { panic("no choice") } },
		"hangs": func(block chan struct{}) wilful {
			return func(queues []string) []string { <-block; return queues }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var b begun
				var log journal
				block := make(chan struct{})
				r := newStore(t)
				r.fill(10, "a", "b")
				r.start(b.handle, queues("b", "a"), choice(order(block)), log.config)
				pause(2 * time.Second)
				require.Len(t, b.all(), 20)
				require.Equal(t, "b", b.all()[0])
				require.NotEmpty(t, log.about("the choice of queues"))
				close(block)
				synctest.Wait()
			})
		})
	}
}

func TestQueuesThatAppearAreServedAndThoseThatVanishForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var b begun
		r := newStore(t)
		r.start(b.handle, queues("mail.*", "!mail.bulk"))
		pause(time.Second)
		require.Empty(t, r.served())

		began := time.Now()
		r.fill(1, "mail.a", "mail.bulk", "other")
		synctest.Wait()
		require.Equal(t, []string{"mail.a"}, b.all(), "at once, and no other")
		require.Less(t, time.Since(began), 100*time.Millisecond)
		r.fill(1, "mail.b")
		r.fill(1, "mail.a")
		pause(10 * time.Second)
		require.ElementsMatch(t, []string{"mail.a", "mail.b", "mail.a"}, b.all())
		require.Equal(t, []string{"mail.a", "mail.b"}, r.served())

		r.faulty.hide("mail.a", "mail.b", "mail.bulk", "other")
		pause(10 * time.Second)
		require.Empty(t, r.served())
		r.faulty.hide("mail.a")
		pause(10 * time.Second)
		require.Equal(t, []string{"mail.b"}, r.served())
		r.fill(1, "mail.b")
		pause(time.Second)
		require.Len(t, b.all(), 4)
	})
}

func TestAQueueWhoseAppearanceNobodyHeardOfIsFoundWithinAThirdOfTheLease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var b begun
		r := newStore(t)
		r.faulty.Backend = &sweeping{Backend: r.store, commands: make(chan backend.Command)}
		r.start(b.handle, queues("*"), lease(3*time.Second))
		pause(time.Second)
		r.fill(1, "new")
		pause(1100 * time.Millisecond)
		require.Equal(t, []string{"new"}, b.all())
	})
}

// served is what the worker's record says it takes from.
func (r *rig) served() []string {
	r.t.Helper()
	workers, err := r.client.Workers(context.Background())
	require.NoError(r.t, err)
	require.Len(r.t, workers, 1)
	return workers[0].Queues
}
