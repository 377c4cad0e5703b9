package actors

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// instants are those of a plan, from noon.
type instants struct{ cancel, handBack, giveUp, end time.Duration }

func (p plan) fromNoon() instants {
	return instants{p.cancelAt.Sub(noon), p.handBackAt.Sub(noon), p.giveUpAt.Sub(noon), p.end.Sub(noon)}
}

func TestThePlanDividesTheGrace(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for name, c := range map[string]struct {
		grace, cancel, handBack time.Duration
		urgency                 Urgency
		want                    instants
	}{
		"as configured":           {25 * s, 5 * s, 2 * s, Drain, instants{18 * s, 23 * s, 24500 * time.Millisecond, 25 * s}},
		"no time to drain":        {7 * s, 5 * s, 2 * s, Drain, instants{0, 5 * s, 6500 * time.Millisecond, 7 * s}},
		"parts longer than grace": {4 * s, 5 * s, 5 * s, Drain, instants{2 * s, 3 * s, 3666666667, 4 * s}},
		"cancel":                  {25 * s, 5 * s, 2 * s, Cancel, instants{0, 5 * s, 6500 * time.Millisecond, 7 * s}},
		"hand back":               {25 * s, 5 * s, 2 * s, HandBack, instants{-23 * s, 0, 1500 * time.Millisecond, 2 * s}},
		"more urgent than known":  {25 * s, 5 * s, 2 * s, HandBack + 7, instants{-23 * s, 0, 1500 * time.Millisecond, 2 * s}},
		"no grace":                {0, 0, 0, Drain, instants{}},
		"no parts":                {10 * s, 0, 0, Drain, instants{10 * s, 10 * s, 10 * s, 10 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := makePlan(noon, c.grace, c.cancel, c.handBack, c.urgency)
			require.Equal(t, c.want, got.fromNoon())
		})
	}
}

func TestThePlanSaysWhichStepItIsTimeFor(t *testing.T) {
	t.Parallel()
	p := makePlan(noon, 25*time.Second, 5*time.Second, 2*time.Second, Drain)
	for _, c := range []struct {
		at    time.Duration
		state State
		over  bool
		next  time.Time
	}{
		{0, StateDraining, false, p.cancelAt},
		{18*time.Second - 1, StateDraining, false, p.cancelAt},
		{18 * time.Second, StateCancelling, false, p.handBackAt},
		{23*time.Second - 1, StateCancelling, false, p.handBackAt},
		{23 * time.Second, StateHandingBack, false, p.giveUpAt},
		{24500*time.Millisecond - 1, StateHandingBack, false, p.giveUpAt},
		{24500 * time.Millisecond, StateHandingBack, true, time.Time{}},
		{time.Hour, StateHandingBack, true, time.Time{}},
	} {
		state, over, next := p.due(noon.Add(c.at))
		require.Equal(t, c.state, state, "after %v", c.at)
		require.Equal(t, c.over, over, "after %v", c.at)
		require.Equal(t, c.next, next, "after %v", c.at)
	}
}

func TestAPlanIsAlwaysInOrderAndOnlyEverGetsEarlier(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		duration := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "ns"))
		})
		urgency := rapid.Custom(func(t *rapid.T) Urgency { return Urgency(rapid.IntRange(0, 3).Draw(t, "urgency")) })
		cancel, handBack := duration.Draw(t, "cancel"), duration.Draw(t, "hand back")
		inOrder := func(p plan) {
			require.False(t, p.handBackAt.Before(p.cancelAt), "%+v", p.fromNoon())
			require.False(t, p.giveUpAt.Before(p.handBackAt), "%+v", p.fromNoon())
			require.False(t, p.end.Before(p.giveUpAt), "%+v", p.fromNoon())
		}
		grace := duration.Draw(t, "grace")
		now := noon
		p := makePlan(now, grace, cancel, handBack, urgency.Draw(t, "first"))
		inOrder(p)
		require.False(t, p.end.After(noon.Add(grace)))
		for range rapid.IntRange(0, 5).Draw(t, "stops") {
			now = now.Add(duration.Draw(t, "later"))
			before := p
			p = p.shorten(makePlan(now, duration.Draw(t, "grace"), cancel, handBack, urgency.Draw(t, "next")))
			inOrder(p)
			require.False(t, p.cancelAt.After(before.cancelAt))
			require.False(t, p.handBackAt.After(before.handBackAt))
			require.False(t, p.giveUpAt.After(before.giveUpAt))
			require.False(t, p.end.After(before.end))
			require.GreaterOrEqual(t, p.urgency, before.urgency)
		}
	})
}

