package redis

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

func TestTheCommonPathsDoExactlyWhatTheWholeScriptsDo(t *testing.T) {
	t.Parallel()
	client := redistest.Start(t, redistest.Options{}).Client()
	t.Cleanup(func() { _ = client.Close() })
	var served, refused [3]atomic.Int64
	commons := []*script{enqueueCommon, leaseCommon, settleCommon}
	open := func(namespace string, closed bool) twin {
		store, err := New(client, Config{Namespace: namespace, Logger: slog.New(slog.DiscardHandler), Timeout: 10 * time.Second})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		store.client.AddHook(commonHook(func(s *script, next func() any) any {
			i := slices.Index(commons, s)
			if closed {
				return int64(0)
			}
			reply := next()
			if reply == any(int64(0)) {
				refused[i].Add(1)
			} else {
				served[i].Add(1)
			}
			return reply
		}))
		return twin{store, client, namespace}
	}
	twins := [2]twin{open("open", false), open("closed", true)}
	queues := 0
	rapid.Check(t, func(t *rapid.T) {
		queues++
		(&comparison{T: t, twins: twins, queue: fmt.Sprint("q", queues)}).play()
	})
	for i, s := range commons {
		t.Logf("%s: %d calls were served, %d were rare", s.name, served[i].Load(), refused[i].Load())
		require.NotZero(t, served[i].Load(), s.name)
		require.NotZero(t, refused[i].Load(), s.name)
	}
}

// commonHook stands between a store and the common paths: next makes the call.
type commonHook func(s *script, next func() any) any

func (commonHook) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (commonHook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

func (h commonHook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) (err error) {
		s := commonOf(cmd.Args())
		if s == nil {
			return next(ctx, cmd)
		}
		reply := h(s, func() any {
			err = next(ctx, cmd)
			return cmd.(*goredis.Cmd).Val()
		})
		if err == nil {
			cmd.(*goredis.Cmd).SetVal(reply)
		}
		return err
	}
}

// commonOf returns the common path that a command is a call of, or nil.
func commonOf(args []any) *script {
	for _, s := range []*script{enqueueCommon, leaseCommon, settleCommon} {
		if len(args) > 1 && (args[1] == s.sha || args[1] == s.source) {
			return s
		}
	}
	return nil
}

// twin is one of two stores that are to be in the same state.
type twin struct {
	store     *Backend
	client    *goredis.Client
	namespace string
}

// comparison plays one sequence of calls to both twins. What they answer and all that
// they store has to be the same, but for times.
type comparison struct {
	*rapid.T
	twins   [2]twin
	queue   string
	made    int
	ids     []string
	granted []backend.Held
	leased  backend.LeaseRequest
	settled backend.SettleRequest
	tokens  int
	// unusual has some of the jobs have another priority than the usual one.
	unusual bool
}

// hours is longer than any test.
const hours = 10 * time.Hour

func (c *comparison) play() {
	// The whole enqueue tells the clock, which the common one needs.
	c.enqueue([]backend.NewJob{{Job: backend.Job{ID: "first", Queue: c.queue, Kind: "kind"}}})
	c.unusual = rapid.Bool().Draw(c.T, "unusual priorities")
	enqueue := func(*rapid.T) { c.enqueueFresh(0, 3) }
	lease := func(*rapid.T) { c.lease() }
	complete := func(*rapid.T) { c.settle(backend.OutcomeCompleted) }
	calls := map[string]func(*rapid.T){
		"":        func(*rapid.T) { c.compare() },
		"enqueue": enqueue, "enqueue more": enqueue,
		"lease": lease, "lease more": lease, "lease still more": lease,
		"complete": complete, "complete more": complete,
	}
	rare := c.rare()
	names := slices.Sorted(maps.Keys(rare))
	// Of the rare ones few are in a sequence, or nothing would be common.
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 4, rapid.ID[string]).Draw(c.T, "rare calls") {
		calls[name] = func(*rapid.T) { rare[name]() }
	}
	c.Repeat(calls)
}

