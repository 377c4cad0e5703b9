package operate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/internal/logs"
	"github.com/caddis-go/caddis/jobs"
)

// Operations runs acts on all jobs that match, in the background of this process, each with
// its progress. They are kept in the store: whatever process has Operations on it lists all
// of them and can stop each. Those of a process that has gone, others go on with from where
// it was: at once after its Close, and some seconds after it has crashed. What was done stays
// done in any case, and to begin one again does the rest. It may be used concurrently.
//
// It looks every two seconds for operations that nobody works at, until Close.
type Operations struct {
	client *jobs.Client
	shelf  shelf
	log    *slog.Logger
	// changed is told after each start and end; it must not block.
	changed func()
	// runner names this process.
	runner string
	timing timing

	ctx    context.Context
	cancel context.CancelFunc
	// tasks are the efforts and the watch.
	tasks sync.WaitGroup

	mu     sync.Mutex
	closed bool
	// running are those that this process works at, over those that have ended, which
	// do not change any more; nil is one that was forgotten.
	running map[string]*running
	over    map[string]*Operation
	watch   watch
}

// running is an operation that this process works at.
type running struct {
	shown Operation
	stop  context.CancelCauseFunc
}

// lastWrite is how long the last write of an operation may take.
const lastWrite = 3 * time.Second

// NewOperations makes a runner, which needs a Close. changed, which may be nil, is called
// after an operation has begun and after it has ended, in this process or another, by
// goroutines that it must not block. A nil log is slog.Default.
func NewOperations(client *jobs.Client, log *slog.Logger, changed func()) *Operations {
	return newOperations(client, log, changed, timing{watchEvery, lostAfter, restFactor})
}

func newOperations(client *jobs.Client, log *slog.Logger, changed func(), t timing) *Operations {
	if changed == nil {
		changed = func() {}
	}
	if log == nil {
		log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Operations{
		client: client, shelf: newShelf(client), log: logs.Guard(log), runner: runnerName(), timing: t,
		ctx: ctx, cancel: cancel, running: map[string]*running{}, over: map[string]*Operation{},
	}
	s.changed = func() {
		if err := safely(func() error { changed(); return nil }); err != nil {
			s.log.Error("who is told of operations on jobs panicked", withStack(err)...)
		}
	}
	s.tasks.Go(s.keepWatch)
	return s
}

// runnerName names this process for people, and is another one for each Operations.
func runnerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s:%d:%s", cut(host, maxName), os.Getpid(), rand.Text()[:8])
}

// Start begins an operation. ctx is for the start only. It fails with [ErrBusy] if too many
// run in the store, and with an error that wraps [backend.ErrRejected] if the request is
// wrong.
func (s *Operations) Start(ctx context.Context, r Request) (Operation, error) {
	if err := r.Check(); err != nil {
		return Operation{}, err
	}
	var of int64
	for _, queue := range r.Queues {
		info, err := s.client.Queue(ctx, queue)
		if err != nil {
			return Operation{}, err
		}
		of += info.Counts[r.State]
	}
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return Operation{}, backend.ErrClosed
	}
	kept := record{Operation: Operation{
		ID: newID(), Request: r, Phase: PhaseRunning, StartedAt: time.Now(), Of: of, Runner: s.runner,
	}}
	if err := s.shelf.add(ctx, &kept); err != nil {
		return Operation{}, err
	}
	s.begin(kept)
	return kept.Operation, nil
}

// begin works at an operation that this process is the runner of. After Close it does not,
// and another process takes it over.
func (s *Operations) begin(r record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	ctx, stop := context.WithCancelCause(s.ctx)
	s.running[r.ID] = &running{shown: r.Operation, stop: stop}
	e := &effort{client: s.client, shelf: s.shelf, record: r, rest: s.timing.rest, show: s.show}
	s.tasks.Go(func() {
		defer s.changed()
		defer stop(nil)
		s.changed()
		err := safely(func() error { return e.run(ctx) })
		var p *jobs.Panic
		if errors.As(err, &p) {
			s.log.Error("an operation on jobs panicked", withStack(err, "operation", r.ID)...)
		}
		s.end(ctx, e, err)
	})
}

func (s *Operations) show(o Operation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[o.ID].shown = o
}

// safely makes an error of a panic, such as one of the user's store, which would end the
// process otherwise.
func safely(do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &jobs.Panic{Value: value, Stack: debug.Stack()}
		}
	}()
	return do()
}

