package actors_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

// director is a supervisor that only notes what it is told.
type director struct {
	children []*actor.PID
	mu       sync.Mutex
	told     []string
}

func (d *director) note(directive string, pids ...*actor.PID) {
	for _, pid := range pids {
		directive += " " + pid.Id
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, directive)
}

func (d *director) Children() []*actor.PID             { return d.children }
func (d *director) EscalateFailure(reason, _ any)      { d.note(fmt.Sprintf("escalate %v", reason)) }
func (d *director) RestartChildren(pids ...*actor.PID) { d.note("restart", pids...) }
func (d *director) StopChildren(pids ...*actor.PID)    { d.note("stop", pids...) }
func (d *director) ResumeChildren(pids ...*actor.PID)  { d.note("resume", pids...) }
func (d *director) take() (told []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	told, d.told = d.told, nil
	return told
}
func child(id string) *actor.PID { return actor.NewPID("nonhost", id) }
func newDirector() *director     { return &director{children: []*actor.PID{child("a"), child("b")}} }
func statistics() (a, b *actor.RestartStatistics) {
	return actor.NewRestartStatistics(), actor.NewRestartStatistics()
}
func boom(kind string) *actors.JobPanic {
	return &actors.JobPanic{Job: jobs.Info{ID: "1", Kind: kind}, Value: "boom"}
}
func fail(s actor.SupervisorStrategy, d *director, who string, stats *actor.RestartStatistics, reason any) {
	s.HandleFailure(nil, d, child(who), stats, reason, "look")
}

func TestAlwaysGivesItsDirective(t *testing.T) {
	t.Parallel()
	for directive, want := range map[actor.Directive]string{
		actor.ResumeDirective: "resume a", actor.RestartDirective: "restart a",
		actor.StopDirective: "stop a", actor.EscalateDirective: "escalate boom",
	} {
		d := newDirector()
		fail(actors.Always(directive), d, "a", actor.NewRestartStatistics(), "boom")
		require.Equal(t, []string{want}, d.take())
	}
}

func TestOneForOneRestartsWhoFailedAndEscalatesAboveItsLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDirector()
		a, b := statistics()
		s := actors.OneForOne(2, time.Minute)
		for range 2 {
			fail(s, d, "a", a, "boom")
			fail(s, d, "b", b, "boom")
		}
		require.Equal(t, []string{"restart a", "restart b", "restart a", "restart b"}, d.take(), "each counts for itself")
		fail(s, d, "a", a, "boom")
		require.Equal(t, []string{"escalate boom"}, d.take())

		pause(2 * time.Minute)
		fail(s, d, "a", a, "boom")
		require.Equal(t, []string{"restart a"}, d.take(), "what is long ago is forgotten")
	})
}

func TestOneForOneWithoutALimitNeverEscalates(t *testing.T) {
	t.Parallel()
	d := newDirector()
	a, _ := statistics()
	for range 1000 {
		fail(actors.OneForOne(0, 0), d, "a", a, "boom")
	}
	require.NotContains(t, d.take(), "escalate boom")
	require.Zero(t, a.FailureCount(), "and keeps no account that grows")
}

func TestOneForAllRestartsAllAndEscalatesAboveItsLimit(t *testing.T) {
	t.Parallel()
	d := newDirector()
	a, _ := statistics()
	s := actors.OneForAll(1, time.Hour)
	fail(s, d, "a", a, "boom")
	require.Equal(t, []string{"restart a b"}, d.take())
	fail(s, d, "a", a, "boom")
	require.Equal(t, []string{"escalate boom"}, d.take())
}

func TestBackoffRestartsAfterAPauseThatGrowsAndIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDirector()
		a, _ := statistics()
		s := &actors.Backoff{Delay: jobs.Exponential{Initial: time.Second, Max: 3 * time.Second, Jitter: -1}}
		for _, delay := range []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second} {
			fail(s, d, "a", a, "boom")
			pause(delay - 1)
			synctest.Wait()
			require.Empty(t, d.take())
			pause(1)
			synctest.Wait()
			require.Equal(t, []string{"restart a"}, d.take())
		}
		pause(time.Minute)
		fail(s, d, "a", a, "boom")
		pause(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"restart a"}, d.take())
	})
}

func TestBackoffEscalatesAboveItsLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDirector()
		a, b := statistics()
		s := &actors.Backoff{Limit: 2, Forget: time.Hour}
		for range 2 {
			fail(s, d, "a", a, "boom")
			pause(10 * time.Second)
		}
		require.Equal(t, []string{"restart a", "restart a"}, d.take())
		fail(s, d, "a", a, "boom")
		require.Equal(t, []string{"escalate boom"}, d.take())
		fail(s, d, "b", b, "boom")
		require.Empty(t, d.take(), "the limit is of each executor")
	})
}

func TestIntensityCountsTheFailuresOfTheWholePool(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDirector()
		a, b := statistics()
		s := actors.Intensity(2, 10*time.Second, actors.OneForOne(0, 0))
		fail(s, d, "a", a, "boom")
		pause(6 * time.Second)
		fail(s, d, "b", b, "boom")
		pause(6 * time.Second) // the first is forgotten
		fail(s, d, "a", a, "boom")
		require.Equal(t, []string{"restart a", "restart b", "restart a"}, d.take())
		fail(s, d, "b", b, "boom")
		require.Equal(t, []string{"escalate boom"}, d.take())
	})
}

func TestIntensityZeroEscalatesTheFirst(t *testing.T) {
	t.Parallel()
	d := newDirector()
	a, _ := statistics()
	fail(actors.Intensity(-1, time.Second, actors.OneForOne(0, 0)), d, "a", a, "boom")
	require.Equal(t, []string{"escalate boom"}, d.take())
}

func TestTheFirstMatchingCaseOfAChoiceDecides(t *testing.T) {
	t.Parallel()
	kind := func(name string) func(*actors.JobPanic) bool {
		return func(p *actors.JobPanic) bool { return p.Job.Kind == name }
	}
	s := actors.OnPanic(kind("x"), actors.Always(actor.ResumeDirective)).
		OnPanic(kind("x"), actors.Always(actor.EscalateDirective)).
		OnPanic(kind("y"), actors.Always(actor.EscalateDirective))
	d := newDirector()
	a, _ := statistics()
	fail(s, d, "a", a, boom("x"))
	require.Equal(t, []string{"resume a"}, d.take())
	fail(s, d, "a", a, boom("y"))
	require.Len(t, d.told, 1)
	require.Contains(t, d.take()[0], "escalate")
	fail(s, d, "a", a, boom("z"))
	require.Equal(t, []string{"restart a"}, d.take(), "what matches nothing is restarted")
	fail(s, d, "a", a, errors.New("no panic of a job"))
	require.Equal(t, []string{"restart a"}, d.take())

	fail(s.Otherwise(actors.Always(actor.StopDirective)), d, "a", a, boom("z"))
	require.Equal(t, []string{"stop a"}, d.take())
	fail(s, d, "a", a, boom("z"))
	require.Equal(t, []string{"restart a"}, d.take(), "a choice is not changed by what is made of it")
}

// Payloads in logs: panics print whole messages.
func TestLessonAPanicShowsNoPayload(t *testing.T) {
	t.Parallel()
	p := &actors.JobPanic{Job: jobs.Info{ID: "7", Kind: "card"}, Value: struct{ Number string }{"4111 1111"}}
	for _, text := range []string{p.Error(), fmt.Sprintf("%v", p), fmt.Sprintf("%+v", p)} {
		require.NotContains(t, text, "4111")
		require.Contains(t, text, `job "7" of kind "card"`)
	}
	cause := errors.New("the cause")
	require.ErrorIs(t, &actors.JobPanic{Value: cause}, cause)
	require.Contains(t, (&actors.JobPanic{Value: "plain words"}).Error(), "plain words")
}