// rare are the calls after which a common path may have to answer so.
func (c *comparison) rare() map[string]func() {
	return map[string]func(){
		"enqueue for later": func() { c.enqueueFresh(hours, 3) },
		"enqueue for soon": func() {
			c.enqueueFresh(5*time.Millisecond, 3)
			time.Sleep(10 * time.Millisecond) // it is due in both, and nobody knows
		},
		"enqueue large ones": func() { c.enqueueFresh(0, 20<<10) },
		"enqueue in a lane":  c.enqueueInALane,
		"enqueue limited":    func() { c.enqueueLimited(0) },
		"enqueue limited for soon": func() {
			c.enqueueLimited(5 * time.Millisecond)
			time.Sleep(10 * time.Millisecond)
		},
		"set the limit": func() {
			rule := &backend.LimitRule{Slots: rapid.IntRange(1, 3).Draw(c.T, "slots")}
			c.operate(func(b *Backend, ctx context.Context, queue string) error {
				return b.SetLimit(ctx, queue, "class", rule)
			})
		},
		"enqueue known ids": c.enqueueKnown,
		"repeat a lease":    c.leaseAgain,
		"settle":            func() { c.settle(0) },
		"settle for later":  func() { c.settleFor(backend.OutcomeSnoozed, 5*time.Millisecond) },
		"block":             func() { c.settle(backend.OutcomeBlocked) },
		"release":           func() { c.settle(backend.OutcomeReleased) },
		"repeat a settle":   c.sendSettle,
		"renew":             c.renew,
		"let leases expire": c.expire,
		"cancel":            func() { c.act((*Backend).Cancel) },
		"retry":             func() { c.act((*Backend).Retry) },
		"delete":            func() { c.act((*Backend).Delete) },
		"run now":           func() { c.act((*Backend).RunNow) },
		"pause":             func() { c.pause(0) },
		"pause for a time": func() {
			c.pause(5 * time.Millisecond)
			time.Sleep(10 * time.Millisecond) // it is over in both
		},
		"resume":                func() { c.operate((*Backend).Resume) },
		"sweep":                 c.sweep,
		"forget repeated calls": c.forget,
	}
}

// both makes a call to both twins and compares what they answer.
func both[A any](c *comparison, call func(store *Backend) (A, error)) A {
	c.Helper()
	var answers [2]A
	for i, twin := range c.twins {
		var err error
		answers[i], err = call(twin.store)
		require.NoError(c, err)
	}
	require.Equal(c, answers[1], answers[0])
	return answers[0]
}

func (c *comparison) enqueue(jobs []backend.NewJob) {
	both(c, func(store *Backend) ([]backend.Receipt, error) { return store.Enqueue(context.Background(), jobs) })
	for i := range jobs {
		c.ids = append(c.ids, jobs[i].ID)
	}
}

func (c *comparison) enqueueFresh(delay time.Duration, size int) {
	priority := 0
	if c.unusual && rapid.IntRange(0, 3).Draw(c.T, "unusual") == 0 {
		priority = rapid.IntRange(backend.PriorityLowest, backend.PriorityHighest).Draw(c.T, "priority")
	}
	jobs := make([]backend.NewJob, rapid.IntRange(1, 3).Draw(c.T, "jobs"))
	for i := range jobs {
		c.made++
		jobs[i] = backend.NewJob{Fresh: true, Delay: delay, Job: backend.Job{
			ID: fmt.Sprintf("%s-%04d", c.queue, c.made), Queue: c.queue, Kind: "kind", Priority: priority, Payload: make([]byte, size),
		}}
	}
	c.enqueue(jobs)
}

func (c *comparison) enqueueLimited(delay time.Duration) {
	c.made++
	c.enqueue([]backend.NewJob{{Fresh: true, Delay: delay, Job: backend.Job{
		ID: fmt.Sprintf("%s-%04d", c.queue, c.made), Queue: c.queue, Kind: "kind",
		Limits: []backend.Limit{{Class: "class", Hold: rapid.SampledFrom([]backend.SlotHold{0, 1}).Draw(c.T, "hold"), Rule: backend.LimitRule{Slots: 1}}},
	}}})
}

func (c *comparison) enqueueInALane() {
	c.made++
	c.enqueue([]backend.NewJob{{Fresh: true, Job: backend.Job{
		ID: fmt.Sprintf("%s-%04d", c.queue, c.made), Queue: c.queue, Kind: "kind",
		Lane: backend.Lane{Key: rapid.SampledFrom([]string{"a", "b"}).Draw(c.T, "lane")},
	}}})
}

func (c *comparison) enqueueKnown() {
	c.enqueue([]backend.NewJob{{
		Job:             backend.Job{ID: c.id(), Queue: c.queue, Kind: "kind", Payload: []byte("again")},
		ReplaceFinished: rapid.Bool().Draw(c.T, "replacing"),
	}})
}

// id draws one that was used; the last ones are the most likely.
func (c *comparison) id() string {
	return c.ids[len(c.ids)-1-rapid.IntRange(0, min(len(c.ids), 8)-1).Draw(c.T, "id")]
}

