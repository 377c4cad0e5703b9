package jobs

import (
	"time"

	"github.com/caddis-go/caddis/jobs/cron"
)

// Timing says when the jobs of a schedule are due: [Cron] or [Every].
type Timing struct {
	cron, zone string
	every      time.Duration
}

// Cron is a cron expression of five fields, or six with seconds in front, read on the
// clocks of a time zone: minute, hour, day of the month, month, day of the week. The
// zone is a name of the IANA database such as "Europe/Berlin", or "UTC". Package
// [cron] describes the expressions, and what happens in the two nights a year in which
// clocks are changed: what is due at 2:30 every day runs once in each of them.
func Cron(expression, zone string) Timing { return Timing{cron: expression, zone: zone} }

// Every is an interval in real time, 1 s or longer. It is counted from [StartAt], else
// from the start of 1970 in UTC, so that an interval of an hour falls on full hours
// and a restart of a worker does not begin it anew.
func Every(d time.Duration) Timing { return Timing{every: d} }

// rhythm gives the instants of a timing.
type rhythm interface {
	Next(after time.Time) time.Time
	String() string
}

func (t Timing) rhythm(start time.Time) (rhythm, error) {
	switch {
	case t == Timing{}:
		return nil, reject("the timing is empty; make one by jobs.Cron or jobs.Every")
	case t.cron != "" || t.zone != "":
		return cron.Parse(t.cron, t.zone)
	}
	return cron.Every(t.every, start)
}
