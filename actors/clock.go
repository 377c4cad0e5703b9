package actors

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// clock enqueues the jobs of the schedules in the worker's queues when they are due. It
// stores the schedules that the registry declares, reads all that are stored, sleeps
// until the first of them is due by the store's clock, and ticks it. The workers of a
// queue all do so and none leads: the store carries out one tick of each instant, and
// tells the others what came of it. A worker without schedules makes no call.
//
// It takes schedulesSeen, schedulesChanged and queuesChanged from the keeper, which hears
// of changes, and scheduleEnded from the settler; hush and Resume. It makes one call at a time. Told
// to drain it ends at once: what it has in hand another worker does, or the next one.
type clock struct {
	config *Config
	queues *served
	news   *news
	line   *line
	clock  *storeClock
	post   *post
	log    *slog.Logger

	// declared is set once the registry's schedules are stored.
	declared bool
	// seen is what the last sweep told of the schedules, read what it had told when
	// they were last read, readAt when that was.
	seen, read uint64
	readAt     time.Time
	unread     bool
	schedules  map[scheduleKey]*timed

	calling bool
	abort   context.CancelFunc
	tries   tries
	resting bool // after a failure
	quiet   bool
	gone    bool
	timer   *time.Timer
}

type scheduleKey struct{ queue, name string }

// timed is a schedule that the clock has read.
type timed struct {
	jobs.ScheduleInfo
	// after is when it is to be tried again, if it could not be ticked.
	after time.Time
	tries int
}

const (
	// readPause gathers changes before the schedules are read again.
	readPause = time.Second
	// tickBytes bounds the jobs of one call.
	tickBytes = 1 << 20
	// longSleep is for how long the clock sleeps at most, in case it is wrong.
	longSleep = time.Minute
)

type (
	schedulesSeen    struct{ number uint64 }
	schedulesChanged struct{}
	scheduleEnded    struct{ scheduleKey }
	clockDue         struct{}
	clockRested      struct{}
	schedulesPut     struct {
		by  *clock
		err error
	}
	schedulesRead struct {
		by     *clock
		number uint64
		queues map[string][]backend.Schedule
		now    time.Time
		err    error
	}
	ticked struct {
		by    *clock
		ticks []backend.Tick
		reply backend.TickReply
		err   error
	}
)

func (*schedulesSeen) IgnoreDeadLetterLogging()    {}
func (*schedulesChanged) IgnoreDeadLetterLogging() {}
func (*scheduleEnded) IgnoreDeadLetterLogging()    {}
func (*clockDue) IgnoreDeadLetterLogging()         {}
func (*clockRested) IgnoreDeadLetterLogging()      {}
func (*schedulesPut) IgnoreDeadLetterLogging()     {}
func (*schedulesRead) IgnoreDeadLetterLogging()    {}
func (*ticked) IgnoreDeadLetterLogging()           {}

func newClock(t *tree) *clock {
	return &clock{
		config: &t.config, queues: t.queues, news: t.news, line: t.line, clock: t.clock, post: t.post, log: t.log,
		schedules: map[scheduleKey]*timed{}, declared: !t.config.Registry.HasSchedules(),
	}
}

func (k *clock) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Stopping, *actor.Restarting:
		k.leave()
		return
	case *drain:
		k.leave()
		c.Stop(c.Self())
		return
	case *hush:
		k.quiet = true
	case *Resume:
		k.quiet = false
	case *schedulesSeen:
		k.seen = m.number
		k.unread = k.unread || k.seen != k.read
	case *schedulesChanged, *queuesChanged:
		k.unread = true
	case *scheduleEnded:
		if s := k.schedules[m.scheduleKey]; s != nil {
			s.after = time.Time{}
		}
	case *clockRested:
		k.resting = false
	case *schedulesPut:
		if k.back(m.by) {
			k.put(c, m.err)
		}
	case *schedulesRead:
		if k.back(m.by) {
			k.taken(c, m)
		}
	case *ticked:
		if k.back(m.by) {
			k.ticked(c, m)
		}
	}
	k.advance(c)
}

// back reports whether an answer is to a call of this clock, which then is over.
func (k *clock) back(by *clock) bool {
	if by == k {
		k.calling, k.abort = false, nil
	}
	return by == k
}

