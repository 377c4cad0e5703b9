package actors

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/caddis-go/caddis/jobs"
)

// recorder brings figures and events to the store: what records has gathered, every
// Config.Record.Every, one call at a time. A call that is not answered is repeated as it
// is, and dropped when it has become too old. Nobody waits for it.
//
// Told to drain itself it brings the rest, within a part of the time that the stop has
// left, and ends; the supervisor does so when all settlements are confirmed. It is the
// same value after a restart.
type recorder struct {
	config  *Config
	line    *line
	ledger  *ledger
	life    *life
	post    *post
	records *records

	calling, resting, due, draining bool
	failures                        int
	abort                           context.CancelFunc
	timer                           *time.Timer
	drops                           rarely
}

type (
	recordDue    struct{}
	recordRested struct{}
	recordEnd    struct{}
	recorded     struct{ err error }
)

func (*recordDue) IgnoreDeadLetterLogging()    {}
func (*recordRested) IgnoreDeadLetterLogging() {}
func (*recordEnd) IgnoreDeadLetterLogging()    {}
func (*recorded) IgnoreDeadLetterLogging()     {}

var errSpilled = errors.New("there are too many queues and kinds in one batch")

// lastRecord bounds what a stop waits for the recorder.
const lastRecord = 500 * time.Millisecond

func newRecorder(t *tree) *recorder {
	return &recorder{config: &t.config, line: t.line, ledger: t.ledger, life: t.life, post: t.post, records: t.records}
}

func (k *recorder) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		k.wind(c)
	case *actor.Stopping:
		k.timer.Stop()
		k.hangUp()
		return
	case *recordDue:
		k.due = true
		k.wind(c)
	case *recordRested:
		k.resting = false
	case *recorded:
		k.calling, k.abort = false, nil
		k.answered(c, m.err)
	case *drain:
		k.draining, k.due, k.resting = true, true, false
		k.post.after(min(lastRecord, k.life.untilEnd()/3), c.Self(), &recordEnd{})
	case *recordEnd:
		k.hangUp()
		c.Stop(c.Self())
		return
	default:
		return
	}
	k.advance(c)
}

// wind has the next batch be due in time.
func (k *recorder) wind(c actor.Context) {
	if k.timer != nil {
		k.timer.Stop()
	}
	k.timer = k.post.after(k.config.Record.Every, c.Self(), &recordDue{})
}

func (k *recorder) hangUp() {
	if k.abort != nil {
		k.abort()
	}
}

// advance makes the next call, if there is one to make.
func (k *recorder) advance(c actor.Context) {
	if k.calling || k.resting || !k.due {
		return
	}
	record := k.records.next(k.ledger.list())
	if record == nil {
		if k.due = false; k.draining {
			c.Stop(c.Self())
		}
		return
	}
	self := c.Self()
	k.calling = true
	k.abort = k.line.call(k.line.dispatch.Schedule, "record", callTimeout, func(ctx context.Context) error {
		return k.line.store.Record(ctx, *record)
	}, func(err error) {
		k.post.send(self, &recorded{err})
	})
}

func (k *recorder) answered(c actor.Context, err error) {
	if err == nil {
		spilled, more := k.records.answered()
		k.dropped(spilled, errSpilled)
		k.failures, k.due = 0, more || k.draining
		return
	}
	k.dropped(k.records.failed(err), err)
	k.failures++
	k.resting = true
	pause := k.line.pause(k.failures, err)
	if !k.draining {
		pause = max(pause, k.config.Record.Every/2)
	}
	k.post.after(pause, c.Self(), &recordRested{})
}

func (k *recorder) dropped(n uint64, err error) {
	if n == 0 {
		return
	}
	if missed, ok := k.drops.may(time.Now()); ok {
		k.config.Logger.Warn("figures were dropped, so that those in the job store are too low; the jobs are not affected",
			"dropped", n, "error", err.Error(), "left_out", missed)
	}
}

// last brings what the recorder left, if it was cut short.
func (k *recorder) last(crash error, limit time.Duration) {
	if k.records == nil {
		return
	}
	k.records.tell(jobs.EventWorkerStopped, 0, crash)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for ctx.Err() == nil {
		record := k.records.next(nil)
		if record == nil {
			return
		}
		err := k.line.now(ctx, "record", func(ctx context.Context) error { return k.line.store.Record(ctx, *record) })
		if err != nil {
			k.config.Logger.Debug("the last figures did not reach the job store", "error", err)
			return
		}
		k.records.answered()
	}
}
