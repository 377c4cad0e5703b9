// Package cron computes the instants at which something happens again and again. It
// is pure: the same [Expression] or [Interval] gives the same instants everywhere,
// and nothing in it waits or knows what time it is.
//
// # The two nights a year
//
// The clocks of a zone that has daylight saving time skip an hour in one night and
// show an hour twice in another. An expression is read on the clock on the wall:
//
//   - A time that the clock skips counts at the end of the gap: what is due every day
//     at 2:30 is due at 3:00 in the night that has no 2:30, once, however many of its
//     times were skipped.
//   - A time that the clock shows twice counts the first time only.
//   - What runs every n minutes runs through both. That is an expression whose hours
//     are all hours ("15 * * * *"): it is due whenever the clock shows such a time,
//     and nothing is put in place of what is skipped. And it is one whose minutes or
//     seconds begin with a star ("*/10 1-5 * * *"): it is due both times.
package cron

import (
	"fmt"
	"strings"
	"time"

	parser "github.com/netresearch/go-cron"

	"github.com/caddis-go/caddis/backend"
)

// horizon is for how many years a next time is looked for: every combination of a
// date and a day of the week comes up within 40 years.
const horizon = 40

// Expression is a cron expression in a time zone. Its methods may be called
// concurrently.
type Expression struct {
	text, zone string
	location   *time.Location
	// wall matches times on the clock, as if they were in UTC.
	wall *parser.SpecSchedule
	// hourly says that all hours match, through that minutes or seconds are stepped or
	// that hours are all.
	hourly, through bool
}

// Parse reads an expression of five fields, or six with seconds in front: minute,
// hour, day of the month, month, day of the week. A field is a star, a number, a
// range, a step or a list of these; months and days of the week have names, and
// Sunday is 0 and 7. Where both days are restricted one of them suffices. Of the days
// there are "L" (the last), "L-3", "15W" (the nearest weekday), "LW", and "FRI#3" and
// "FRI#L" (the third and the last Friday). @hourly, @daily, @weekly, @monthly and
// @yearly stand for themselves.
//
// The zone is a name of the IANA database such as "Europe/Berlin", or "UTC". The
// error wraps [backend.ErrRejected].
func Parse(text, zone string) (*Expression, error) {
	fields := strings.Fields(strings.ToLower(text))
	switch {
	case len(fields) == 0:
		return nil, refuse(text, "it is empty; give five fields: minute hour day month weekday")
	case strings.HasPrefix(fields[0], "@every"):
		return nil, refuse(text, "use Every for what runs at intervals")
	case strings.HasPrefix(fields[0], "tz=") || strings.HasPrefix(fields[0], "cron_tz="):
		return nil, refuse(text, "the zone is not a part of it; give the zone by itself")
	case fields[0][0] != '@' && len(fields) != 5 && len(fields) != 6:
		return nil, refuse(text, fmt.Sprintf("it has %d fields; give five (minute hour day month weekday), or six with seconds in front", len(fields)))
	}
	location, err := zoneOf(zone)
	if err != nil {
		return nil, err
	}
	const options = parser.SecondOptional | parser.Minute | parser.Hour | parser.Dom | parser.Month | parser.Dow |
		parser.Descriptor | parser.Extended | parser.DowOrDom
	schedule, err := parser.MustNewParser(options).WithMaxSearchYears(horizon).Parse(strings.Join(fields, " "))
	if err != nil {
		return nil, refuse(text, err.Error())
	}
	wall, ok := schedule.(*parser.SpecSchedule)
	if !ok {
		return nil, refuse(text, "it is not an expression of times")
	}
	wall.Location = time.UTC
	const allHours = 1<<24 - 1
	e := &Expression{text: text, zone: zone, location: location, wall: wall}
	e.hourly = wall.Hour&allHours == allHours
	e.through = e.hourly || fields[0][0] == '*' || len(fields) == 6 && fields[1][0] == '*'
	if e.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, refuse(text, fmt.Sprintf("it never comes up within %d years; look at its day and month", horizon))
	}
	return e, nil
}

func refuse(text, why string) error {
	return fmt.Errorf("%w: the cron expression %.200q: %s", backend.ErrRejected, text, why)
}

func zoneOf(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("%w: the zone is %q, which each machine takes for another one; give a name such as \"Europe/Berlin\", or \"UTC\"",
			backend.ErrRejected, name)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%w: the zone %.100q: %w; give a name such as \"Europe/Berlin\", or \"UTC\" (a machine without a database of zones needs the import _ \"time/tzdata\")",
			backend.ErrRejected, name, err)
	}
	return location, nil
}

// String tells the expression and its zone.
func (e *Expression) String() string { return e.text + " in " + e.zone }

// Next returns the first instant after another one, in whole seconds; zero if there
// is none within 40 years.
func (e *Expression) Next(after time.Time) time.Time {
	limit := after.AddDate(horizon, 0, 0)
	bound := e.clock(after, after)
	for at := after; at.Before(limit); {
		// From start to stop the clock runs evenly.
		start, stop := at.In(e.location).ZoneBounds()
		if !start.IsZero() && !e.through {
			// What it had shown before start does not count again.
			if shown := e.clock(start, start.Add(-time.Nanosecond)); bound.Before(shown) {
				bound = shown.Add(-time.Nanosecond)
			}
		}
		found := e.wall.Next(bound)
		switch {
		case found.IsZero():
			return time.Time{}
		case stop.IsZero() || found.Before(e.clock(stop, at)):
			return at.Add(found.Sub(e.clock(at, at))).In(e.location)
		case !e.hourly && found.Before(e.clock(stop, stop)): // the clock skips it
			return stop.In(e.location)
		}
		at, bound = stop, e.clock(stop, stop).Add(-time.Nanosecond)
	}
	return time.Time{}
}

// clock is what the clock on the wall shows at an instant, as if it were in UTC, if it
// is set as at the other one.
func (e *Expression) clock(at, set time.Time) time.Time {
	_, offset := set.In(e.location).Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}