// withStack is an error as the log has it.
func withStack(err error, attrs ...any) []any {
	attrs = append(attrs, "error", err)
	var p *jobs.Panic
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.Stack))
	}
	return attrs
}

// end writes down how an operation has ended, or hands it over.
func (s *Operations) end(ctx context.Context, e *effort, err error) {
	o := &e.record
	write := s.shelf.save
	switch {
	case err == nil:
		o.Phase = PhaseDone
	case errors.Is(err, errTaken):
	case o.Stopping || errors.Is(context.Cause(ctx), errStopped):
		o.Phase = PhaseStopped
	case s.ctx.Err() != nil:
		write = s.shelf.letGo
	default:
		o.Phase, o.Error = PhaseFailed, cut(err.Error(), maxReason)
	}
	ended := o.Phase != PhaseRunning
	if ended {
		o.FinishedAt, o.At = time.Now(), position{}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	if !errors.Is(err, errTaken) {
		err = safely(func() error { return write(last, o) })
	}
	kept := err == nil
	if kept && ended {
		_ = safely(func() error { return s.shelf.ended(last, o.ID) }) // if not, who looks next does
	}
	s.mu.Lock()
	delete(s.running, o.ID)
	if kept && ended {
		s.over[o.ID] = &o.Operation
	}
	s.mu.Unlock()
	attrs := []any{"operation", o.ID, "act", o.Act, "by", o.By, "queues", o.Queues, "state", o.State, "dry_run", o.DryRun,
		"phase", o.Phase, "looked", o.Looked, "applied", o.Applied, "error", o.Error}
	switch {
	case errors.Is(err, errTaken):
		s.log.Warn("an operation on jobs was left to others, which go on with it", append(attrs, "because", err)...)
	case !kept:
		s.log.Warn("what became of an operation on jobs could not be written down; whoever looks next goes on with it", append(attrs, "because", err)...)
	case ended:
		s.log.Info("an operation on jobs has ended", attrs...)
	default:
		s.log.Info("an operation on jobs was handed over, as this process ends", attrs...)
	}
}

// List returns the operations of the store, the newest first: [OperationsKept] of them, and
// those that have ended for [OperationKept]. It costs a call to the store, one for each that
// another process works at, and once one for each that has ended elsewhere.
func (s *Operations) List(ctx context.Context) ([]Operation, error) {
	kept, err := s.shelf.index(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Operation, 0, len(kept.Operations))
	for _, entry := range kept.Operations {
		o, err := s.Get(ctx, entry.ID)
		switch {
		case err == nil:
			all = append(all, o)
		case !errors.Is(err, backend.ErrNotFound):
			return nil, err
		}
	}
	return all, nil
}

// Get returns one operation, or [backend.ErrNotFound].
func (s *Operations) Get(ctx context.Context, id string) (Operation, error) {
	switch o, ok := s.remembered(id); {
	case ok && o == nil:
		return Operation{}, noOperation(id)
	case ok:
		return *o, nil
	}
	r, err := s.shelf.load(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch.knows(id) {
		switch {
		case errors.Is(err, backend.ErrNotFound):
			s.over[id] = nil
		case err == nil && r.Phase != PhaseRunning:
			s.over[id] = &r.Operation
		}
	}
	return r.Operation, err
}

// remembered is what is known of an operation without asking the store: nil of one that was
// forgotten.
func (s *Operations) remembered(id string) (o *Operation, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if here := s.running[id]; here != nil {
		shown := here.shown
		return &shown, true
	}
	o, ok = s.over[id]
	return o, ok
}

// Stop ends an operation, in whatever process it runs, after the page that it is at, and
// reports whether it ran. by names who asks. [backend.ErrNotFound] says that there is none
// of that id. Of another process it takes some seconds.
func (s *Operations) Stop(ctx context.Context, id, by string) (bool, error) {
	err := s.shelf.stop(ctx, id, by)
	switch {
	case errors.Is(err, errEnded):
		return false, nil
	case err != nil:
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if here := s.running[id]; here != nil {
		here.stop(errStopped)
	}
	return true, nil
}

// Close hands the operations of this process over to others, waits until it has, and lets
// none begin. Without another process they rest until there is one.
func (s *Operations) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.tasks.Wait()
}
