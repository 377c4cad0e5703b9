// Package series is what figures of jobs have in common, whoever takes them.
package series

import (
	"sync"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

const (
	// DefaultMaxPairs is how many pairs of a queue and a kind have series of their own.
	DefaultMaxPairs = 500
	// Other is the queue and the kind of those beyond.
	Other = "(other)"
)

// Buckets are the upper bounds of histograms of waiting and running times, in seconds.
func Buckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
}

// Pairs bounds the number of series, as others choose queues and kinds. Its methods are
// safe for concurrent use.
type Pairs struct {
	max  int
	mu   sync.Mutex
	seen map[pair]struct{}
}

type pair struct{ queue, kind string }

// NewPairs makes a Pairs that tells apart at most so many; DefaultMaxPairs if that is 0 or
// less.
func NewPairs(most int) *Pairs {
	if most <= 0 {
		most = DefaultMaxPairs
	}
	return &Pairs{max: most, seen: map[pair]struct{}{}}
}

// Of returns a job's queue and kind, or Other twice; nothing of no job.
func (p *Pairs) Of(info *jobs.Info) (queue, kind string) {
	if info == nil {
		return "", ""
	}
	of := pair{info.Queue, info.Kind}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.seen[of]; !known {
		if len(p.seen) == p.max {
			return Other, Other
		}
		p.seen[of] = struct{}{}
	}
	return of.queue, of.kind
}

// Wait is how long a job that starts now had waited since it was due. It is known of the
// first attempt only, as DueAt is that of the first. It is not negative, though now may be
// by another clock than DueAt.
func Wait(info *jobs.Info, now time.Time) (wait time.Duration, known bool) {
	if info.Attempt != 1 || info.Crashes != 0 || info.Snoozes != 0 || info.DueAt.IsZero() {
		return 0, false
	}
	return max(0, now.Sub(info.DueAt)), true
}
