package operate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

const (
	// MaxOperations is how many operations run at the same time.
	MaxOperations = 4
	// remembered is how many are listed, those that have ended included.
	remembered = 100
)

// ErrBusy means that [MaxOperations] run already.
var ErrBusy = errors.New("too many operations run at the same time; wait for one, or stop it")

// Operations runs acts on all jobs that match, in the background of this process, each with
// its progress. They end with the process: what was done stays done, and to begin one again
// goes on. It may be used concurrently.
type Operations struct {
	client *jobs.Client
	log    *slog.Logger
	// changed is told after each start and end; it must not block.
	changed func()

	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	// list has the newest first.
	list []*operation
}

type operation struct {
	Operation
	stop context.CancelFunc
}

// NewOperations makes a runner. changed, which may be nil, is called after an operation has
// begun and after it has ended, by goroutines that it must not block. A nil log is
// slog.Default.
func NewOperations(client *jobs.Client, log *slog.Logger, changed func()) *Operations {
	if changed == nil {
		changed = func() {}
	}
	if log == nil {
		log = slog.Default()
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Operations{client: client, log: log, changed: changed, ctx: ctx, cancel: cancel}
}

// Start begins an operation. ctx is for the start only. It fails with [ErrBusy] if too many
// run, and with an error that wraps [backend.ErrRejected] if the request is wrong.
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
	defer s.mu.Unlock()
	running := 0
	for _, o := range s.list {
		if o.Phase == PhaseRunning {
			running++
		}
	}
	switch {
	case s.closed:
		return Operation{}, backend.ErrClosed
	case running >= MaxOperations:
		return Operation{}, ErrBusy
	}
	o := &operation{Operation: Operation{ID: newID(), Request: r, Phase: PhaseRunning, StartedAt: time.Now(), Of: of}}
	var work context.Context
	work, o.stop = context.WithCancel(s.ctx)
	s.list = slices.Insert(s.list, 0, o)
	s.forget()
	s.ended.Go(func() { s.run(work, o) })
	return o.Operation, nil
}

// forget drops the oldest of those that have ended.
func (s *Operations) forget() {
	for i := len(s.list) - 1; i >= 0 && len(s.list) > remembered; i-- {
		if s.list[i].Phase != PhaseRunning {
			s.list = slices.Delete(s.list, i, i+1)
		}
	}
}

func (s *Operations) run(ctx context.Context, o *operation) {
	defer s.changed()
	defer o.stop()
	s.changed()
	err := s.perform(ctx, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	o.FinishedAt = time.Now()
	switch {
	case err == nil:
		o.Phase = PhaseDone
	case ctx.Err() != nil:
		o.Phase = PhaseStopped
	default:
		o.Phase, o.Error = PhaseFailed, err.Error()
	}
	s.log.Info("an operation on jobs has ended", "operation", o.ID, "act", o.Act, "by", o.By, "queues", o.Queues,
		"state", o.State, "dry_run", o.DryRun, "phase", o.Phase, "looked", o.Looked, "applied", o.Applied, "error", o.Error)
}

// perform makes an error of a panic, such as one of a codec.
func (s *Operations) perform(ctx context.Context, o *operation) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v", value)
			s.log.Error("an operation on jobs panicked", "operation", o.ID, "panic", value, "stack", string(debug.Stack()))
		}
	}()
	request := o.Request
	return perform(ctx, s.client, &request, func(change func(*Operation)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		change(&o.Operation)
	})
}

// List returns the operations, the newest first; those that ended longest ago are forgotten.
func (s *Operations) List() []Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Operation, len(s.list))
	for i, o := range s.list {
		all[i] = o.Operation
	}
	return all
}

// Get returns one operation; ok is false if there is none of that id.
func (s *Operations) Get(id string) (o Operation, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(id); i >= 0 {
		return s.list[i].Operation, true
	}
	return Operation{}, false
}

// Stop ends an operation after the page that it is at, and reports whether it ran.
func (s *Operations) Stop(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(id)
	if i < 0 || s.list[i].Phase != PhaseRunning {
		return false
	}
	s.list[i].stop()
	return true
}

func (s *Operations) find(id string) int {
	return slices.IndexFunc(s.list, func(o *operation) bool { return o.ID == id })
}

// Close stops all operations, waits for their ends, and lets none begin.
func (s *Operations) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.ended.Wait()
}
