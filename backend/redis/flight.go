package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

// flight is one call of the store for cargos of a lane. It has a number, and the
// store remembers the last one of the lane and its answer: a flight can be repeated
// after a lost reply.
type flight struct {
	b        *Backend
	tag      *tag
	lane     *lane
	cargos   []*cargo
	producer string
	number   string
	jobs     int
	size     int
	common   bool // what it carries is for the common path
	// doubtful: the cargos may have been stored by an earlier flight. All are looked
	// up, and what is found under an id that was new for certain is ours.
	doubtful bool
	// holders are those of the keys, one for each job, after a flight with unique keys; of a
	// job that is refused, the pair of the limit.
	holders  []string
	deadline time.Time
}

func (b *Backend) prepare(t *tag, l *lane, cargos []*cargo, doubtful bool) *flight {
	f := &flight{b: b, tag: t, lane: l, cargos: cargos, doubtful: doubtful, common: !doubtful && t.clock.recent()}
	for _, c := range cargos {
		f.jobs, f.size, f.common = f.jobs+len(c.jobs), f.size+c.size, f.common && c.common
	}
	var number uint64
	f.producer, number = l.number()
	f.number = strconv.FormatUint(number, 10)
	f.deadline = time.Now().Add(b.allowance(f.size))
	return f
}

// try makes the flight once, for a caller who returns when ctx ends.
func (f *flight) try(ctx context.Context) (letters string, err error) {
	once := func(ctx context.Context, client goredis.UniversalClient) sender {
		return func(c *call) (any, error) {
			do(until(ctx, f.deadline), client, []*call{c})
			return c.result()
		}
	}
	carrier := f.b.hire(ctx)
	if carrier == nil {
		return f.run(once(f.b.ctx, f.b.client))
	}
	if f.b.carry(ctx, carrier, func(client goredis.UniversalClient) {
		letters, err = f.run(once(ctx, client))
	}) {
		f.deadline = time.Now().Add(f.b.allowance(f.size)) // for the others on board
	}
	return letters, err
}

// isOver reports whether after an error nothing is left to try.
func (f *flight) isOver(err error) bool {
	return !errors.Is(err, backend.ErrUnavailable) && !f.divides(err)
}

// divides reports whether an error may be about some of the cargos only, or about
// their size together, which was too much for the line in the time it had.
func (f *flight) divides(err error) bool {
	if len(f.cargos) < 2 {
		return false
	}
	return errors.Is(err, backend.ErrRejected) ||
		errors.Is(err, backend.ErrUnavailable) && f.size >= large
}

// deliver makes the flight, repeatedly if need be, and tells the owners. What is
// refused is divided, so that only who is refused alone is told so, and so is what
// was too large. The error is one that may be about the store.
func (f *flight) deliver() error {
	letters, err := f.run(f.persist)
	if !f.divides(err) {
		f.tell(letters, err)
		return err
	}
	doubtful := f.doubtful || errors.Is(err, backend.ErrUnavailable)
	half := len(f.cargos) / 2
	err = f.b.prepare(f.tag, f.lane, f.cargos[:half], doubtful).deliver()
	rest := f.b.prepare(f.tag, f.lane, f.cargos[half:], doubtful)
	if errors.Is(err, backend.ErrUnavailable) {
		rest.tell("", err)
		return err
	}
	return rest.deliver()
}

// tell gives all owners their answers.
func (f *flight) tell(letters string, err error) {
	f.tag.doubt()
	for _, c := range f.cargos {
		if err != nil {
			c.tell("", err)
			continue
		}
		n := len(c.jobs)
		if f.holders != nil {
			c.holders, f.holders = f.holders[:n:n], f.holders[n:]
		}
		c.tell(letters[:n], nil)
		letters = letters[n:]
	}
}

// sender makes a call and returns its answer.
type sender func(c *call) (any, error)

// run carries the cargos, by the common path if it may, and returns a letter per
// job. To run it again does no more.
func (f *flight) run(send sender) (string, error) {
	if f.jobs == 0 {
		return "", nil // those who waited were taken back
	}
	if f.cargos[0].bound {
		letters, err := f.runBound(send)
		return letters, classify(err)
	}
	if f.common {
		letters, rare, err := f.runCommon(send)
		if !rare {
			return letters, classify(err)
		}
	}
	letters, err := f.runWhole(send)
	return letters, classify(err)
}

func (f *flight) runCommon(send sender) (letters string, rare bool, err error) {
	letters = "w"
	if f.jobs > 1 {
		letters = strings.Repeat("w", f.jobs)
	}
	call := f.tag.call(enqueueCommon, f.producer, 1+2*f.jobs)
	call.args = append(call.args, f.number+":"+letters)
	for _, c := range f.cargos {
		for i := range c.jobs {
			call.args = append(call.args, &c.jobs[i].id, &c.jobs[i])
		}
	}
	reply, err := send(f.fitted(call))
	switch {
	case err != nil:
		return "", false, err
	case asInt(reply) == 1:
		return letters, false, nil
	case asInt(reply) == 0:
		return "", true, nil
	}
	return "", false, fmt.Errorf("%w: the flight came after a later one", backend.ErrUnavailable)
}

func (f *flight) runWhole(send sender) (string, error) {
	call := f.tag.call(enqueueScript, f.producer, 3+2*f.jobs)
	call.add(f.number)
	// Jobs that follow each other and are due alike are a group.
	when, members, count := "", 0, 0 // count is where the number of members is
	for _, c := range f.cargos {
		for i := range c.jobs {
			due, body := c.jobs[i].when, c.jobs[i].body
			if f.doubtful && c.jobs[i].fresh() {
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
	reply, err := send(f.fitted(call))
	if err != nil {
		return "", err
	}
	answer, ok := reply.([]any)
	if !ok || len(answer) != 2 {
		return "", fmt.Errorf("%w: the store answered %T", backend.ErrUnavailable, reply)
	}
	letters := asString(answer[1])
	if len(letters) != f.jobs {
		return "", fmt.Errorf("%w: %d answers to %d jobs", backend.ErrUnavailable, len(letters), f.jobs)
	}
	f.tag.clock.set(asInt(answer[0]))
	if f.doubtful {
		letters = f.ours(letters)
	}
	return letters, nil
}

// ours turns the letters of fresh jobs that were stored before into those of new
// ones: nobody else can have stored them.
func (f *flight) ours(letters string) string {
	all, n := []byte(letters), 0
	for _, c := range f.cargos {
		for i := range c.jobs {
			if job := &c.jobs[i]; job.fresh() || job.bond != nil && job.bond.random && (f.holders == nil || f.holders[n] == "") {
				all[n] |= 'a' - 'A'
			}
			n++
		}
	}
	return string(all)
}

// fitted has a large call bring its script along.
func (f *flight) fitted(c *call) *call {
	if f.size >= large {
		c.spellOut()
	}
	return c
}

// persist makes a call and repeats it unchanged while the time for it lasts.
func (f *flight) persist(c *call) (any, error) {
	pause := 10 * time.Millisecond
	sent := c.args
	for try := 0; ; try++ {
		c.args = sent
		do(until(f.b.ctx, f.deadline), f.b.client, []*call{c})
		reply, err := c.result()
		if err == nil {
			return reply, nil
		}
		err = classify(err)
		if try == 3 || !errors.Is(err, backend.ErrUnavailable) || time.Until(f.deadline) < pause {
			return nil, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-f.b.ctx.Done():
			timer.Stop()
			return nil, backend.ErrClosed
		}
		pause *= 3
	}
}
