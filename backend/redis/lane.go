package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// lane carries the enqueues of one tag: one flight at a time, with all that
// piled up while the one before was in the air. Who finds the lane free may carry the
// flight itself. Each flight has a number, and
// the store remembers the last one and its answer, so that a flight can be
// repeated after a lost reply.
type lane struct {
	mu       sync.Mutex
	pending  []*cargo
	flying   bool
	producer string
	flight   uint64
}

// cargo is the part of one Enqueue call for one tag.
type cargo struct {
	args []any // id, when, body per job
	size int
	// done is closed after letters or err is set.
	done    chan struct{}
	letters string
	err     error
}

const (
	// flightJobs and flightBytes bound what goes into one flight, unless one
	// cargo alone is larger.
	flightJobs  = 1000
	flightBytes = 4 << 20
)

// board hands cargo over to the lane. If nothing is in the air, the caller is to
// fly.
func (b *Backend) board(t *tag, c *cargo) (pilot bool, err error) {
	l := &t.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.flying {
		if err := b.begin(); err != nil {
			return false, err
		}
		l.flying, pilot = true, true
	}
	l.pending = append(l.pending, c)
	return pilot, nil
}

// unboard takes back cargo that has not left yet.
func (t *tag) unboard(c *cargo) {
	t.lane.mu.Lock()
	defer t.lane.mu.Unlock()
	for i, waiting := range t.lane.pending {
		if waiting == c {
			t.lane.pending = append(t.lane.pending[:i], t.lane.pending[i+1:]...)
			return
		}
	}
}

// fly carries the flight that its caller has boarded. What piled up meanwhile is
// for flyOn.
func (b *Backend) fly(t *tag) {
	if b.flight(t) {
		go b.flyOn(t)
	} else {
		b.running.Done()
	}
}

// flyOn carries flights until nothing is left.
func (b *Backend) flyOn(t *tag) {
	defer b.running.Done()
	for more := true; more; {
		// Those who were just answered may enqueue again and come along.
		runtime.Gosched()
		more = b.flight(t)
	}
}

// flight carries one flight. It reports whether more is waiting; if not, the lane
// is free.
func (b *Backend) flight(t *tag) (more bool) {
	l := &t.lane
	l.mu.Lock()
	n, jobs, size := 0, 0, 0
	for n < len(l.pending) {
		c := l.pending[n]
		if n > 0 && (jobs+len(c.args)/3 > flightJobs || size+c.size > flightBytes) {
			break
		}
		jobs, size, n = jobs+len(c.args)/3, size+c.size, n+1
	}
	cargos := l.pending[:n:n]
	l.pending = l.pending[n:]
	if n == 0 { // those who waited were taken back
		l.flying, l.pending = false, nil
		l.mu.Unlock()
		return false
	}
	if l.producer == "" {
		l.producer = rand.Text()
	}
	l.flight++
	flight := l.flight
	l.mu.Unlock()

	call := t.call(enqueueScript, "e:"+l.producer, 4+2*jobs)
	call.add(strconv.FormatUint(flight, 10), memory.Milliseconds())
	// Jobs that follow each other and are due alike are a group.
	when, members, count := "", 0, 0 // count is where the number of members is
	for _, c := range cargos {
		for i := 0; i < len(c.args); i += 3 {
			if due := c.args[i+1].(string); members == 0 || due != when {
				when, members, count = due, 0, len(call.args)+1
				call.add(c.args[i+1], 0)
			}
			members++
			call.args[count] = members
			call.add(c.args[i], c.args[i+2])
		}
	}
	letters, err := b.flyOnce(t, call, size)
	if err == nil && len(letters) != jobs {
		err = fmt.Errorf("%w: %d answers to %d jobs", backend.ErrUnavailable, len(letters), jobs)
	}
	t.left.Store(-1)
	for _, c := range cargos {
		if err == nil {
			n := len(c.args) / 3
			c.letters, letters = letters[:n], letters[n:]
		}
		c.err = err
		close(c.done)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(err, backend.ErrUnavailable) {
		// Those who boarded meanwhile have waited as long as they should.
		for _, c := range l.pending {
			c.err = err
			close(c.done)
		}
		l.pending = nil
	}
	l.flying = len(l.pending) > 0
	if !l.flying {
		l.pending = nil
	}
	return l.flying
}

// flyOnce carries one flight and repeats it, under the same number, while the
// time for it lasts.
func (b *Backend) flyOnce(t *tag, c *call, size int) (string, error) {
	limit := allowance(b.config.Timeout, int64(size))
	ctx := within(b.ctx, limit)
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
			answer, ok := reply.([]any)
			if !ok || len(answer) != 2 {
				return "", fmt.Errorf("%w: the store answered %T", backend.ErrUnavailable, reply)
			}
			t.clock.set(asInt(answer[0]))
			return asString(answer[1]), nil
		}
		err = classify(err)
		if deadline, _ := ctx.Deadline(); try == 3 || !errors.Is(err, backend.ErrUnavailable) || time.Until(deadline) < pause {
			return "", err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return "", backend.ErrClosed
		}
		pause *= 3
	}
}

// collect waits for cargo.
func (b *Backend) collect(ctx context.Context, t *tag, c *cargo) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		t.unboard(c)
		select {
		case <-c.done:
			return c.err // it has been answered as well
		default:
			return ended(ctx)
		}
	}
}
