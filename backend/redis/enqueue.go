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

	// The queues are entered one by one only if one of them cannot be.
	var names []string
	entered := map[string]error{}
	for i := range jobs {
		if _, seen := entered[jobs[i].Queue]; !seen {
			entered[jobs[i].Queue] = nil
			names = append(names, jobs[i].Queue)
		}
	}
	queues := make(map[string]*queue, len(names))
	if all, err := b.enter(ctx, names); err == nil {
		for i, name := range names {
			queues[name] = all[i]
		}
	} else if len(names) == 1 || errors.Is(classify(err), backend.ErrUnavailable) {
		return nil, b.fail("enqueue", names[0], err)
	} else {
		for _, name := range names {
			one, err := b.enter(ctx, []string{name})
			if err != nil {
				entered[name] = b.fail("enqueue", name, err)
				continue
			}
			queues[name] = one[0]
		}
	}

	// One cargo per tag, and for each job its place there.
	type load struct {
		tag   *tag
		cargo *cargo
		at    []int
	}
	var loads []*load
	byTag := map[*tag]*load{}
	fresh := allFresh(jobs)
	for i := range jobs {
		job := &jobs[i]
		receipts[i].Queue, receipts[i].ID = job.Queue, job.ID
		q := queues[job.Queue]
		if q == nil {
			receipts[i].Err = entered[job.Queue]
			continue
		}
		t := q.tagOf(job.ID)
		l := byTag[t]
		if l == nil {
			l = &load{tag: t, cargo: &cargo{done: make(chan struct{})}}
			if len(queues) == 1 && len(q.tags) == 1 {
				l.cargo.args = make([]any, 0, 3*len(jobs))
			}
			byTag[t] = l
			loads = append(loads, l)
		}
		due, enqueued := when(job), int64(0)
		if fresh && len(due) == 1 {
			if enqueued = t.clock.now(); enqueued != 0 {
				due = whole[job.Priority+2]
			}
		}
		body := envelope(job, enqueued)
		l.cargo.args = append(l.cargo.args, job.ID, due, body)
		l.cargo.size += len(body) + len(job.ID)
		l.at = append(l.at, i)
	}
	for _, l := range loads {
		pilot, err := b.board(l.tag, l.cargo)
		switch {
		case err != nil:
			l.cargo.err = err
			close(l.cargo.done)
		case !pilot:
		case len(loads) == 1 && ctx.Done() == nil:
			b.fly(l.tag) // whose ctx may end does not wait for the store
		default:
			go b.flyOn(l.tag)
		}
	}

	var failed error
	for _, l := range loads {
		err := b.collect(ctx, l.tag, l.cargo)
		for n, i := range l.at {
			if err != nil {
				receipts[i].Err = b.fail("enqueue", l.tag.queue, err)
				continue
			}
			letter := l.cargo.letters[n]
			receipts[i].State = stateOf[letter]
			receipts[i].Existing = letter < 'a'
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
var whole = [levels]string{"0!", "1!", "2!", "3!", "4!"}

// when says to the script at which level and when a job is due.
func when(job *backend.NewJob) string {
	level := strconv.Itoa(job.Priority + 2)
	switch {
	case job.Delay > 0:
		return level + "+" + strconv.FormatInt(millis(job.Delay), 10)
	case !job.At.IsZero():
		return level + "=" + strconv.FormatInt(ceilMilli(job.At), 10)
	}
	return level
}
