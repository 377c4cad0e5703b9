package actors_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

func valid(t *testing.T) actors.Config {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, noop)
	return actors.Config{Backend: store(t), Registry: registry, Logger: discard()}
}

func TestZeroFieldsHaveTheirDefaults(t *testing.T) {
	t.Parallel()
	c, err := valid(t).Fill()
	require.NoError(t, err)
	require.Equal(t, []string{jobs.DefaultQueue}, c.Queues)
	require.Equal(t, 10, c.Concurrency)
	require.Equal(t, 15*time.Second, c.Lease)
	require.Equal(t, 25*time.Second, c.Grace)
	require.Equal(t, 5*time.Second, c.CancelTime)
	require.Equal(t, 2*time.Second, c.HandBackTime)
	require.Equal(t, "caddis", c.Name)
	require.NotNil(t, c.Strategy)

	again, err := c.Fill()
	require.NoError(t, err)
	require.Equal(t, c, again)
}

func TestAShortGraceHasShortParts(t *testing.T) {
	t.Parallel()
	c := valid(t)
	c.Grace = 10 * time.Second
	c, err := c.Fill()
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, c.CancelTime)
	require.Equal(t, time.Second, c.HandBackTime)
}

// asynq ignored unknown queues, zero weights and impossible values in silence.
func TestLessonImpossibleConfigurationsAreRefusedAllAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*actors.Config)
		want   string
	}{
		"no backend":            {func(c *actors.Config) { c.Backend = nil }, "Backend is missing"},
		"no registry":           {func(c *actors.Config) { c.Registry = nil }, "Registry is missing"},
		"no handler":            {func(c *actors.Config) { c.Registry = jobs.NewRegistry() }, "has no handler"},
		"a queue without name":  {func(c *actors.Config) { c.Queues = []string{""} }, "the queue has no name"},
		"a queue twice":         {func(c *actors.Config) { c.Queues = []string{"a", "a"} }, `"a" is named twice`},
		"negative concurrency":  {func(c *actors.Config) { c.Concurrency = -1 }, "Concurrency is -1"},
		"absurd concurrency":    {func(c *actors.Config) { c.Concurrency = 1_000_001 }, "it goes from 1 to 1000000"},
		"a lease too short":     {func(c *actors.Config) { c.Lease = time.Millisecond }, "a lease of 1ms"},
		"negative grace":        {func(c *actors.Config) { c.Grace = -time.Second }, "Grace is -1s"},
		"negative cancel time":  {func(c *actors.Config) { c.CancelTime = -1 }, "CancelTime is -1ns"},
		"negative hand-back":    {func(c *actors.Config) { c.HandBackTime = -1 }, "HandBackTime is -1ns"},
		"parts without end":     {func(c *actors.Config) { c.CancelTime, c.HandBackTime = math.MaxInt64, math.MaxInt64 }, "together longer"},
		"parts above the grace": {func(c *actors.Config) { c.Grace, c.CancelTime = time.Second, time.Second }, "together longer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := valid(t)
			c.change(&config)
			_, err := config.Fill()
			require.ErrorContains(t, err, c.want)
			_, err = actors.Spawn(quietSystem(), config)
			require.ErrorContains(t, err, c.want)
		})
	}
	config := actors.Config{Concurrency: -7, Lease: -1}
	_, err := config.Fill()
	for _, want := range []string{"Backend", "Registry", "Concurrency", "lease"} {
		require.ErrorContains(t, err, want)
	}
}

func TestANegativeGraceIsTheOnlyThingThatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	config := valid(t)
	config.Grace = -time.Second
	_, err := config.Fill()
	require.NotContains(t, err.Error(), "CancelTime", "which nobody has set")
}

func TestARegistryInUseTakesNoMoreHandlers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var registry *jobs.Registry
		newRig(t, noop, func(c *actors.Config) { registry = c.Registry })
		require.PanicsWithValue(t,
			`jobs: Handle of kind "other": the registry is in use by a started system; register all kinds before the start`,
			func() {
				knowsOther(func(context.Context, *jobs.Job[other]) error { return nil })(&actors.Config{Registry: registry})
			})
	})
}

