package actors

import (
	"strconv"
	"strings"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// roster lists the slots. It outlives a restart of the pool.
type roster struct {
	mu    sync.Mutex
	slots []*slot
	// retired are the slots that were one too many, until their executors have
	// ended.
	retired []*slot
	byName  map[string]*slot
	next    int
	// suspended are executors that failed and wait for their directive.
	suspended map[string]bool
	closing   bool
	// replaced counts executors that ended though the pool had not asked for it.
	replaced int
}

func newRoster(n int) *roster {
	r := &roster{byName: map[string]*slot{}, suspended: map[string]bool{}}
	r.grow(n)
	return r
}

// grow adds n slots. Retired ones come back first: their jobs still run, and new
// slots beside them would be too many.
func (r *roster) grow(n int) (added, back []*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	few := min(n, len(r.retired))
	back = append(back, r.retired[:few]...)
	r.retired = append([]*slot(nil), r.retired[few:]...)
	for _, s := range back {
		s.stay()
	}
	for range n - few {
		s := &slot{number: r.next}
		r.next++
		r.byName[s.name()] = s
		added = append(added, s)
	}
	r.slots = append(append(r.slots, added...), back...)
	return added, back
}

// shrink retires n slots, idle ones first.
func (r *roster) shrink(n int) (removed []*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, busy := range []bool{false, true} {
		kept := r.slots[:0:0]
		for _, s := range r.slots {
			if len(removed) < n && s.busy() == busy {
				removed = append(removed, s)
			} else {
				kept = append(kept, s)
			}
		}
		r.slots = kept
	}
	for _, s := range removed {
		s.leave()
	}
	r.retired = append(r.retired, removed...)
	return removed
}

// dismiss forgets a retired slot whose executor has ended. It returns false if the
// slot is none or still has a job.
func (r *roster) dismiss(s *slot) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, each := range r.retired {
		if each == s && !s.busy() {
			r.retired = append(r.retired[:i:i], r.retired[i+1:]...)
			delete(r.byName, s.name())
			return true
		}
	}
	return false
}

func (r *roster) list() []*slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*slot(nil), r.slots...)
}

// retain keeps a slot whose executor has ended for another one.
func (r *roster) retain(s *slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, each := range r.retired {
		if each == s {
			return // the other one is only to settle its job
		}
	}
	s.stay()
}

// all returns the retired slots too.
func (r *roster) all() []*slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append([]*slot(nil), r.slots...), r.retired...)
}

// count returns the number of slots.
func (r *roster) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.slots)
}

func (r *roster) size() (slots, busy int) {
	list := r.list()
	for _, s := range list {
		if s.busy() {
			busy++
		}
	}
	return len(list), busy
}

// servedBy returns the slot that an executor serves or served.
func (r *roster) servedBy(executor *actor.PID) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[executorName(executor)]
}

// name is what the executor of a slot is called below its pool.
func (s *slot) name() string { return "exec-" + strconv.Itoa(s.number) }

func executorName(pid *actor.PID) string {
	return pid.Id[strings.LastIndexByte(pid.Id, '/')+1:]
}

func (r *roster) isClosing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing
}

func (r *roster) setClosing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closing = true
}

func (r *roster) isSuspended(executor *actor.PID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.suspended[executor.Id]
}

func (r *roster) setSuspended(executor *actor.PID, suspended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if suspended {
		r.suspended[executor.Id] = true
	} else {
		delete(r.suspended, executor.Id)
	}
}

// directive reports whether a directive for an executor is to be carried out. One
// for the executor that failed is good once: it may come late, from a timer, when
// the executor has been stopped for another reason.
func (r *roster) directive(executor, failed *actor.PID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	suspended := r.suspended[executor.Id]
	delete(r.suspended, executor.Id)
	return suspended || !executor.Equal(failed)
}
