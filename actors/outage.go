package actors

import (
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// outage is what is known of the calls that fail. One that goes on, or that comes and
// goes, is one line in the log.
type outage struct {
	down atomic.Bool // spares the lock while all is well

	mu      sync.Mutex
	failing map[string]time.Time // when each verb failed last, of those that fail
	last    error
	said    bool
	lines   rarely
	// faults are panics, deaf is said of commands that are not heard.
	faults, deaf rarely
}

func (o *outage) note(log *slog.Logger, op string, err error) {
	o.mu.Lock()
	if o.failing == nil {
		o.failing = map[string]time.Time{}
	}
	now := time.Now()
	o.failing[op], o.last = now, err
	began := !o.down.Swap(true)
	missed, say := 0, false
	if began {
		missed, say = o.lines.may(now)
	}
	o.said = o.said || say
	o.mu.Unlock()
	if !say {
		return
	}
	text := "the job store does not answer; running jobs go on and settlements are kept"
	if errors.Is(err, backend.ErrRejected) {
		text = "the job store refuses a call; it is repeated"
	}
	if missed > 0 {
		text = "the job store fails now and then"
	}
	log.Warn(text, "op", op, "error", err.Error(), "left_out", missed)
}

// stale is how long a verb that has failed counts as failing if it is not called again, as some
// are only where they are needed. What is repeated is repeated sooner.
const stale = time.Minute

func (o *outage) over(log *slog.Logger, op string) {
	if !o.down.Load() {
		return
	}
	o.mu.Lock()
	delete(o.failing, op)
	maps.DeleteFunc(o.failing, func(_ string, failed time.Time) bool { return time.Since(failed) > stale })
	well := len(o.failing) == 0
	say := well && o.said
	if well {
		o.down.Store(false)
		o.last, o.said = nil, false
	}
	o.mu.Unlock()
	if say {
		log.Info("the job store answers again", "op", op)
	}
}

// text is what the last failure said; empty while the store answers.
func (o *outage) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == nil {
		return ""
	}
	return o.last.Error()
}

// rarely keeps the same line of a log from being written more than once a second, and
// the rarer the longer it goes on, once a minute at last.
type rarely struct {
	mu     sync.Mutex
	next   time.Time
	gap    time.Duration
	missed int
}

// may reports whether to write the line, and how many were not written since the last.
func (r *rarely) may(now time.Time) (missed int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.next) {
		r.missed++
		return 0, false
	}
	if r.gap == 0 || now.Sub(r.next) > 10*time.Second {
		r.gap = time.Second
	} else {
		r.gap = min(2*r.gap, time.Minute)
	}
	missed, r.missed = r.missed, 0
	r.next = now.Add(r.gap)
	return missed, true
}