func (c *comparison) lease() {
	c.tokens++
	worker := c.queue + rapid.SampledFrom([]string{"-a", "-b"}).Draw(c.T, "worker")
	c.leased = backend.LeaseRequest{
		Worker: worker, Token: fmt.Sprintf("%s.%d", worker, c.tokens), Queues: []string{c.queue}, Duration: hours,
		Max: rapid.IntRange(0, 4).Draw(c.T, "max"),
	}
	c.leased.Ahead = rapid.IntRange(0, c.leased.Max).Draw(c.T, "ahead")
	if rapid.IntRange(0, 3).Draw(c.T, "unblocking") == 0 {
		c.leased.Unblock = []string{"k"}
	}
	c.leaseAgain()
}

func (c *comparison) leaseAgain() {
	if c.leased.Token == "" {
		return
	}
	reply := both(c, func(store *Backend) (backend.LeaseReply, error) {
		reply, err := store.Lease(context.Background(), c.leased)
		reply.Now = time.Time{}
		if !reply.NextDue.IsZero() {
			reply.NextDue = time.Unix(1, 0)
		}
		for i := range reply.Leases {
			l := &reply.Leases[i]
			l.ExpiresAt, l.Job.EnqueuedAt, l.Job.DueAt = time.Time{}, time.Time{}, time.Time{}
		}
		return reply, err
	})
	for _, l := range reply.Leases {
		c.granted = append(c.granted, backend.Held{Queue: c.queue, ID: l.Job.ID, Token: l.Token})
	}
}

// grants draws leases that were given; some are over, and some come twice.
func (c *comparison) grants() []backend.Held {
	n := len(c.granted)
	if n == 0 {
		return nil
	}
	held := make([]backend.Held, rapid.IntRange(1, 4).Draw(c.T, "leases"))
	for i := range held {
		held[i] = c.granted[n-1-rapid.IntRange(0, min(n, 6)-1).Draw(c.T, "lease")]
	}
	return held
}

// settle settles with an outcome, or with any if it is 0.
func (c *comparison) settle(outcome backend.Outcome) { c.settleFor(outcome, 0) }

// settleFor settles one lease at most with a delay that passes meanwhile, if it is
// given one: of several the order is that of their times.
func (c *comparison) settleFor(outcome backend.Outcome, delay time.Duration) {
	c.settled.Worker = c.queue + "-a"
	c.settled.Call++
	c.settled.Settlements = nil
	grants := c.grants()
	if delay > 0 {
		grants = grants[:min(1, len(grants))]
	}
	for _, held := range grants {
		s := backend.Settlement{Queue: c.queue, ID: held.ID, Token: held.Token, Outcome: outcome, Key: "k", Delay: delay}
		if outcome == 0 {
			s.Outcome = rapid.SampledFrom([]backend.Outcome{1, 2, 3, 4, 5, 6, 7}).Draw(c.T, "outcome")
			s.Keep = rapid.SampledFrom([]time.Duration{0, hours}).Draw(c.T, "keep")
			s.Delay = rapid.SampledFrom([]time.Duration{0, hours}).Draw(c.T, "delay")
			if rapid.Bool().Draw(c.T, "history") {
				s.History = &backend.History{Attempts: 1, Worker: "w"}
			}
		}
		c.settled.Settlements = append(c.settled.Settlements, s)
	}
	c.sendSettle()
	time.Sleep(2 * delay)
}

func (c *comparison) sendSettle() {
	if c.settled.Call > 0 {
		both(c, func(store *Backend) ([]backend.SettleResult, error) {
			return store.Settle(context.Background(), c.settled)
		})
	}
}

func (c *comparison) renew() {
	request := backend.RenewRequest{Worker: c.queue + "-a", Duration: hours, Leases: c.grants()}
	for i := range request.Leases {
		if rapid.Bool().Draw(c.T, "progress") {
			request.Leases[i].Progress = []byte("50 %")
		}
	}
	both(c, func(store *Backend) ([]backend.RenewResult, error) { return store.Renew(context.Background(), request) })
}

// expire lets all leases have ended long ago.
func (c *comparison) expire() {
	for _, twin := range c.twins {
		ctx, key := context.Background(), twin.base(c.queue)+"leases"
		for _, id := range twin.client.ZRange(ctx, key, 0, -1).Val() {
			require.NoError(c, twin.client.ZAddXX(ctx, key, goredis.Z{Score: 1, Member: id}).Err())
		}
	}
}

