package redis_test

import (
	"sync/atomic"
	"testing"
	"time"
)

// lag is for how long in all, in nanoseconds, this process has been waked too late: the
// time in which the machine had other things to do.
var lag atomic.Int64

func watchLag() {
	const nap = 5 * time.Millisecond
	for {
		start := time.Now()
		time.Sleep(nap)
		lag.Add(int64(max(0, time.Since(start)-nap-time.Millisecond)))
	}
}

// pace measures how long something takes.
type pace struct {
	began time.Time
	lag   int64
}

func begin() pace { return pace{time.Now(), lag.Load()} }

// within fails the test if it took longer than limit and the machine was not the reason:
// servers and clients wait for it in turn, so its lag counts several times. It is for
// what only time can tell, such as one time-out from two.
func (p pace) within(t testing.TB, limit time.Duration, what string) {
	t.Helper()
	took, slow := time.Since(p.began), 5*time.Duration(lag.Load()-p.lag)
	t.Logf("%s: took %v, of which the machine may explain %v", what, took.Round(time.Millisecond), slow.Round(time.Millisecond))
	if took-slow > limit {
		t.Fatalf("%s: took %v, and %v are allowed", what, took, limit)
	}
}
