package actors

import (
	"slices"
	"sync"
)

// served is which queues the worker takes from: those that it was given by name, and
// those that its patterns found in the store; without those that a gate closes, it is
// open ones that jobs are taken from. It lives outside of the actors: whoever changes
// it sends queuesChanged to fetcher and clock, and the fetcher looks at it now and then
// all the same.
type served struct {
	patterns patterns
	// always are the queues that are served whether the store has them or not.
	always []string

	mu    sync.Mutex
	known []string // what the store has, as far as it matters
	taken []string
	// shut tells whether a gate closes a queue; nil without gates.
	shut func(queue string) bool
}

type queuesChanged struct{}

func (*queuesChanged) IgnoreDeadLetterLogging() {}

func newServed(config *Config) *served {
	s := &served{patterns: config.Queues, always: declaredQueues(config.Registry)}
	s.taken = s.patterns.take(s.always)
	return s
}

// dynamic reports whether the store has to be asked for queues.
func (s *served) dynamic() bool { return s.patterns.dynamic() }

// all returns the queues that are served. The caller must not change it.
func (s *served) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// open returns those that no gate closes. The caller must not change it.
func (s *served) open() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut == nil || !slices.ContainsFunc(s.taken, s.shut) {
		return s.taken
	}
	return slices.DeleteFunc(slices.Clone(s.taken), s.shut)
}

// closed returns those that a gate closes.
func (s *served) closed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.taken), func(queue string) bool { return !s.shut(queue) })
}

// serves reports whether jobs of a queue are among the worker's.
func (s *served) serves(queue string) bool { return slices.Contains(s.all(), queue) }

// with returns what would be served if the store had these queues.
func (s *served) with(known []string) []string {
	return s.patterns.take(slices.Concat(s.always, known))
}

// appeared adds a queue that the store has now, and reports whether it is served from
// now on and was not before.
func (s *served) appeared(queue string) bool {
	if _, taken := s.patterns.rank(queue); !taken || s.serves(queue) {
		return false
	}
	s.mu.Lock()
	known := append(slices.Clip(s.known), queue)
	s.mu.Unlock()
	return s.update(known)
}

// update takes over which queues the store has. Those that it has no more are
// forgotten. It reports whether that changes what is served.
func (s *served) update(known []string) bool {
	known = slices.DeleteFunc(slices.Clone(known), func(queue string) bool {
		_, taken := s.patterns.rank(queue)
		return !taken
	})
	taken := s.with(known)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = known
	if slices.Equal(taken, s.taken) {
		return false
	}
	s.taken = taken
	return true
}