func (k *clock) leave() {
	k.gone = true
	if k.timer != nil {
		k.timer.Stop()
	}
	if k.abort != nil {
		k.abort()
	}
}

// advance makes the next call, or sleeps until there is one to make.
func (k *clock) advance(c actor.Context) {
	if k.calling || k.resting || k.quiet || k.gone {
		return
	}
	now := k.clock.now()
	sinceRead := time.Since(k.readAt)
	if !k.declared {
		k.declare(c)
		return
	}
	if k.unread && sinceRead >= readPause {
		k.readAll(c)
		return
	}
	ticks, next := k.due(now)
	if len(ticks) > 0 {
		k.tick(c, ticks)
		return
	}
	if k.unread && (next == 0 || readPause-sinceRead < next) {
		next = readPause - sinceRead
	}
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
	if next > 0 {
		k.timer = k.post.after(min(next, longSleep), c.Self(), &clockDue{})
	}
}

// due computes the ticks that are to be made now, all of one queue, or in how long there
// will be one; 0 for never.
func (k *clock) due(now time.Time) (ticks []backend.Tick, next time.Duration) {
	size := 0
	for key, s := range k.schedules {
		if s.Err != nil || s.Paused || s.Next.IsZero() || s.Declared && !k.config.Registry.Declares(s.Name) {
			continue
		}
		at := s.Next
		if s.after.After(at) {
			at = s.after
		}
		if wait := at.Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		tick, ok := s.Tick(now)
		switch {
		case !ok || len(ticks) > 0 && (key.queue != ticks[0].Queue || size > tickBytes || len(ticks) == backend.MaxTicks):
			continue // its turn comes next
		case tick.Check() != nil:
			s.Err = tick.Check()
			k.unusable(s)
			continue
		}
		if tick.Job != nil {
			size += len(tick.Job.Payload)
		}
		ticks = append(ticks, tick)
	}
	return ticks, next
}

// call makes one call.
func (k *clock) call(c actor.Context, op string, ask func(context.Context) error, answer any, fill func(error)) {
	self := c.Self()
	k.calling = true
	k.abort = k.line.call(k.line.dispatch.Schedule, op, callTimeout, ask, func(err error) {
		fill(err)
		k.post.send(self, answer)
	})
}

// declare stores the schedules that the registry declares.
func (k *clock) declare(c actor.Context) {
	answer := &schedulesPut{by: k}
	k.call(c, "put schedules", func(ctx context.Context) error {
		return k.config.Registry.PutSchedules(ctx, k.line.store, k.queues.all())
	}, answer, func(err error) { answer.err = err })
}

// put goes on without those schedules that are wrong: the other ones have been stored.
func (k *clock) put(c actor.Context, err error) {
	switch {
	case err == nil:
	case errors.Is(err, backend.ErrUnavailable), errors.Is(err, backend.ErrFull), errors.Is(err, context.DeadlineExceeded):
		k.rest(c, err)
		return
	default:
		k.log.Error("a schedule that is declared cannot be stored", "error", err.Error())
	}
	k.tries = tries{}
	k.declared, k.unread = true, true
}

// readAll reads the schedules of all queues.
func (k *clock) readAll(c actor.Context) {
	k.unread, k.readAt = false, time.Now()
	answer := &schedulesRead{by: k, number: k.seen, queues: map[string][]backend.Schedule{}}
	k.call(c, "schedules", func(ctx context.Context) (failed error) {
		for _, queue := range k.queues.all() {
			query := backend.SchedulesQuery{Queue: queue}
			all := []backend.Schedule{}
			for {
				page, err := k.line.store.Schedules(ctx, query)
				if err != nil {
					failed = errors.Join(failed, err)
					break
				}
				all, answer.now = append(all, page.Schedules...), page.Now
				if page.After == "" {
					answer.queues[queue] = all
					break
				}
				query.Cursor = page.After
			}
		}
		return failed
	}, answer, func(err error) { answer.err = err })
}

