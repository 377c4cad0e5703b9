package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// lane carries enqueues of one tag: one flight at a time, with all that piled up
// while the one before was in the air. Who finds the lane free carries the flight
// itself. Each flight has a number, and the store remembers the last one and its
// answer, so that a flight can be repeated after a lost reply.
//
// A tag has a lane for large calls, so that they keep no small one waiting.
type lane struct {
	mu       sync.Mutex
	pending  []*cargo
	flying   bool
	producer string // names the memory of the lane in the store
	flight   uint64 // the last number
}

// firstFlight is where the numbers begin: all have as many digits, so that the
// common path compares them as text.
const firstFlight = 1e15

// cargo is the part of one Enqueue call for one tag.
type cargo struct {
	jobs   []freight
	size   int
	common bool      // all are for the common path
	since  time.Time // when it boarded
	// done is closed after letters or err is set; nil if the owner flies.
	done    chan struct{}
	letters string
	err     error
}

// freight is one job as the scripts take it.
type freight struct {
	id, when string
	body     []byte
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
	cargos := l.pending[:n:n]
	l.pending = l.pending[n:]
	return cargos
}

// next reports whether more is waiting; if not, the lane is free.
func (l *lane) next() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying = len(l.pending) > 0
	if !l.flying {
		l.pending = nil
	}
	return l.flying
}

// fly carries the flight that its caller has boarded. What piled up meanwhile is
// for flyOn.
func (b *Backend) fly(t *tag, l *lane) {
	b.carry(t, l, l.take())
	if l.next() {
		go b.flyOn(t, l)
	} else {
		b.running.Done()
	}
}

// flyOn carries flights until nothing is left.
func (b *Backend) flyOn(t *tag, l *lane) {
	defer b.running.Done()
	for more := true; more; more = l.next() {
		// Those who were just answered may enqueue again and come along.
		runtime.Gosched()
		b.carry(t, l, l.take())
	}
}

// carry brings cargos to the store and tells their owners what became of them.
func (b *Backend) carry(t *tag, l *lane, cargos []*cargo) {
	if len(cargos) == 0 {
		return // those who waited were taken back
	}
	err := b.trip(t, l, cargos, false)
	t.left.Store(-1)
	if errors.Is(err, backend.ErrUnavailable) {
		b.overdue(l, err)
	}
}

// trip carries cargos in one flight, and where it must in several: what is refused
// is divided, so that only who is refused alone is told so, and so is what was too
// large for the line in the time that it had. The error is one that may be about
// the store.
func (b *Backend) trip(t *tag, l *lane, cargos []*cargo, doubtful bool) error {
	letters, err := b.flight(t, l, cargos, doubtful)
	if n := len(cargos); n > 1 {
		slow := errors.Is(err, backend.ErrUnavailable) && sizeOf(cargos) >= large
		if slow || errors.Is(err, backend.ErrRejected) && !spoilt(err) {
			first := b.trip(t, l, cargos[:n/2], doubtful || slow)
			if errors.Is(first, backend.ErrUnavailable) {
				tell(cargos[n/2:], "", first)
				return first
			}
			return b.trip(t, l, cargos[n/2:], doubtful || slow)
		}
	}
	tell(cargos, letters, err)
	return err
}

func sizeOf(cargos []*cargo) (size int) {
	for _, c := range cargos {
		size += c.size
	}
	return size
}

// tell gives the owners of cargos their answer.
func tell(cargos []*cargo, letters string, err error) {
	for _, c := range cargos {
		if c.err = err; err == nil {
			c.letters, letters = letters[:len(c.jobs)], letters[len(c.jobs):]
		}
		if c.done != nil {
			close(c.done)
		}
	}
}

// overdue gives up for those who have waited long for a flight, after one that the
// store did not answer.
func (b *Backend) overdue(l *lane, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = slices.DeleteFunc(l.pending, func(c *cargo) bool {
		if time.Since(c.since) < allowance(b.config.Timeout, int64(c.size))/2 {
			return false
		}
		tell([]*cargo{c}, "", err)
		return true
	})
}

