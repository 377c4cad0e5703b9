package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// lane carries enqueues of one tag: one flight at a time, with all that piled up
// while the one before was in the air. Who finds the lane free carries the flight
// itself.
//
// A tag has a lane for large calls, so that they keep no small one waiting, and one for
// calls with unique keys, limits or lanes, which a script of its own stores.
type lane struct {
	mu       sync.Mutex
	pending  []*cargo
	flying   bool
	producer string // names the memory of the lane in the store
	flights  uint64 // the number of the last one
}

// firstFlight is where the numbers begin: all have as many digits, so that the
// common path compares them as text.
const firstFlight = 1e15

// cargo is the part of one Enqueue call for one tag.
type cargo struct {
	jobs   []freight
	size   int
	common bool      // all are for the common path
	bound  bool      // one of them has a unique key, limits or a lane
	since  time.Time // when it boarded
	// done is closed after letters or err is set; nil while the owner flies.
	done    chan struct{}
	letters string
	holders []string // a job's, of those with unique keys
	err     error
}

// freight is one job as the scripts take it.
type freight struct {
	id, when string
	body     []byte
	bond     *bond // only of jobs that share a call with one that has a key, limits or a lane
}

// MarshalBinary lets the client write the body without a copy of its slice for each job.
func (f *freight) MarshalBinary() ([]byte, error) { return f.body, nil }

// String stands for the body where commands of the client are traced, which would spell it
// out byte by byte.
func (f *freight) String() string { return fmt.Sprintf("job of %d bytes", len(f.body)) }

// bond is what a job is bound by, as the scripts take it.
type bond struct {
	unique       backend.Unique
	limits, lane string
	random       bool // the id is new for certain
}

// fresh reports whether the id is new for certain; the body then has its header.
func (f *freight) fresh() bool { return len(f.when) == 2 && f.when[1] == '!' }

const (
	// flightJobs and flightBytes bound what goes into one flight, unless one
	// cargo alone is larger.
	flightJobs  = 1000
	flightBytes = 1 << 20
)

// lane returns the one for cargo.
func (t *tag) lane(c *cargo) *lane {
	if c.bound {
		return &t.lanes[2]
	}
	if c.size >= large {
		return &t.lanes[1]
	}
	return &t.lanes[0]
}

// board hands cargo over to its lane. If nothing is in the air, the caller is to see
// to the flight; with self it flies, so that nobody needs to tell it.
func (b *Backend) board(l *lane, c *cargo, self bool) (pilot bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.flying {
		if err := b.begin(); err != nil {
			return false, err
		}
		l.flying, pilot = true, true
	}
	if !pilot || !self {
		c.done, c.since = make(chan struct{}), time.Now()
	}
	l.pending = append(l.pending, c)
	return pilot, nil
}

// unboard takes back cargo that has not left yet.
func (l *lane) unboard(c *cargo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = slices.DeleteFunc(l.pending, func(waiting *cargo) bool { return waiting == c })
}

// take returns the cargos of the next flight.
func (l *lane) take() []*cargo {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, jobs, size := 0, 0, 0
	for _, c := range l.pending {
		jobs, size = jobs+len(c.jobs), size+c.size
		if n > 0 && (jobs > flightJobs || size > flightBytes) {
			break
		}
		n++
	}
	cargos := slices.Clone(l.pending[:n])
	l.pending = slices.Delete(l.pending, 0, n)
	return cargos
}

// next reports whether more is waiting; if not, the lane is free.
func (l *lane) next() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying = len(l.pending) > 0
	return l.flying
}

// number gives the next flight its number. Only one flight is in the air.
func (l *lane) number() (producer string, flight uint64) {
	if l.producer == "" {
		l.producer, l.flights = "e:"+rand.Text(), firstFlight
	}
	l.flights++
	return l.producer, l.flights
}

// fly tries the flight that its caller has boarded with cargo of its own, once. What
// is left to do then, and what piled up meanwhile, is for flyOn.
func (b *Backend) fly(ctx context.Context, t *tag, l *lane, own *cargo) {
	f := b.prepare(t, l, l.take(), false)
	letters, err := f.try(ctx)
	if err == nil || f.isOver(err) {
		f.tell(letters, err)
		f = nil
	} else {
		own.done = make(chan struct{})
	}
	if f != nil || l.next() {
		go b.flyOn(t, l, f)
	} else {
		b.running.Done()
	}
}

// flyOn carries flights until nothing is left: first the one that was begun, if
// there is one.
func (b *Backend) flyOn(t *tag, l *lane, f *flight) {
	defer b.running.Done()
	for more := true; more; more, f = l.next(), nil {
		if f == nil {
			// Those who were just answered may enqueue again and come along.
			runtime.Gosched()
			f = b.prepare(t, l, l.take(), false)
		}
		if err := f.deliver(); errors.Is(err, backend.ErrUnavailable) {
			b.overdue(l, err)
		}
	}
}

// overdue gives up for those who have waited long for a flight, after one that the
// store did not answer.
func (b *Backend) overdue(l *lane, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = slices.DeleteFunc(l.pending, func(c *cargo) bool {
		if time.Since(c.since) < b.allowance(c.size)/2 {
			return false
		}
		c.tell("", err)
		return true
	})
}

// tell gives the owner its answer.
func (c *cargo) tell(letters string, err error) {
	c.letters, c.err = letters, err
	if c.done != nil {
		close(c.done)
	}
}

// collect waits for cargo that others carry.
func (l *lane) collect(ctx context.Context, c *cargo) error {
	if c.done == nil {
		return c.err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		l.unboard(c)
		select {
		case <-c.done:
			return c.err // it has been answered as well
		default:
			return ended(ctx)
		}
	}
}
