package sqlite

import (
	"slices"

	"github.com/caddis-go/caddis/backend"
)

// txn is one transaction that may write: of the writer, with the calls of a group, or
// one of the application.
type txn struct {
	executor
	store *Backend
	// now is the store's clock, in milliseconds.
	now int64
	// anchor is that of the clock, if it has changed; before is how many rows the
	// connection had written then.
	anchor *anchor
	before int64
	queues map[string]*queue
	// self is the number of this process, once it is known.
	self int64

	// What is to be done once it is committed.
	news     []string
	commands []backend.Command
	after    []func()
}

func newTxn(b *Backend, x executor) (*txn, error) {
	t := &txn{executor: x, store: b, queues: make(map[string]*queue)}
	return t, t.tick()
}

// tell notes that there is news for those who wait on a queue.
func (t *txn) tell(q *queue) {
	if !q.paused && !slices.Contains(t.news, q.name) {
		t.news = append(t.news, q.name)
	}
}

// flush writes what was kept in hand.
func (t *txn) flush() error {
	for _, q := range t.queues {
		if err := q.trim(); err != nil {
			return err
		}
		if err := q.save(); err != nil {
			return err
		}
	}
	return t.saveClock()
}

// publish does what has to wait for the commit.
func (t *txn) publish() {
	for _, do := range t.after {
		do()
	}
	for _, name := range t.news {
		t.store.hub.ring(name)
	}
	for _, command := range t.commands {
		t.store.hub.command(command)
	}
}