// flight carries cargos under the next number. In doubt whether they were stored
// before, all are looked up, and those whose ids are new for certain are ours.
func (b *Backend) flight(t *tag, l *lane, cargos []*cargo, doubtful bool) (string, error) {
	jobs, size, common := 0, 0, !doubtful && t.clock.recent()
	for _, c := range cargos {
		jobs, size, common = jobs+len(c.jobs), size+c.size, common && c.common
	}
	if l.producer == "" { // of the lane one flight is in the air
		l.producer, l.flight = "e:"+rand.Text(), firstFlight
	}
	l.flight++
	number := strconv.FormatUint(l.flight, 10)
	ctx := within(b.ctx, allowance(b.config.Timeout, int64(size)))
	if common {
		answer := "w"
		if jobs > 1 {
			answer = strings.Repeat("w", jobs)
		}
		c := t.call(enqueueCommon, l.producer, 1+2*jobs)
		c.add(number + ":" + answer)
		for _, cargo := range cargos {
			for i := range cargo.jobs {
				c.add(&cargo.jobs[i].id, cargo.jobs[i].body)
			}
		}
		reply, err := b.persist(ctx, c, size)
		switch {
		case err != nil:
			return "", err
		case asInt(reply) == 1:
			return answer, nil
		case asInt(reply) != 0:
			return "", fmt.Errorf("%w: the flight came after a later one", backend.ErrUnavailable)
		}
	}
	return b.wholeFlight(ctx, t, l, cargos, number, jobs, size, doubtful)
}

// wholeFlight carries cargos of any kind.
func (b *Backend) wholeFlight(ctx context.Context, t *tag, l *lane, cargos []*cargo, number string, jobs, size int, doubtful bool) (string, error) {
	call := t.call(enqueueScript, l.producer, 3+2*jobs)
	call.add(number)
	// Jobs that follow each other and are due alike are a group.
	when, members, count := "", 0, 0 // count is where the number of members is
	for _, c := range cargos {
		for i := range c.jobs {
			due, body := c.jobs[i].when, c.jobs[i].body
			if doubtful && c.jobs[i].fresh() {
				due, body = due[:1], body[headerSize:]
			}
			if members == 0 || due != when {
				when, members, count = due, 0, len(call.args)+1
				call.add(when, 0)
			}
			members++
			call.args[count] = members
			call.add(&c.jobs[i].id, body)
		}
	}
	reply, err := b.persist(ctx, call, size)
	if err != nil {
		return "", err
	}
	answer, ok := reply.([]any)
	if !ok || len(answer) != 2 {
		return "", fmt.Errorf("%w: the store answered %T", backend.ErrUnavailable, reply)
	}
	letters := asString(answer[1])
	if len(letters) != jobs {
		return "", fmt.Errorf("%w: %d answers to %d jobs", backend.ErrUnavailable, len(letters), jobs)
	}
	t.clock.set(asInt(answer[0]))
	if doubtful {
		letters = ours(cargos, letters)
	}
	return letters, nil
}

// ours turns the letters of fresh jobs that were stored before into those of new
// ones: nobody else can have stored them.
func ours(cargos []*cargo, letters string) string {
	all, n := []byte(letters), 0
	for _, c := range cargos {
		for i := range c.jobs {
			if c.jobs[i].fresh() {
				all[n] |= 'a' - 'A'
			}
			n++
		}
	}
	return string(all)
}

// persist makes a call and repeats it unchanged while the time for it lasts.
func (b *Backend) persist(ctx context.Context, c *call, size int) (any, error) {
	pause := 10 * time.Millisecond
	if size >= large {
		c.spellOut()
	}
	sent := c.args
	for try := 0; ; try++ {
		c.args = sent
		do(ctx, b.client, []*call{c})
		reply, err := c.result()
		if err == nil {
			return reply, nil
		}
		err = classify(err)
		if deadline, _ := ctx.Deadline(); try == 3 || !errors.Is(err, backend.ErrUnavailable) || time.Until(deadline) < pause {
			return nil, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return nil, backend.ErrClosed
		}
		pause *= 3
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