func TestASlotIsFreeOnlyWhenItsGoroutineHasReturned(t *testing.T) {
	t.Parallel()
	s := &slot{}
	r, other := &run{}, &run{}
	step, _ := s.next(true)
	require.Equal(t, stepOffer, step)
	_, ok := s.assign(r)
	require.True(t, ok)
	_, ok = s.assign(other)
	require.False(t, ok, "it has a run already")
	step, got := s.next(true)
	require.Equal(t, stepBegin, step)
	require.Same(t, r, got)

	step, _ = s.next(true)
	require.Equal(t, stepRest, step, "the handler runs")
	_, ok = s.assign(other)
	require.False(t, ok)

	s.returned()
	step, got = s.next(true)
	require.Equal(t, stepCollect, step)
	require.Same(t, r, got)
	step, _ = s.next(true)
	require.Equal(t, stepOffer, step)
}

func TestASlotThatIsNotToBeginHandsBackWhatItWasGiven(t *testing.T) {
	t.Parallel()
	for name, leaving := range map[string]bool{"its executor is to end": true, "the worker is quiet": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &slot{}
			s.next(true)
			r := &run{}
			s.assign(r)
			if leaving {
				s.leave()
			}
			step, got := s.next(leaving)
			require.Equal(t, stepHandBack, step)
			require.Same(t, r, got)
		})
	}
}

func TestASlotRaisesAPanicOnlyAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	s := &slot{}
	r := &run{}
	s.expect(r)
	s.raise(&JobPanic{Value: "boom"})
	step, _ := s.next(true)
	require.Equal(t, stepRest, step)
	s.confirmed()
	step, _ = s.next(true)
	require.Equal(t, stepRaise, step)
	require.Equal(t, "boom", s.takePanic().Value)
	step, _ = s.next(true)
	require.Equal(t, stepOffer, step)
}

func TestASlotLeavesOnlyAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	s := &slot{}
	s.expect(&run{})
	s.leave()
	step, _ := s.next(false)
	require.Equal(t, stepRest, step)
	s.confirmed()
	step, _ = s.next(false)
	require.Equal(t, stepLeave, step)
}

func TestARunIsSettledByOneOnly(t *testing.T) {
	t.Parallel()
	r := &run{}
	require.True(t, r.claim())
	require.False(t, r.claim())
}

func TestARosterThatShrinksAndGrowsTakesItsBusySlotsBack(t *testing.T) {
	t.Parallel()
	r := newRoster(3)
	for _, s := range r.list()[:2] {
		s.next(true)
		s.assign(&run{})
	}
	busy := r.list()[:2]
	idle := r.list()[2]
	require.Equal(t, []*slot{idle}, r.shrink(1), "an idle slot goes first")
	require.True(t, r.dismiss(idle))

	r.shrink(1)
	require.Len(t, r.list(), 1)
	require.Len(t, r.all(), 2, "the job of the retired slot is still known")
	require.False(t, r.dismiss(busy[0]), "its job runs")

	added, back := r.grow(2)
	require.Equal(t, []*slot{busy[0]}, back)
	require.Len(t, added, 1)
	require.Len(t, r.list(), 3)
	step, _ := busy[0].next(true)
	require.Equal(t, stepBegin, step, "it is not to leave any more")
}
