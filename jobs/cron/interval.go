package cron

import (
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// MinInterval is the shortest interval.
const MinInterval = time.Second

// Interval is something that happens every so often, whatever the clocks on the
// walls do.
type Interval struct {
	every  time.Duration
	anchor time.Time
}

// Every makes an interval. Its instants are counted from an anchor, so that they are
// the same after each restart; a zero anchor is the start of 1970 in UTC, from which
// on an interval of an hour falls on full hours. The shortest is [MinInterval]; it has
// whole milliseconds. The error wraps [backend.ErrRejected].
func Every(every time.Duration, anchor time.Time) (Interval, error) {
	switch {
	case every < MinInterval:
		return Interval{}, fmt.Errorf("%w: every %v; the shortest interval is %v", backend.ErrRejected, every, MinInterval)
	case every%time.Millisecond != 0:
		return Interval{}, fmt.Errorf("%w: every %v; an interval has whole milliseconds", backend.ErrRejected, every)
	case every > backend.MaxDelay:
		return Interval{}, fmt.Errorf("%w: every %v; the longest interval is %v", backend.ErrRejected, every, backend.MaxDelay)
	}
	if anchor.IsZero() {
		anchor = time.Unix(0, 0)
	}
	return Interval{every: every, anchor: anchor.UTC().Truncate(time.Millisecond)}, nil
}

// String tells the interval.
func (i Interval) String() string { return "every " + i.every.String() }

// Next returns the first instant after another one; the anchor is the first of all.
func (i Interval) Next(after time.Time) time.Time {
	if after.Before(i.anchor) {
		return i.anchor
	}
	past := after.Sub(i.anchor)
	if past < 0 || past == 1<<63-1 { // more than a duration can say
		return time.Time{}
	}
	return after.UTC().Round(0).Add(i.every - past%i.every)
}