func TestASchedulesMistakesAreRefusedAtTheStartOnceTheRegistryIsWhole(t *testing.T) {
	t.Parallel()
	c := valid(t)
	jobs.Schedule(c.Registry, "nightly", jobs.Every(time.Hour), stranger{})
	jobs.Schedule(c.Registry, "unfit", jobs.Every(time.Minute), task{}, jobs.ID("one"))
	_, err := c.Fill()
	require.ErrorIs(t, err, jobs.ErrUndeclared)
	require.ErrorContains(t, err, `"nightly"`)
	require.ErrorContains(t, err, `"unfit"`)
	require.ErrorContains(t, err, "declare it by jobs.Declare, or name the queue by jobs.Queue")

	c = valid(t)
	jobs.Schedule(c.Registry, "nightly", jobs.Every(time.Hour), stranger{}, jobs.Queue("default"))
	_, err = c.Fill()
	require.NoError(t, err)
	jobs.Declare[stranger](c.Registry)
	jobs.Schedule(c.Registry, "weekly", jobs.Every(time.Hour), stranger{})
	_, err = c.Fill()
	require.NoError(t, err)
}

// stranger is of a kind that only some registries know.
type stranger struct{}

func (stranger) Kind() string { return "stranger" }

// asynq ignored unknown queues and zero weights in silence.
func TestLessonQueuesWeightsAndGatesThatCannotBeMeantAreRefusedWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*actors.Config){
		`"mail.*" is named twice`:                                          func(c *actors.Config) { c.Queues = []string{"mail.*", "mail.*"} },
		`"mail" is both named and left out`:                                func(c *actors.Config) { c.Queues = []string{"*", "mail", "!mail"} },
		`"!bulk" leaves out nothing, as there is no pattern; give "*" too`: func(c *actors.Config) { c.Queues = []string{"mail", "!bulk"} },
		`give "*" too for all other queues`:                                func(c *actors.Config) { c.Queues = []string{"!bulk"} },
		`pattern "ma il.*"`:                                                func(c *actors.Config) { c.Queues = []string{"ma il.*"} },
		`the weight of "default" is 0: it goes from 1 to 1000000; to take no jobs from a queue leave it out of Queues, by "!default"`: func(c *actors.Config) {
			c.Choice = actors.Weighted(map[string]int{"default": 0})
		},
		`"deflaut" has a weight and is not among the worker's queues, which are ["default"]`: func(c *actors.Config) {
			c.Choice = actors.Weighted(map[string]int{"deflaut": 2})
		},
		`"m*" has a weight and is not among the worker's queues`: func(c *actors.Config) {
			c.Queues, c.Choice = []string{"mail.*"}, actors.Weighted(map[string]int{"m*": 2})
		},
		`gate "": it has no name`:       func(c *actors.Config) { c.Gates = []actors.Gate{{Check: open}} },
		`gate "disk": Check is missing`: func(c *actors.Config) { c.Gates = []actors.Gate{{Name: "disk"}} },
		`gate "disk" is there twice`: func(c *actors.Config) {
			c.Gates = []actors.Gate{{Name: "disk", Check: open}, {Name: "disk", Check: open}}
		},
		`gate "disk": Every is -1ns`:           func(c *actors.Config) { c.Gates = []actors.Gate{{Name: "disk", Check: open, Every: -1}} },
		`gate "disk": TTL is 1s: it cannot be`: func(c *actors.Config) { c.Gates = []actors.Gate{{Name: "disk", Check: open, TTL: 1e9}} },
		`gate "disk": it closes "mail", which is not among the worker's queues, ["default"]`: func(c *actors.Config) {
			c.Gates = []actors.Gate{{Name: "disk", Check: open, Queues: []string{"mail"}}}
		},
	} {
		c := valid(t)
		change(&c)
		_, err := c.Fill()
		require.ErrorContains(t, err, want)
	}
	c := valid(t)
	c.Queues = []string{jobs.DefaultQueue, "mail.*", "!mail.bulk"}
	c.Choice = actors.Weighted(map[string]int{"mail.*": 2, "mail.a": 3, jobs.DefaultQueue: 1})
	_, err := c.Fill()
	require.NoError(t, err)
}
