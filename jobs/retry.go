package jobs

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// RetryPolicy says how long to wait before the next attempt. It is called
// concurrently. A policy that panics or returns a negative delay does no harm:
// the default one is asked instead, and the job's history says so.
type RetryPolicy interface {
	// NextRetry returns the delay after the attempt of this number, from 1,
	// failed with err. 0 means at once.
	NextRetry(attempt int, err error) time.Duration
}

// Defaults of [Exponential]. Together with [DefaultMaxAttempts] they spread the
// attempts of a job over about three days: what fails on a Friday evening is
// still tried on Monday.
const (
	defaultInitial = time.Second
	defaultFactor  = 2.0
	defaultMax     = 8 * time.Hour
	defaultJitter  = 0.2
)

// Exponential is a delay that grows by a factor each time. The zero value is
// the default [RetryPolicy]. It is safe for concurrent use.
type Exponential struct {
	// Initial is the first delay. 0 means 1 s.
	Initial time.Duration
	// Factor is what each delay is multiplied by to get the next, at least 1.
	// 0 means 2.
	Factor float64
	// Max is the longest delay. 0 means 8 h, or Initial if that is longer.
	Max time.Duration
	// Jitter is the part of the delay, up to 1, that is left to chance, so that
	// what failed together does not come back together: 0.2 makes a delay of
	// 10 s one between 8 and 10 s. 0 means 0.2; a negative one means none.
	Jitter float64
}

// NextRetry makes Exponential a RetryPolicy.
func (e Exponential) NextRetry(attempt int, _ error) time.Duration { return e.Delay(attempt) }

// Delay returns the n-th delay, from 1. It is never negative and never above
// Max, however large n is.
func (e Exponential) Delay(n int) time.Duration {
	e = e.filled()
	d := e.Max
	// What has become infinite is not less either.
	if grown := float64(e.Initial) * math.Pow(e.Factor, float64(max(n, 1)-1)); grown < float64(e.Max) {
		d = min(time.Duration(grown), e.Max)
	}
	if e.Jitter > 0 {
		d -= time.Duration(float64(d) * e.Jitter * rand.Float64())
	}
	return max(d, 0)
}

// Check says what is wrong with the fields, or returns nil.
func (e Exponential) Check() error {
	switch {
	case e.Initial < 0:
		return fmt.Errorf("Exponential.Initial is %v; give a positive duration, or 0 for %v", e.Initial, defaultInitial)
	case e.Factor != 0 && !(e.Factor >= 1 && e.Factor <= math.MaxFloat64):
		return fmt.Errorf("Exponential.Factor is %v; give a number from 1, or 0 for %v", e.Factor, defaultFactor)
	case e.Max < 0:
		return fmt.Errorf("Exponential.Max is %v; give a positive duration, or 0 for %v", e.Max, defaultMax)
	case e.Max > 0 && e.Max < e.Initial:
		return fmt.Errorf("Exponential.Max is %v, less than Initial, which is %v", e.Max, e.Initial)
	case e.Max > 0 && e.Initial == 0 && e.Max < defaultInitial:
		return fmt.Errorf("Exponential.Max is %v, less than the default Initial of %v; set Initial", e.Max, defaultInitial)
	case !(e.Jitter <= 1):
		return fmt.Errorf("Exponential.Jitter is %v; give a part up to 1, 0 for %v, or a negative number for none", e.Jitter, defaultJitter)
	}
	return nil
}

// filled replaces zeros by defaults, and what Check refuses as well, so that no
// value makes Delay misbehave.
func (e Exponential) filled() Exponential {
	if e.Initial <= 0 {
		e.Initial = defaultInitial
	}
	if !(e.Factor >= 1) {
		e.Factor = defaultFactor
	}
	if e.Max <= 0 {
		e.Max = max(defaultMax, e.Initial)
	}
	if e.Jitter == 0 || e.Jitter != e.Jitter {
		e.Jitter = defaultJitter
	}
	e.Jitter = min(e.Jitter, 1)
	return e
}
