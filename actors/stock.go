package actors

import (
	"cmp"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// stock is what a fetcher has leased ahead, so that executors do not wait for the
// next Lease call: as many jobs as they are expected to begin while one is in flight,
// which by Little's law is the number of executors times how long a call takes,
// divided by how long an executor has a job. They wait here for about as long as a
// call takes; where jobs are long compared with a call, the stock stays empty.
type stock struct {
	runs []*run
	// width is the number of executors; call and job are moving averages of how long
	// a call takes and of how long an executor has a job; 0 if not known.
	width     int
	call, job time.Duration
	size      int64     // of a payload, in bytes, as an average too
	began     time.Time // of the call in flight
	// taken counts what was taken, seen is what it was at the last look.
	taken, seen int
	// watched is set while a look is due.
	watched bool
}

const (
	// stockTime is how long at least, and twice that at most, a job stays in a stock
	// from which nothing is taken. Then it is handed back for others.
	stockTime = 50 * time.Millisecond
	// stockDepth bounds the stock in jobs per executor.
	stockDepth = 4
	// leaseBytes is how many bytes of payload a call is to bring at most, and a stock
	// to have, by what payloads are on average.
	leaseBytes = 1 << 20
	// unknownSize is what payloads are taken to have, in bytes, until some have come.
	unknownSize = 16 << 10
)

type lookAtStock struct{}

func (*lookAtStock) IgnoreDeadLetterLogging() {}

// target is how many jobs are to be in stock.
func (s *stock) target() int {
	if s.job == 0 {
		return 0
	}
	jobs := int64(s.width) * int64(s.call) / int64(s.job)
	return int(min(jobs, int64(stockDepth*s.width), s.fitting()))
}

// fitting is how many payloads leaseBytes hold.
func (s *stock) fitting() int64 { return leaseBytes / cmp.Or(s.size, unknownSize) }

// atOnce is how many jobs a call may ask for.
func (s *stock) atOnce() int { return int(min(backend.MaxBatch, max(1, s.fitting()))) }

// missing is how many jobs to ask for. It is none while half of the target is there.
func (s *stock) missing() int {
	if have, target := len(s.runs), s.target(); 2*have <= target {
		return target - have
	}
	return 0
}

// called and answered note when a call begins and ends.
func (s *stock) called() { s.began = time.Now() }

func (s *stock) answered(executors int) {
	s.width = executors
	average(&s.call, time.Since(s.began))
}

// tooMuch notes that a call took too long although the store answered others: the next
// ones are to ask for less.
func (s *stock) tooMuch() {
	s.size = min(leaseBytes, max(s.size, leaseBytes/int64(backend.MaxBatch))*2)
}

// freed notes for how long an executor had a job.
func (s *stock) freed(took time.Duration) { average(&s.job, took) }

// put adds runs.
func (s *stock) put(runs []*run) {
	for _, r := range runs {
		average(&s.size, int64(len(r.lease.Job.Payload)))
	}
	s.runs = append(s.runs, runs...)
}

// average moves a moving average.
func average[T ~int64](of *T, value T) {
	if *of == 0 {
		*of = value
	}
	*of = max(1, *of+(value-*of)/8)
}

// take removes the next run.
func (s *stock) take() {
	s.runs[0] = nil
	s.runs = s.runs[1:]
	s.taken++
}

// clear empties the stock. What was expected was wrong, or does not count any more.
func (s *stock) clear() []*run {
	runs := s.runs
	s.runs, s.job = nil, 0
	return runs
}

// idle reports whether nothing was taken since the last look.
func (s *stock) idle() bool {
	idle := s.taken == s.seen
	s.seen = s.taken
	return idle
}
