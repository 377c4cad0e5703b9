package actors

import "time"

// plan is the timetable of a stop. It is plain data: the supervisor carries it
// out.
//
//	begin ── draining ──► cancelAt ── cancelling ──► handBackAt ── handing-back ──► giveUpAt ─► end
type plan struct {
	begin, cancelAt, handBackAt, giveUpAt, end time.Time
	urgency                                    Urgency
}

// makePlan divides the grace. What is left of it after cancelTime and handBack is
// for draining; of a grace that is too short for both, half is for draining.
// The last of it is for signing off, which has to fit in as well.
func makePlan(begin time.Time, grace, cancelTime, handBack time.Duration, urgency Urgency) plan {
	if parts := cancelTime + handBack; parts > grace {
		cancelTime = time.Duration(float64(grace/2) * float64(cancelTime) / float64(parts))
		handBack = grace/2 - cancelTime
	}
	p := plan{begin: begin, end: begin.Add(grace), urgency: urgency}
	p.giveUpAt = p.end.Add(-min(signOffTimeout, handBack/3))
	p.handBackAt = p.end.Add(-handBack)
	p.cancelAt = p.handBackAt.Add(-cancelTime)
	return p.hurry(begin, urgency)
}

// hurry moves the timetable forward, so that the step that urgency asks for
// begins now. It never moves anything back.
func (p plan) hurry(now time.Time, urgency Urgency) plan {
	p.urgency = max(p.urgency, urgency)
	shift := time.Duration(0)
	switch {
	case p.urgency >= HandBack:
		shift = p.handBackAt.Sub(now)
		p.cancelAt = earlier(p.cancelAt, now)
	case p.urgency == Cancel:
		shift = p.cancelAt.Sub(now)
	}
	if shift > 0 {
		p.cancelAt = earlier(p.cancelAt, p.cancelAt.Add(-shift))
		p.handBackAt = p.handBackAt.Add(-shift)
		p.giveUpAt = p.giveUpAt.Add(-shift)
		p.end = p.end.Add(-shift)
	}
	return p
}

// shorten takes over the earlier instants of another plan.
func (p plan) shorten(other plan) plan {
	p.cancelAt = earlier(p.cancelAt, other.cancelAt)
	p.handBackAt = earlier(p.handBackAt, other.handBackAt)
	p.giveUpAt = earlier(p.giveUpAt, other.giveUpAt)
	p.end = earlier(p.end, other.end)
	p.urgency = max(p.urgency, other.urgency)
	return p
}

// due returns the state that the plan asks for at an instant, whether it is time
// to give up, and when to look again.
func (p plan) due(now time.Time) (state State, giveUp bool, next time.Time) {
	switch {
	case now.Before(p.cancelAt):
		return StateDraining, false, p.cancelAt
	case now.Before(p.handBackAt):
		return StateCancelling, false, p.handBackAt
	case now.Before(p.giveUpAt):
		return StateHandingBack, false, p.giveUpAt
	}
	return StateHandingBack, true, time.Time{}
}

// endAt is when the parts are waited for no longer: the last quarter of what is left
// after giving up is for the report.
func (p plan) endAt() time.Time { return p.end.Add(-p.end.Sub(p.giveUpAt) / 4) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
