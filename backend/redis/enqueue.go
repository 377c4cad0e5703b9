package redis

import (
	"context"
	"errors"
	"strconv"

	"github.com/caddis-go/caddis/backend"
)

var stateOf = map[byte]backend.State{
	's': backend.StateScheduled, 'w': backend.StateWaiting, 'b': backend.StateBlocked, 'r': backend.StateRunning,
	'c': backend.StateCompleted, 'x': backend.StateCancelled, 'd': backend.StateDead,
	'S': backend.StateScheduled, 'W': backend.StateWaiting, 'B': backend.StateBlocked, 'R': backend.StateRunning,
	'C': backend.StateCompleted, 'X': backend.StateCancelled, 'D': backend.StateDead,
}

// Enqueue implements backend.Producer. Calls that run at the same time share
// round trips.
func (b *Backend) Enqueue(ctx context.Context, jobs []backend.NewJob) ([]backend.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, b.fail("enqueue", "", ended(ctx))
	}
	if err := backend.CheckJobs(jobs); err != nil {
		return nil, b.fail("enqueue", "", err)
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	receipts := make([]backend.Receipt, len(jobs))
	parts, err := b.route(ctx, jobs, receipts)
	if err != nil {
		return nil, err
	}
	cargos := make([]*cargo, len(parts))
	fresh := allFresh(jobs)
	for n, p := range parts {
		c := freightOf(p, jobs, fresh)
		cargos[n] = c
		l := p.tag.lane(c)
		self := len(parts) == 1 && (ctx.Done() == nil || !b.derive.clustered()) // else it would have to wait
		pilot, err := b.board(l, c, self)
		switch {
		case err != nil:
			c.err = err
		case !pilot:
		case self:
			b.fly(ctx, p.tag, l, c)
		default:
			go b.flyOn(p.tag, l, nil)
		}
	}

	var failed error
	for n, p := range parts {
		c := cargos[n]
		err := p.tag.lane(c).collect(ctx, c)
		for k, i := range p.at {
			if err != nil {
				receipts[i].Err = b.fail("enqueue", p.tag.queue, err)
				continue
			}
			letter := c.letters[k]
			if letter == refused {
				receipts[i].Err = b.refusal(&jobs[i], c.holders[k])
				continue
			}
			receipts[i].State = stateOf[letter]
			receipts[i].Existing = letter < 'a'
			if c.holders != nil {
				meet(&receipts[i], c.holders[k])
			}
		}
	}
	for i := range receipts {
		if receipts[i].Err != nil {
			failed = receipts[i].Err
			break
		}
	}
	return receipts, failed
}

// route prepares the receipts and divides the jobs by their tags. A job whose queue cannot
// be entered while others can has the reason in its receipt, and is of no part.
func (b *Backend) route(ctx context.Context, jobs []backend.NewJob, receipts []backend.Receipt) ([]part, error) {
	names := []string{jobs[0].Queue}
	var at []int // where the name of each job's queue is, if there are several
	var known map[string]int
	for i := range jobs {
		receipts[i].Queue, receipts[i].ID = jobs[i].Queue, jobs[i].ID
		name := jobs[i].Queue
		if name == names[0] {
			continue
		}
		if known == nil {
			known, at = map[string]int{}, make([]int, len(jobs))
		}
		n, seen := known[name]
		if !seen {
			n = len(names)
			names, known[name] = append(names, name), n
		}
		at[i] = n
	}

	// The queues are entered one by one only if one of them cannot be.
	queues, err := b.enter(ctx, names)
	failed := make([]error, len(names))
	if err != nil {
		if len(names) == 1 || errors.Is(classify(err), backend.ErrUnavailable) {
			return nil, b.fail("enqueue", names[0], err)
		}
		queues = make([]*queue, len(names))
		for n, name := range names {
			one, err := b.enter(ctx, []string{name})
			if err != nil {
				failed[n] = b.fail("enqueue", name, err)
				continue
			}
			queues[n] = one[0]
		}
	}
	var misplaced error
	parts := split(len(jobs), func(i int) *tag {
		n := 0
		if at != nil {
			n = at[i]
		}
		q := queues[n]
		if q == nil {
			receipts[i].Err = failed[n]
			return nil
		}
		if err := q.misplaced(&jobs[i]); err != nil && misplaced == nil {
			misplaced = &backend.Error{Op: "enqueue", Queue: q.name, ID: jobs[i].ID, Err: err}
		}
		return q.tagOf(jobs[i].ID)
	})
	return parts, misplaced
}

// bulky is from which size on a job is told to the lease, which else does not look at
// sizes; see BULKY in scripts/lib/base.lua.
const bulky = 16 << 10

// freightOf makes the cargo of the jobs of one tag.
func freightOf(p part, jobs []backend.NewJob, fresh bool) *cargo {
	c := &cargo{jobs: make([]freight, len(p.at)), common: true}
	for _, i := range p.at {
		c.bound = c.bound || jobs[i].Unique.Held() || len(jobs[i].Limits) > 0 || jobs[i].Lane.Key != ""
	}
	fresh = fresh && !c.bound
	for n, i := range p.at {
		job := &jobs[i]
		due, enqueued := when(job), int64(0)
		if fresh && len(due) == 1 {
			if enqueued = p.tag.clock.now(); enqueued != 0 {
				due = whole[job.Priority+2]
			}
		}
		c.jobs[n] = freight{id: job.ID, when: due, body: envelope(job, enqueued)}
		if c.bound {
			c.jobs[n].bond = &bond{job.Unique, limitLines(job.Limits), laneText(job.Lane), job.Fresh}
		}
		c.size += len(c.jobs[n].body) + len(job.ID)
		c.common = c.common && due == usual && len(c.jobs[n].body) <= bulky
	}
	return c
}

// allFresh reports whether all jobs of a call are new for certain and none names an
// instant, which may have passed: the script would put those that are not behind the
// others.
func allFresh(jobs []backend.NewJob) bool {
	for i := range jobs {
		if !jobs[i].Fresh || !jobs[i].At.IsZero() {
			return false
		}
	}
	return true
}

// whole is when of the jobs whose ids are fresh, whose bodies have their headers
// and which are due at once, by level.
var whole = [levels]string{"0!", "1!", usual, "3!", "4!"}

// usual is when of the jobs that take the common path.
const usual = "2!"

var levelText = [levels]string{"0", "1", "2", "3", "4"}

// when says to the script at which level and when a job is due.
func when(job *backend.NewJob) string {
	level := levelText[job.Priority+2]
	if job.ReplaceFinished && !job.Fresh {
		level += "~"
	}
	switch {
	case job.Delay > 0:
		return level + "+" + strconv.FormatInt(millis(job.Delay), 10)
	case !job.At.IsZero():
		return level + "=" + strconv.FormatInt(ceilMilli(job.At), 10)
	}
	return level
}
