package backendtest

import (
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// model is a queue as the contract describes it, written to be obviously right:
// it keeps no order but a rank per waiting job, and finds everything by looking
// at everything.
type model struct {
	jobs   map[string]*entry
	paused bool
	// pausedFor is 0 for a pause without an end.
	pausedFor time.Duration
	// known is true once the queue held a job or was paused.
	known bool
	// front and back are the lowest and the highest rank given out. Jobs of
	// one rank came to wait together, in no order.
	front, back int

	completed, failed, cancelled, dead, crashed int64

	schedules map[string]*backend.Schedule
	// keys has the id of the job that holds a unique key.
	keys map[backend.Key]string

	classes map[string]*modelClass
	parks   int
	memos   map[string]backend.Memo

	contests map[contestants]*contest

	recorded recorded
}

type entry struct {
	job     backend.Job
	state   backend.State
	history backend.History
	crashes int

	rank            int
	key             string
	token, worker   string
	cancelRequested bool

	unique  backend.Unique
	started bool

	// kept is set once the job has the slot that it keeps until it has finished, spent while
	// it has the tokens of a lease. parkedAt is the index of the limit at which it is parked,
	// number its place among the parked ones, 0 before it was ever parked.
	kept, spent      bool
	parkedAt, number int

	// returned is set while the job waits because it came back to the front, foremost if it
	// is certain to come before all lanes.
	returned, foremost bool
}

func newModel() *model {
	return &model{
		jobs: map[string]*entry{}, schedules: map[string]*backend.Schedule{}, keys: map[backend.Key]string{},
		classes:  map[string]*modelClass{},
		contests: map[contestants]*contest{},
		memos:    map[string]backend.Memo{},
		recorded: recorded{figures: map[string]*backend.Figures{}, calls: map[string]uint64{}},
	}
}

func (m *model) count(state backend.State) int64 {
	n := int64(0)
	for _, e := range m.jobs {
		if e.state == state {
			n++
		}
	}
	return n
}

func (m *model) counts() map[backend.State]int64 {
	counts := map[backend.State]int64{}
	for _, s := range backend.States {
		counts[s] = m.count(s)
	}
	return counts
}

// in returns the ids of the jobs in a state, sorted.
func (m *model) in(state backend.State) []string {
	ids := []string{}
	for id, e := range m.jobs {
		if e.state == state {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (m *model) wait(e *entry) {
	m.back++
	e.rank = m.back
	m.become(e, backend.StateWaiting)
}

// become takes what belongs to the earlier state from a job.
func (m *model) become(e *entry, state backend.State) {
	e.state, e.parkedAt = state, -1
	e.returned, e.foremost = false, false
	m.moved(e)
	if state.Final() {
		e.kept, e.spent, e.number = false, false, 0
	}
	e.token, e.worker, e.key, e.cancelRequested = "", "", "", false
}

func (m *model) enqueue(jobs []backend.NewJob) []backend.Receipt {
	var receipts []backend.Receipt
	for _, n := range jobs {
		e := m.jobs[n.ID]
		existing := e != nil && !(n.ReplaceFinished && e.state.Final())
		receipt := backend.Receipt{Queue: n.Queue, ID: n.ID, Existing: existing}
		if !existing {
			if e = m.meet(&n, &receipt); e == nil {
				e = m.add(n, m.jobs[n.ID])
			}
		}
		if m.known = true; e == refused {
			receipts = append(receipts, backend.Receipt{Queue: n.Queue, ID: n.ID, Err: backend.ErrLimited})
			continue
		}
		receipt.State = e.state
		receipts = append(receipts, receipt)
	}
	return receipts
}

// refused is what add answers if a limit keeps a job from being stored.
var refused = &entry{}

// add stores a job, in the place of one of its id, if that is not nil.
func (m *model) add(n backend.NewJob, instead *entry) *entry {
	m.doubt()
	if instead == nil {
		instead = &entry{}
	}
	m.declare(n.Limits)
	if m.refuses(n.Limits, instead) {
		return refused
	}
	if instead.unique.Held() {
		m.free(instead)
	}
	e := &entry{job: n.Job}
	m.spend(e, true)
	m.jobs[n.ID] = e
	m.hold(e, n.Unique)
	if n.Delay > 0 {
		m.become(e, backend.StateScheduled)
	} else {
		m.wait(e)
	}
	return e
}

// unblockable returns the jobs that wait for one of the keys.
func (m *model) unblockable(keys []string) []*entry {
	var found []*entry
	for _, e := range m.jobs {
		if e.state == backend.StateBlocked && slices.Contains(keys, e.key) && m.fits(e) {
			found = append(found, e)
		}
	}
	return found
}

// ends reports whether there is a pause that ends by itself.
func (m *model) ends() bool { return m.paused && m.pausedFor > 0 }

// next returns the jobs of which any may be the next to be leased.
func (m *model) next(unblock []string) []*entry {
	if m.paused {
		return nil
	}
	if found := m.unblockable(unblock); len(found) > 0 {
		return found
	}
	first := m.nextWaiting()
	if parked := m.nextParked(); len(parked) > 0 && (len(first) == 0 || parked[0].job.Priority >= first[0].job.Priority) {
		return parked
	}
	return first
}

func (m *model) lease(e *entry, worker, token string) {
	m.spend(e, false)
	m.become(e, backend.StateRunning)
	e.worker, e.token = worker, token
	e.kept, e.number = true, 0
}

// blockedOn returns the keys that jobs wait for, sorted.
func (m *model) blockedOn() []string {
	keys := []string{}
	for _, e := range m.jobs {
		if e.state == backend.StateBlocked && !e.parked() && !slices.Contains(keys, e.key) {
			keys = append(keys, e.key)
		}
	}
	slices.Sort(keys)
	return keys
}

// held returns the job that a token holds, or nil.
func (m *model) held(id, token string) *entry {
	if e := m.jobs[id]; e != nil && e.state == backend.StateRunning && e.token == token {
		return e
	}
	return nil
}

// settle answers what each settlement has to answer; a bad one answers
// ErrRejected.
func (m *model) settle(all []backend.Settlement) []backend.SettleResult {
	results := make([]backend.SettleResult, len(all))
	var released []*entry
	for i, s := range all {
		if s.Check() != nil {
			results[i].Err = backend.ErrRejected
			continue
		}
		e := m.held(s.ID, s.Token)
		if e == nil {
			results[i].Stale = true
			continue
		}
		if s.History != nil {
			e.history = *s.History
		}
		if s.Outcome == backend.OutcomeRetry {
			m.failed++
		}
		outcome := s.Outcome
		if outcome == backend.OutcomeReleased || outcome == backend.OutcomeBlocked {
			m.refund(e)
		}
		e.spent = false
		if e.cancelRequested && outcome != backend.OutcomeCompleted && outcome != backend.OutcomeDead {
			outcome = backend.OutcomeCancelled
		}
		switch outcome {
		case backend.OutcomeCompleted:
			m.completed++
			m.become(e, backend.StateCompleted)
			if s.Keep <= 0 {
				delete(m.jobs, s.ID)
			}
		case backend.OutcomeCancelled:
			m.cancelled++
			m.become(e, backend.StateCancelled)
		case backend.OutcomeDead:
			m.dead++
			m.become(e, backend.StateDead)
		case backend.OutcomeReleased:
			m.become(e, backend.StateWaiting)
			e.number = foremost
			released = append(released, e)
		case backend.OutcomeBlocked:
			m.become(e, backend.StateBlocked)
			e.key, e.number = s.Key, foremost
		case backend.OutcomeRetry, backend.OutcomeSnoozed:
			if s.Delay > 0 {
				m.become(e, backend.StateScheduled)
			} else {
				m.wait(e)
			}
		}
		results[i].State = e.state
	}
	m.front -= len(released)
	for i, e := range released {
		m.comeBack(e, m.front+i)
	}
	return results
}

func (m *model) renew(leases []backend.Held) []backend.RenewResult {
	results := make([]backend.RenewResult, len(leases))
	for i, l := range leases {
		e := m.held(l.ID, l.Token)
		if e == nil {
			results[i].Lost = true
			continue
		}
		results[i].CancelRequested = e.cancelRequested
		if l.Progress != nil {
			e.history.Progress = l.Progress
		}
	}
	return results
}

// saveHistory reports whether the job is held.
func (m *model) saveHistory(held backend.Held, h backend.History) bool {
	e := m.held(held.ID, held.Token)
	if e == nil {
		return false
	}
	h.Progress = e.history.Progress
	e.history = h
	return true
}

// expire ends the leases of jobs at one time.
func (m *model) expire(all []*entry) {
	m.front--
	for _, e := range all {
		m.crashed++
		e.crashes++
		if e.cancelRequested {
			m.cancelled++
			m.become(e, backend.StateCancelled)
		} else {
			m.become(e, backend.StateWaiting)
			m.comeBack(e, m.front)
			e.number = foremost
		}
	}
}

// act answers what an operator's verb has to answer for one job.
func (m *model) act(verb, id string) backend.ActResult {
	e := m.jobs[id]
	if e == nil {
		return backend.ActResult{ID: id, Err: backend.ErrNotFound}
	}
	allowed := true
	switch verb {
	case "cancel":
		switch e.state {
		case backend.StateScheduled, backend.StateWaiting, backend.StateBlocked:
			m.cancelled++
			m.become(e, backend.StateCancelled)
		case backend.StateRunning:
			e.cancelRequested = true
		case backend.StateCancelled:
		default:
			allowed = false
		}
	case "retry":
		if allowed = e.state == backend.StateDead || e.state == backend.StateCancelled; allowed {
			e.crashes, e.history.Attempts = 0, 0
			m.wait(e)
			m.spend(e, true)
		}
	case "delete":
		if allowed = e.state != backend.StateRunning; allowed {
			m.free(e)
			delete(m.jobs, id)
			return backend.ActResult{ID: id}
		}
	case "run now":
		switch e.state {
		case backend.StateScheduled, backend.StateBlocked:
			m.wait(e)
		case backend.StateWaiting:
		default:
			allowed = false
		}
	}
	result := backend.ActResult{ID: id, State: e.state}
	if !allowed {
		result.Err = backend.ErrState
	}
	return result
}

// pastInstant is an instant for histories.
var pastInstant = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)
