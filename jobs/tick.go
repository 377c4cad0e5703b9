package jobs

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// next is the first instant of a schedule after another one; zero if there is none.
func (s *spec) next(after time.Time) time.Time {
	if !s.Start.IsZero() && after.Before(s.Start) {
		after = s.Start.Add(-1)
	}
	next := s.rhythm.Next(after)
	if next.IsZero() || !s.End.IsZero() && next.After(s.End) || next.Year() > 9999 {
		return time.Time{}
	}
	return next.UTC()
}

// first is the next instant of a schedule that is put in the place of another one: an
// instant that was due already is still due, and none comes again.
func (s *spec) first(old *backend.Schedule, now time.Time) time.Time {
	if !old.Next.IsZero() && !old.Next.After(now) && !old.Paused {
		return old.Next
	}
	if old.Last.After(now) {
		now = old.Last
	}
	return s.next(now)
}

// maxMissed bounds the instants that are counted one by one when a schedule has missed
// some.
const maxMissed = 1000

// tick computes what is to be done with a schedule that is due.
func (s *spec) tick(stored *backend.Schedule, now time.Time) backend.Tick {
	t := backend.Tick{
		Queue: stored.Queue, Name: stored.Name, Version: stored.Version,
		At: stored.Next, Overlap: backend.ParseOverlap(s.Overlap),
	}
	late := true
	switch s.CatchUp {
	case catchUpAll:
		since := now.Add(-s.Window)
		if late = t.At.Before(since); late {
			s.pass(&t, since.Add(-1), now)
			late = t.At.Before(since)
		}
	case catchUpLast:
		s.pass(&t, now, now)
		late = false
	default:
		s.pass(&t, now, now)
		late = now.Sub(t.At) > punctual
	}
	if t.Next = s.next(t.At); !late {
		t.Job = s.job(stored, t.At)
	}
	return t
}

// pass moves a tick forward to the first instant after limit, or to the last one that
// is due by now if that comes before.
func (s *spec) pass(t *backend.Tick, limit, now time.Time) {
	for t.At.Compare(limit) <= 0 {
		next := s.next(t.At)
		if next.IsZero() || next.After(now) {
			return
		}
		t.At = next
		if t.Missed++; t.Missed == maxMissed {
			s.leap(t, limit, now)
			return
		}
	}
}

// leap does what pass does where there are very many: it halves the time in which the
// instant must lie until it is found.
func (s *spec) leap(t *backend.Tick, limit, now time.Time) {
	if next := s.next(limit); !next.IsZero() && !next.After(now) {
		t.At = next
		return
	}
	from, to := t.At, now // after from is one that is due, or from is the last; after to there is none
	for to.Sub(from) > time.Millisecond {
		middle := from.Add(to.Sub(from) / 2)
		if next := s.next(middle); next.IsZero() || next.After(now) {
			to = middle
		} else {
			from = next.Add(-1)
			t.At = next
		}
	}
}

// job is that of one instant.
func (s *spec) job(stored *backend.Schedule, at time.Time) *backend.NewJob {
	t := &s.Job
	job := &backend.NewJob{Job: backend.Job{
		ID: backend.TickID(stored.Name, at), Queue: stored.Queue, Kind: t.Kind, Payload: t.Payload, Codec: t.Codec,
		Priority: t.Priority, MaxAttempts: t.MaxAttempts, MaxCrashes: t.MaxCrashes, Timeout: t.Timeout,
		ExpireAfter: t.ExpireAfter, Retention: t.Retention, Tags: t.Tags, Headers: t.Headers,
		Limits: t.Limits, Lane: t.Lane,
	}}
	if u := t.Unique; u != nil {
		job.Unique = backend.Unique{Key: keyAt(u.Digest, u.Per, at), Hold: u.Hold, For: u.For, Conflict: u.Conflict}
	}
	if s.Jitter > 0 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(stored.Queue + "/" + stored.Name + "@" + strconv.FormatInt(at.UnixMilli(), 10)))
		job.At = at.Add(time.Duration(h.Sum64() % uint64(s.Jitter)).Truncate(time.Millisecond))
	}
	return job
}