func (c *comparison) act(verb func(*Backend, context.Context, string, []string) ([]backend.ActResult, error)) {
	ids := []string{c.id(), c.id()}
	both(c, func(store *Backend) ([]string, error) {
		results, err := verb(store, context.Background(), c.queue, ids)
		var texts []string
		for _, r := range results {
			texts = append(texts, fmt.Sprint(r))
		}
		return texts, err
	})
}

func (c *comparison) pause(d time.Duration) {
	c.operate(func(b *Backend, ctx context.Context, queue string) error { return b.Pause(ctx, queue, d) })
}

func (c *comparison) operate(verb func(*Backend, context.Context, string) error) {
	both(c, func(store *Backend) (any, error) { return nil, verb(store, context.Background(), c.queue) })
}

func (c *comparison) sweep() {
	both(c, func(store *Backend) (backend.SweepReply, error) {
		reply, err := store.Sweep(context.Background(), backend.SweepRequest{Queues: []string{c.queue}, Duration: hours, Keys: []string{"k"}})
		reply.Next = 0
		return reply, err
	})
}

// forget has the servers forget the last calls, as they do after a while.
func (c *comparison) forget() {
	for _, twin := range c.twins {
		for _, key := range []string{"l:" + c.queue + "-a", "l:" + c.queue + "-b", "s:" + c.queue + "-a"} {
			require.NoError(c, twin.client.Del(context.Background(), twin.base(c.queue)+"last:"+key).Err())
		}
	}
	c.leased, c.settled.Settlements = backend.LeaseRequest{}, nil
}

func (c *comparison) compare() {
	require.Equal(c, c.twins[1].stored(c, c.queue), c.twins[0].stored(c, c.queue))
}

func (w *twin) base(queue string) string { return w.namespace + ":{" + queue + "}:" }

// stored is what the server holds of a queue, without times and without what only
// tells whether the common path may be taken.
func (w *twin) stored(t require.TestingT, queue string) map[string]any {
	ctx, base := context.Background(), w.base(queue)
	pipe := w.client.Pipeline()
	lists, hashes, sets := map[string]*goredis.StringSliceCmd{}, map[string]*goredis.MapStringStringCmd{}, map[string]*goredis.ZSliceCmd{}
	for _, key := range []string{"w-2", "w-1", "w0", "w1", "w2", "bell"} {
		lists[key] = pipe.LRange(ctx, base+key, 0, -1)
	}
	for _, key := range []string{"jobs", "running", "history", "blockedon", "ghosts", "meta", "limited", "classes", "laneof"} {
		hashes[key] = pipe.HGetAll(ctx, base+key)
	}
	for _, key := range []string{"scheduled", "leases", "blocked", "completed", "cancelled", "dead", "slots", "ready", "lanes"} {
		sets[key] = pipe.ZRangeWithScores(ctx, base+key, 0, -1)
	}
	memories := map[string]*goredis.StringCmd{}
	for _, key := range []string{"l:" + queue + "-a", "l:" + queue + "-b", "s:" + queue + "-a"} {
		memories[key] = pipe.Get(ctx, base+"last:"+key)
	}
	if _, err := pipe.Exec(ctx); err != goredis.Nil {
		require.NoError(t, err)
	}
	all := map[string]any{}
	for key, cmd := range lists {
		all[key] = cmd.Val()
	}
	for key, cmd := range hashes {
		fields := cmd.Val()
		for field, value := range fields {
			switch {
			case key == "jobs": // the level without the time of the enqueue
				fields[field] = fmt.Sprint(value[0]>>5, value[headerSize:])
			case key == "meta" && slices.Contains([]string{"beat", "grace", "common", "due", "mixed"}, field):
				delete(fields, field)
			case key == "meta" && field == "paused" && value != "1":
				fields[field] = "until a time"
			}
		}
		all[key] = fields
	}
	for key, cmd := range sets {
		members := []string{}
		for _, z := range cmd.Val() {
			member := z.Member.(string)
			if key == "scheduled" {
				member += fmt.Sprint(" at level ", int64(z.Score)%8)
			}
			members = append(members, member)
		}
		slices.Sort(members)
		all[key] = members
	}
	for key, cmd := range memories {
		text := cmd.Val()
		if strings.HasPrefix(key, "l:") && text != "" { // without the process and the number of the call
			lines := strings.SplitN(text, "\n", 4)
			text = lines[0] + "\n" + lines[3]
		}
		all[key] = text
	}
	return all
}