// taken takes over what was read, of each queue whose schedules could be.
func (k *clock) taken(c actor.Context, m *schedulesRead) {
	if !m.now.IsZero() {
		k.clock.set(m.now)
	}
	fresh := map[scheduleKey]*timed{}
	for key, s := range k.schedules {
		if _, ok := m.queues[key.queue]; !ok && k.queues.serves(key.queue) {
			fresh[key] = s
		}
	}
	for queue, all := range m.queues {
		for _, stored := range all {
			key := scheduleKey{queue, stored.Name}
			fresh[key] = k.take(k.schedules[key], stored)
		}
	}
	k.schedules = fresh
	if m.err != nil {
		k.unread = true
		k.rest(c, m.err)
		return
	}
	k.read, k.tries = m.number, tries{}
	k.unread = k.unread || k.seen != k.read
}

// take makes a schedule of what is stored; before is what was known of it, or nil.
func (k *clock) take(before *timed, stored backend.Schedule) *timed {
	if before != nil && before.Version == stored.Version {
		return before
	}
	s := &timed{}
	if before != nil {
		s.ScheduleInfo = before.ScheduleInfo
	}
	s.ScheduleInfo = s.Again(stored)
	if s.Err != nil {
		k.unusable(s)
	}
	return s
}

func (k *clock) unusable(s *timed) {
	k.log.Error("a schedule cannot be used by this worker and is left to others",
		"schedule", s.Name, "queue", s.Queue, "error", s.Err.Error())
}

func (k *clock) tick(c actor.Context, ticks []backend.Tick) {
	answer := &ticked{by: k, ticks: ticks}
	k.call(c, "tick", func(ctx context.Context) (err error) {
		answer.reply, err = k.line.store.Tick(ctx, ticks)
		if err == nil {
			err = checkAnswers(len(answer.reply.Results), len(ticks))
		}
		return err
	}, answer, func(err error) { answer.err = err })
}

// ticked takes over how the schedules are by now.
func (k *clock) ticked(c actor.Context, m *ticked) {
	if m.err == nil {
		k.clock.set(m.reply.Now)
	}
	now := k.clock.now()
	for i := range m.ticks {
		key := scheduleKey{m.ticks[i].Queue, m.ticks[i].Name}
		s := k.schedules[key]
		if s == nil {
			continue
		}
		if m.err != nil {
			k.later(s, now, m.err)
			continue
		}
		switch result := &m.reply.Results[i]; {
		case result.Err != nil:
			k.later(s, now, result.Err)
		case result.Schedule.Name == "":
			delete(k.schedules, key)
		case result.Outcome == backend.TickWaits:
			s.after = now.Add(k.config.Lease / 3) // or sooner, when its job has ended here
		default:
			k.schedules[key] = k.take(s, result.Schedule)
			k.tell(&m.ticks[i], result)
			k.log.Debug("a schedule was due", "schedule", s.Name, "queue", s.Queue, "at", m.ticks[i].At, "outcome", result.Outcome.String())
		}
	}
}

// tell tells of the job that a tick has enqueued.
func (k *clock) tell(tick *backend.Tick, result *backend.TickResult) {
	if result.Outcome != backend.TickEnqueued || tick.Job == nil {
		return
	}
	job, state := tick.Job.Job, backend.StateWaiting
	job.ID, job.Queue = result.Schedule.LastJob, tick.Queue
	if tick.Job.Delay > 0 || tick.Job.At.After(k.clock.now()) {
		state = backend.StateScheduled
	}
	k.news.enqueued(&job, state)
}

// later tries a schedule again when some time has passed.
func (k *clock) later(s *timed, now time.Time, err error) {
	s.tries++
	s.after = now.Add(k.line.pause(s.tries, err))
	if errors.Is(err, backend.ErrRejected) || errors.Is(err, backend.ErrFull) {
		s.after = now.Add(k.config.Lease / 3)
		k.log.Warn("the job of a schedule cannot be enqueued; it is tried again", "schedule", s.Name, "queue", s.Queue, "error", err.Error())
	}
}

// rest lets some time pass after a failure.
func (k *clock) rest(c actor.Context, err error) {
	k.resting = true
	k.tries.failures++
	k.post.after(k.line.pause(k.tries.failures, err), c.Self(), &clockRested{})
}

// tellEnded tells the clock of jobs of schedules that have ended.
func (s *settler) tellEnded(runs []*run, results []backend.SettleResult) {
	for i, r := range runs {
		if name, _, ok := backend.ParseTickID(r.lease.Job.ID); ok && results[i].State.Final() {
			s.post.send(s.ticker, &scheduleEnded{scheduleKey{r.lease.Job.Queue, name}})
		}
	}
}
