package jobs

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// A ScheduleOption is said of a schedule, with [Schedule] or [Client.PutSchedule].
// What is said of one job can be said of all jobs of a schedule, but for [At], [In],
// [Deadline] and [ID].
type ScheduleOption interface {
	applyToSchedule(*draft) error
}

// draft is a schedule in the making.
type draft struct {
	spec spec
	job  []EnqueueOption
}

type scheduleOption func(*spec) error

func (o scheduleOption) applyToSchedule(d *draft) error { return o(&d.spec) }
func (o option) applyToSchedule(d *draft) error         { d.job = append(d.job, o); return nil }
func (o enqueueOption) applyToSchedule(d *draft) error  { d.job = append(d.job, o); return nil }

// Overlap says what happens when a schedule is due while its last job has not
// finished, be it that it runs, waits, or is to be tried again. The default is
// [backend.OverlapSkip]: there is no new job. With [backend.OverlapWait] it is enqueued
// as soon as the last one has finished, [CatchUpAll] deciding whether one for each
// instant that came meanwhile or one for all of them; with [backend.OverlapCancel] the
// last one is cancelled, and with [backend.OverlapAllow] nothing is looked at.
func Overlap(overlap backend.Overlap) ScheduleOption {
	return scheduleOption(func(s *spec) error {
		s.Overlap = overlap.String()
		if backend.ParseOverlap(s.Overlap) == 0 {
			return reject("Overlap(%d): give backend.OverlapSkip, OverlapWait, OverlapAllow or OverlapCancel", overlap)
		}
		return nil
	})
}

// What is said of instants that came while no worker was there.
const (
	catchUpNone = "none"
	catchUpLast = "last"
	catchUpAll  = "all"
)

// punctual is how late an instant may be without having been missed.
const punctual = time.Minute

// CatchUpNone passes over what no worker has enqueued within a minute.
func CatchUpNone() ScheduleOption { return catchUp(catchUpNone, 0) }

// CatchUpLast, the default, enqueues one job for all instants that were missed, that of
// the last one.
func CatchUpLast() ScheduleOption { return catchUp(catchUpLast, 0) }

// CatchUpAll enqueues one job for each instant that was missed, oldest first, if it is
// not longer ago than window: 1 ms to 10 years.
func CatchUpAll(window time.Duration) ScheduleOption { return catchUp(catchUpAll, window) }

func catchUp(policy string, window time.Duration) ScheduleOption {
	return scheduleOption(func(s *spec) error {
		s.CatchUp, s.Window = policy, window
		if policy == catchUpAll {
			return checkDuration("CatchUpAll", window, backend.MaxDelay, "say CatchUpNone for none")
		}
		return nil
	})
}

// Jitter puts each job off by a part of d, which is always the same for the same
// instant: many schedules of one time then do not begin at once.
func Jitter(d time.Duration) ScheduleOption {
	return scheduleOption(func(s *spec) error {
		s.Jitter = d
		return checkDuration("Jitter", d, backend.MaxDelay, "leave it out for none")
	})
}

// StartAt is the first instant that can be due.
func StartAt(t time.Time) ScheduleOption {
	return scheduleOption(func(s *spec) error {
		s.Start = t.UTC().Round(0)
		return checkInstant("StartAt", t)
	})
}

// EndAt is the last instant that can be due.
func EndAt(t time.Time) ScheduleOption {
	return scheduleOption(func(s *spec) error {
		s.End = t.UTC().Round(0)
		return checkInstant("EndAt", t)
	})
}

func checkInstant(name string, t time.Time) error {
	if t.Unix() <= 0 || t.Year() > 9999 {
		return reject("%s(%v): give an instant from 1970 to 9999, or leave it out", name, t)
	}
	return nil
}

// spec is what is stored of a schedule, as JSON. What is not known is skipped, so that
// an older worker reads what a newer one wrote.
type spec struct {
	Cron  string        `json:"cron,omitempty"`
	Zone  string        `json:"zone,omitempty"`
	Every time.Duration `json:"every,omitempty"`
	Start time.Time     `json:"start,omitzero"`
	End   time.Time     `json:"end,omitzero"`

	Jitter  time.Duration `json:"jitter,omitempty"`
	Overlap string        `json:"overlap,omitempty"`
	CatchUp string        `json:"catch_up,omitempty"`
	Window  time.Duration `json:"window,omitempty"`

	// Declared schedules are ticked by workers that declare them.
	Declared bool     `json:"declared,omitempty"`
	Job      template `json:"job"`

	rhythm rhythm
}

