package jobs

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestExponentialGrowsByItsFactorUpToItsMax(t *testing.T) {
	t.Parallel()
	e := Exponential{Initial: 100 * time.Millisecond, Factor: 3, Max: time.Second, Jitter: -1}
	for n, want := range []time.Duration{100, 100, 300, 900, 1000, 1000} {
		require.Equal(t, want*time.Millisecond, e.Delay(n), "delay %d", n)
	}
	require.Equal(t, e.Delay(2), e.NextRetry(2, nil))
	require.Equal(t, time.Second, e.Delay(math.MaxInt))
	require.Equal(t, 100*time.Millisecond, e.Delay(math.MinInt))
}

func TestJitterShortensTheDelayByItsPart(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 100 {
		d := Exponential{Initial: 10 * time.Second}.Delay(1)
		require.GreaterOrEqual(t, d, 8*time.Second)
		require.LessOrEqual(t, d, 10*time.Second)
		seen[d] = true
	}
	require.Greater(t, len(seen), 50, "what failed together must not come back together")
}

func TestTheDefaultsSpreadTheAttemptsOverAWeekend(t *testing.T) {
	t.Parallel()
	var sum time.Duration
	for n := 1; n < DefaultMaxAttempts; n++ {
		sum += Exponential{Jitter: 1e-9}.Delay(n)
	}
	require.Greater(t, time.Duration(float64(sum)*(1-defaultJitter)), 63*time.Hour, "Friday 18:00 to Monday 09:00")
}

func TestNoFieldMakesADelayNegativeOrLongerThanMax(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := Exponential{
			Initial: time.Duration(rapid.Int64().Draw(t, "initial")),
			Factor:  rapid.Float64().Draw(t, "factor"),
			Max:     time.Duration(rapid.Int64().Draw(t, "max")),
			Jitter:  rapid.Float64().Draw(t, "jitter"),
		}
		d := e.Delay(rapid.Int().Draw(t, "n"))
		require.GreaterOrEqual(t, d, time.Duration(0))
		require.LessOrEqual(t, d, e.filled().Max)
	})
	nan := math.NaN()
	d := Exponential{Factor: nan, Jitter: nan}.Delay(3)
	require.True(t, d > 3*time.Second && d <= 4*time.Second, d)
}

func TestExponentialSaysWhatIsWrongWithItsFields(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]Exponential{
		"Exponential.Initial is -1ns; give a positive duration, or 0 for 1s":                       {Initial: -1},
		"Exponential.Factor is 0.5; give a number from 1, or 0 for 2":                              {Factor: 0.5},
		"Exponential.Factor is NaN; give a number from 1, or 0 for 2":                              {Factor: math.NaN()},
		"Exponential.Factor is +Inf; give a number from 1, or 0 for 2":                             {Factor: math.Inf(1)},
		"Exponential.Max is -1ns; give a positive duration, or 0 for 8h0m0s":                       {Max: -1},
		"Exponential.Max is 1s, less than Initial, which is 2s":                                    {Initial: 2 * time.Second, Max: time.Second},
		"Exponential.Max is 1ms, less than the default Initial of 1s; set Initial":                 {Max: time.Millisecond},
		"Exponential.Jitter is 2; give a part up to 1, 0 for 0.2, or a negative number for none":   {Jitter: 2},
		"Exponential.Jitter is NaN; give a part up to 1, 0 for 0.2, or a negative number for none": {Jitter: math.NaN()},
	} {
		require.EqualError(t, e.Check(), want)
	}
	require.NoError(t, Exponential{}.Check())
	require.NoError(t, Exponential{Initial: time.Second, Factor: 1, Max: time.Second, Jitter: -1}.Check())
}
