package actors

import (
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// outside is the border to the code of others that goroutines of the worker enter:
// the store, the supervision strategy, subscribers, hooks, the handler of the log. It
// knows who is on the other side, so that the worker waits for nobody longer than it
// may, and can name whom it did not wait for.
type outside struct {
	mu     sync.Mutex
	visits map[*visit]struct{}
	// home is closed when nobody is outside; nil unless somebody waits for that.
	home chan struct{}
}

// visit is one goroutine in the code of others.
type visit struct {
	whose string
	due   time.Time // when it is to be back at the latest
	store bool      // without the store nothing goes on
}

func newOutside() *outside { return &outside{visits: map[*visit]struct{}{}} }

func (o *outside) enter(v *visit) *visit {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.visits[v] = struct{}{}
	return v
}

func (o *outside) leave(v *visit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.visits, v)
	if o.home != nil && len(o.visits) == 0 {
		close(o.home)
		o.home = nil
	}
}

// run calls f in this goroutine and returns its panic, or that it ended the goroutine
// as far as the deferred calls of the caller learn of that.
func (o *outside) run(whose string, within time.Duration, f func()) (fault *jobs.Panic) {
	v := o.enter(&visit{whose: whose, due: time.Now().Add(within)})
	defer o.leave(v)
	defer func() {
		if value := recover(); value != nil {
			fault = &jobs.Panic{Value: value, Stack: debug.Stack()}
		}
	}()
	f()
	return nil
}

// briefly is run in a goroutine that is waited for as long as within.
func (o *outside) briefly(whose string, within time.Duration, f func()) {
	back := make(chan struct{})
	go func() {
		defer close(back)
		o.run(whose, within, f)
	}()
	select {
	case <-back:
	case <-time.After(within):
	}
}

// overdue names those who should be back, and counts the calls to the store among
// them.
func (o *outside) overdue(now time.Time) (names []string, calls int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for v := range o.visits {
		if now.Before(v.due) {
			continue
		}
		names = append(names, v.whose)
		if v.store {
			calls++
		}
	}
	slices.Sort(names)
	return slices.Compact(names), calls
}

// await waits until nobody is outside any more, and names those who still are.
func (o *outside) await(limit time.Duration) (names []string) {
	o.mu.Lock()
	if len(o.visits) == 0 {
		o.mu.Unlock()
		return nil
	}
	if o.home == nil {
		o.home = make(chan struct{})
	}
	home := o.home
	o.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-home:
		return nil
	case <-timer.C:
	}
	return o.names()
}

// names names all who are outside.
func (o *outside) names() (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for v := range o.visits {
		names = append(names, v.whose)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// series calls functions one after the other, in a goroutine that nobody waits for.
type series struct {
	dispatch *dispatcher

	mu      sync.Mutex
	queue   []func()
	running bool
}

// add appends a function, unless limit of them wait already.
func (s *series) add(f func(), limit int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= limit {
		return false
	}
	s.queue = append(s.queue, f)
	if !s.running {
		s.running = true
		s.dispatch.Schedule(s.run)
	}
	return true
}

func (s *series) run() {
	defer func() { // a function may end its goroutine
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.running {
			s.dispatch.Schedule(s.run)
		}
	}()
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		f := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		f()
	}
}