// template is what the jobs of a schedule have in common.
type template struct {
	Kind        string            `json:"kind"`
	Payload     []byte            `json:"payload,omitempty"`
	Codec       string            `json:"codec,omitempty"`
	Priority    int               `json:"priority,omitempty"`
	MaxAttempts int               `json:"max_attempts,omitempty"`
	MaxCrashes  int               `json:"max_crashes,omitempty"`
	Timeout     time.Duration     `json:"timeout,omitempty"`
	ExpireAfter time.Duration     `json:"expire_after,omitempty"`
	Retention   time.Duration     `json:"retention,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Limits      []backend.Limit   `json:"limits,omitempty"`
	Lane        backend.Lane      `json:"lane,omitzero"`
	Unique      *uniqueTemplate   `json:"unique,omitempty"`
}

// uniqueTemplate is what the keys of the jobs of a schedule have in common.
type uniqueTemplate struct {
	Digest   []byte           `json:"digest"`
	Hold     backend.Hold     `json:"hold"`
	For      time.Duration    `json:"for,omitempty"`
	Conflict backend.Conflict `json:"conflict,omitempty"`
	Per      time.Duration    `json:"per,omitempty"`
}

// check completes a spec with its defaults, and says what is wrong with it.
func (s *spec) check() (err error) {
	if s.Overlap == "" {
		s.Overlap = backend.OverlapSkip.String()
	}
	if s.CatchUp == "" {
		s.CatchUp = catchUpLast
	}
	s.rhythm, err = Timing{s.Cron, s.Zone, s.Every}.rhythm(s.Start)
	switch {
	case err != nil:
		return err
	case backend.ParseOverlap(s.Overlap) == 0:
		return reject("the overlap %q is not known here", s.Overlap)
	case s.CatchUp != catchUpNone && s.CatchUp != catchUpLast && s.CatchUp != catchUpAll:
		return reject("the catch-up %q is not known here", s.CatchUp)
	case !s.Start.IsZero() && !s.End.IsZero() && s.End.Before(s.Start):
		return reject("it ends at %v, before it starts at %v", s.End, s.Start)
	}
	return nil
}

// parseSpec reads what is stored.
func parseSpec(text []byte) (*spec, error) {
	s := &spec{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("what is stored of it cannot be read: %w", err)
	}
	return s, s.check()
}

// declaration is a schedule that a registry declares.
type declaration struct {
	name    string
	timing  Timing
	args    Args
	options []ScheduleOption
}

// Schedule declares a schedule: jobs with these args are enqueued when the timing says
// so, once in the whole fleet, as long as there is a worker that takes jobs from the
// queue of their kind and has the schedule in its registry. Which of them does it makes
// no difference: none leads.
//
//	jobs.Schedule(registry, "nightly", jobs.Cron("0 2 * * *", "Europe/Berlin"), Report{})
//
// Each worker stores what it declares when it starts, so the one that started last
// decides. A changed timing counts for the future only: what was due before is neither
// dropped nor repeated. A schedule that no worker declares any more is not ticked; it
// stays listed until [Client.DeleteSchedule].
//
// Like [Handle] it panics on mistakes in the program: a wrong expression or option, a
// name that is declared twice. Mistakes that can only be seen with the whole registry,
// such as a kind that it does not know, are errors of caddis.New: see
// [Registry.CheckSchedules].
func Schedule(r *Registry, name string, timing Timing, args Args, options ...ScheduleOption) {
	fault := func(format string, a ...any) {
		panic(fmt.Sprintf("jobs: Schedule %q: "+format, append([]any{name}, a...)...))
	}
	if err := backend.CheckSchedule(name); err != nil {
		fault("%v", err)
	}
	d := declaration{name, timing, args, options}
	if _, err := newDraft(d); err != nil {
		fault("%v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen.Load() {
		fault("the registry is in use by a started system; declare all schedules before the start")
	}
	for _, other := range r.schedules {
		if other.name == name {
			fault("it is declared already; each schedule has a name of its own")
		}
	}
	r.schedules = append(r.schedules, d)
}

// newDraft applies the options of a declaration.
func newDraft(d declaration) (*draft, error) {
	draft := &draft{spec: spec{Cron: d.timing.cron, Zone: d.timing.zone, Every: d.timing.every}}
	for i, o := range d.options {
		if o == nil {
			return nil, reject("option %d is nil", i+1)
		}
		if err := o.applyToSchedule(draft); err != nil {
			return nil, err
		}
	}
	return draft, draft.spec.check()
}

// schedule makes of a declaration what is to be stored, but for the next instant.
func (c *Client) schedule(d declaration, declared bool) (backend.Schedule, *spec, error) {
	draft, err := newDraft(d)
	if err != nil {
		return backend.Schedule{}, nil, err
	}
	// Whether an id is given shows by the job not being fresh.
	var job backend.NewJob
	builder := Client{registry: c.registry, plain: true}
	if err := builder.build(&job, d.args, draft.job, time.Now()); err != nil {
		return backend.Schedule{}, nil, err
	}
	if !job.Fresh || job.Delay > 0 || !job.At.IsZero() || !job.Deadline.IsZero() || job.ReplaceFinished {
		return backend.Schedule{}, nil, reject("ID, In, At, Deadline and what becomes of an id that is held are said of one job, not of all jobs of a schedule")
	}
	s := &draft.spec
	s.Declared = declared
	s.Job = template{
		Kind: job.Kind, Payload: job.Payload, Codec: job.Codec, Priority: job.Priority,
		MaxAttempts: job.MaxAttempts, MaxCrashes: job.MaxCrashes, Timeout: job.Timeout,
		ExpireAfter: job.ExpireAfter, Retention: job.Retention, Tags: job.Tags, Headers: job.Headers,
		Limits: job.Limits, Lane: job.Lane,
	}
	if u := c.registry.kind(job.Kind).uniqueness(draft.job); u != nil {
		digest, err := u.digest(&job.Job, d.args)
		if err != nil {
			return backend.Schedule{}, nil, err
		}
		s.Job.Unique = &uniqueTemplate{digest, u.Hold, u.For, u.Conflict, u.period}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return backend.Schedule{}, nil, reject("the schedule cannot be encoded: %w", err)
	}
	stored := backend.Schedule{Queue: job.Queue, Name: d.name, Spec: text}
	return stored, s, stored.Check()
}
