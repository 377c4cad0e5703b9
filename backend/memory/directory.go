package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// record is what a worker announced, and until when it holds by the clock of the
// leases.
type record struct {
	info  backend.WorkerInfo
	until time.Duration
}

// Announce publishes or refreshes a worker's record, and tells of those that are
// overdue.
func (b *Backend) Announce(ctx context.Context, worker backend.WorkerInfo, ttl time.Duration) (backend.Announced, error) {
	var answer backend.Announced
	err := backend.CheckQueues(worker.Queues)
	switch {
	case err != nil:
	case worker.ID == "":
		err = fmt.Errorf("%w: the worker has no id", backend.ErrRejected)
	case ttl <= 0:
		err = fmt.Errorf("%w: a record for %v; give a positive time", backend.ErrRejected, ttl)
	}
	if err != nil {
		return answer, &backend.Error{Op: "announce", Err: err}
	}
	if err := b.lock(ctx, "announce"); err != nil {
		return answer, err
	}
	defer b.mu.Unlock()
	now, ran := b.now(), b.clock.read()
	b.forgetWorkers(ran)
	for _, name := range worker.Queues {
		b.queue(name)
	}
	worker.Queues = slices.Clone(worker.Queues)
	worker.Closed = slices.Clone(worker.Closed)
	worker.Kinds = slices.Clone(worker.Kinds)
	worker.SeenAt = instant(millis(now))
	b.workers[worker.ID] = record{info: worker, until: later(ran, ttl)}

	var overdue []record
	for id, r := range b.workers {
		switch in := r.until - ran; {
		case id == worker.ID:
		case in <= 0:
			overdue = append(overdue, r)
		case answer.Next == 0 || in < answer.Next:
			answer.Next = in
		}
	}
	slices.SortFunc(overdue, func(a, b record) int { return cmp.Compare(b.until, a.until) })
	for _, r := range overdue[:min(len(overdue), backend.MaxVanished)] {
		answer.Vanished = append(answer.Vanished, r.clone())
	}
	return answer, nil
}

func (r *record) clone() backend.WorkerInfo {
	info := r.info
	info.Queues = slices.Clone(info.Queues)
	info.Closed = slices.Clone(info.Closed)
	info.Kinds = slices.Clone(info.Kinds)
	return info
}

// SignOff removes a worker's record and the memory of its last calls.
func (b *Backend) SignOff(ctx context.Context, worker string, _ []string) error {
	if err := b.lock(ctx, "sign off"); err != nil {
		return err
	}
	defer b.mu.Unlock()
	delete(b.workers, worker)
	delete(b.callers, worker)
	return nil
}

// Workers returns the records by id.
func (b *Backend) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	if err := b.lock(ctx, "workers"); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	ran := b.clock.read()
	b.forgetWorkers(ran)
	infos := make([]backend.WorkerInfo, 0, len(b.workers))
	for _, r := range b.workers {
		if r.until > ran {
			infos = append(infos, r.clone())
		}
	}
	slices.SortFunc(infos, func(a, b backend.WorkerInfo) int { return strings.Compare(a.ID, b.ID) })
	return infos, nil
}

// forgetWorkers forgets the records that were overdue for long enough to have been
// told of.
func (b *Backend) forgetWorkers(ran time.Duration) {
	for id, r := range b.workers {
		if later(r.until, backend.VanishedFor) <= ran {
			delete(b.workers, id)
		}
	}
}

// maxCommands is how many commands are kept for a listener that is slow; those
// beyond are lost.
const maxCommands = backend.MaxBatch

// listener is one call of Listen. The store's mutex guards commands.
type listener struct {
	commands []backend.Command
	wake     chan struct{}
}

// Listen calls deliver for each command.
func (b *Backend) Listen(ctx context.Context, deliver func(backend.Command)) error {
	if err := b.lock(ctx, "listen"); err != nil {
		return err
	}
	l := &listener{wake: make(chan struct{}, 1), commands: []backend.Command{{Verb: backend.CommandControl}}}
	l.wake <- struct{}{}
	b.listeners[l] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, l)
	}()
	for {
		select {
		case <-l.wake:
			b.mu.Lock()
			commands := l.commands
			l.commands = nil
			b.mu.Unlock()
			for _, c := range commands {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				deliver(c)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-b.done:
			return &backend.Error{Op: "listen", Err: backend.ErrClosed}
		}
	}
}

// publish sends a command to all listeners. The caller holds the mutex.
func (b *Backend) publish(command backend.Command) {
	for l := range b.listeners {
		if len(l.commands) == maxCommands {
			continue
		}
		l.commands = append(l.commands, command)
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}
