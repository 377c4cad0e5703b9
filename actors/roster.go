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
	next  int
	// suspended are executors that failed and wait for their directive.
	suspended map[string]bool
	closing   bool
	// replaced counts executors that ended though the pool had not asked for it.
	replaced int
}

func newRoster(n int) *roster {
	r := &roster{suspended: map[string]bool{}}
	r.grow(n)
	return r
}

func (r *roster) grow(n int) (added []*slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range n {
		added = append(added, &slot{number: r.next})
		r.next++
	}
	r.slots = append(r.slots, added...)
	return added
}

// shrink takes n slots out, idle ones first.
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
	return removed
}

func (r *roster) list() []*slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*slot(nil), r.slots...)
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
	for _, s := range r.list() {
		if executorName(executor) == s.name() {
			return s
		}
	}
	return nil
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
