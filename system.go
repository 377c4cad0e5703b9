// Package caddis processes jobs: typed Go values that are enqueued from anywhere
// and executed by a supervised tree of actors, from an in-memory store or from
// Redis, and stopped gracefully.
//
// A [System] is a worker. It is configured with handlers, runs until it is told to
// stop, and then gives an account of every job:
//
//	registry := jobs.NewRegistry()
//	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
//		return mailer.Welcome(ctx, job.Args.UserID)
//	})
//	system, err := caddis.New(caddis.Config{Registry: registry})
//	...
//	receipt, err := system.Client().Enqueue(ctx, Welcome{UserID: 42})
//	report, err := system.Run(ctx)
package caddis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/internal/process"
	"github.com/caddis-go/caddis/jobs"
)

type (
	// Config describes a System; zero fields have the defaults that they name.
	Config = actors.Config
	// Report is the account of a System's life.
	Report = actors.Report
	// State is where a System is in its life.
	State = actors.State
	// Status describes a System as it is.
	Status = actors.Status
)

// ErrStopped means that the System was stopped before it was started.
var ErrStopped = errors.New("caddis: the system has been stopped")

// System is one worker. It is used once: made, started, stopped. Its methods may
// be called concurrently.
type System struct {
	config Config
	client *jobs.Client
	// own is the backend if it is the System's own.
	own    backend.Backend
	system *actor.ActorSystem

	mu       sync.Mutex
	starting bool
	worker   *actors.Worker // nil until started
	stopped  *Future
}

// New makes a System. It checks the whole configuration and does no I/O. Without
// a Backend the jobs live in this process and end with it.
func New(config Config) (*System, error) {
	var own backend.Backend
	if config.Backend == nil {
		m, err := memory.New(memory.Config{})
		if err != nil {
			return nil, err
		}
		own, config.Backend = m, m
	}
	config, err := config.Fill()
	if err != nil {
		return nil, err
	}
	client, err := jobs.NewClient(config.Backend, jobs.ClientConfig{Registry: config.Registry, Events: config.Events()})
	if err != nil {
		return nil, err
	}
	system := config.ActorSystem
	if system == nil {
		system = newActorSystem(config.Logger)
	}
	return &System{
		config: config, client: client, own: own, system: system,
		stopped: &Future{done: make(chan struct{})},
	}, nil
}

// Client enqueues, reads and acts on jobs, before, while and after the System
// runs; with the in-memory store until it has stopped.
func (s *System) Client() *jobs.Client { return s.client }

// For checkTimeout the start asks a store that is not available, again after each
// checkPause: a worker often starts together with its store.
const (
	checkTimeout = 5 * time.Second
	checkPause   = 250 * time.Millisecond
)

// Start checks the store and starts the actors. A store that is not available is
// asked again for 5 seconds. An error means that nothing was started; if the store
// was not available, Start may be called again.
func (s *System) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.worker != nil || s.starting:
		return errors.New("caddis: the system has been started already")
	case s.stopped.Report() != nil:
		return ErrStopped
	}
	s.starting = true
	s.mu.Unlock()
	err := s.check(ctx)
	s.mu.Lock()
	s.starting = false
	switch {
	case s.stopped.Report() != nil:
		return ErrStopped
	case err != nil:
		return err
	}

	worker, err := actors.Spawn(s.system, s.config)
	if err != nil {
		return err
	}
	s.worker = worker
	go s.awaitEnd(worker)
	s.config.Logger.Info("worker started", "worker", worker.ID(), "queues", s.config.Queues,
		"concurrency", s.config.Concurrency, "grace", s.config.Grace)
	return nil
}

func (s *System) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	go func() { // a stop does not wait for the answer
		select {
		case <-s.stopped.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	warnings, err := s.ask(ctx)
	passing := func() bool { // what is denied stays so until somebody acts
		return errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, backend.ErrDenied)
	}
	if passing() {
		s.config.Logger.Warn("the job store is not available yet", "error", err)
	}
	for passing() && ctx.Err() == nil {
		select {
		case <-time.After(checkPause):
			warnings, err = s.ask(ctx)
		case <-ctx.Done():
		}
	}
	if err != nil {
		return fmt.Errorf("caddis: the job store cannot be used: %w", err)
	}
	for _, w := range warnings {
		s.config.Logger.Warn("the job store is not safe", "setting", w.Setting, "problem", w.Problem, "remedy", w.Remedy)
	}
	if text := process.GraceWarning(s.config.Grace, os.Getenv); text != "" {
		s.config.Logger.Warn(text)
	}
	return nil
}

// ask has the store check itself. It is not waited for longer than ctx lasts, and its
// panic is an error.
func (s *System) ask(ctx context.Context) ([]backend.Warning, error) {
	type answer struct {
		warnings []backend.Warning
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		a := answer{err: errors.New("it ended its goroutine")}
		defer func() {
			if value := recover(); value != nil {
				a = answer{err: &jobs.Panic{Value: value, Stack: debug.Stack()}}
			}
			answers <- a
		}()
		a.warnings, a.err = s.config.Backend.Check(ctx)
	}()
	select {
	case a := <-answers:
		return a.warnings, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", backend.ErrUnavailable, context.Cause(ctx))
	}
}

func (s *System) awaitEnd(worker *actors.Worker) {
	<-worker.Done()
	s.close()
	s.stopped.resolve(worker.Report())
}

// close closes what the System owns; the store is the last.
func (s *System) close() {
	if s.own != nil {
		if err := s.own.Close(); err != nil {
			s.config.Logger.Warn("the job store does not close", "error", err)
		}
	}
}

// Stop asks for a stop with the configured grace and returns its future at once.
// Before the start it makes the System one that has stopped; when it has been
// asked before, it changes nothing.
func (s *System) Stop() *Future { return s.StopWith(actors.Stop{}) }

// StopWith is Stop with a grace or an urgency of its own. A later one can make
// the stop more urgent, never less.
func (s *System) StopWith(how actors.Stop) *Future {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.worker != nil:
		s.worker.Stop(how)
	case s.stopped.Report() == nil:
		now := time.Now()
		s.stopped.resolve(&Report{
			State: actors.StateStopped, Reason: "stopped before it was started", StartedAt: now, StoppedAt: now,
		})
		s.close()
	}
	return s.stopped
}

// Stopped returns the future of the stop without asking for one.
func (s *System) Stopped() *Future { return s.stopped }

// Run starts the System and blocks until it has stopped. It stops when ctx ends or
// when a signal comes:
//
//	TERM, INT  drain: running jobs finish within the grace
//	a second   cancel: their contexts end
//	a third    hand back: they go back to their queues at once
//	TSTP       quiet: no new jobs, the running ones go on
//
// The error says why the System could not start, or why it crashed. A program is
// to exit with a code other than 0 if there is one.
func (s *System) Run(ctx context.Context) (*Report, error) {
	signals := make(chan os.Signal, 8)
	listened := process.StopSignals
	if process.QuietSignal != nil {
		listened = append(listened[:len(listened):len(listened)], process.QuietSignal)
	}
	signal.Notify(signals, listened...)
	defer signal.Stop(signals)

	start := make(chan error, 1)
	go func() { start <- s.Start(ctx) }()
	starting := start
	urgency := actors.Drain
	for ended := ctx.Done(); ; {
		select {
		case err := <-starting:
			if err != nil && !errors.Is(err, ErrStopped) && ctx.Err() == nil {
				return nil, err
			}
			starting = nil
		case <-s.stopped.Done():
			if starting != nil {
				<-starting
			}
			report := s.stopped.Report()
			return report, report.Err
		case <-ended:
			ended = nil
			s.Stop()
			urgency = max(urgency, actors.Cancel)
		case sig := <-signals:
			s.config.Logger.Info("signal", "signal", sig.String())
			if sig == process.QuietSignal {
				s.Quiet()
				continue
			}
			s.StopWith(actors.Stop{Urgency: urgency})
			urgency = min(urgency+1, actors.HandBack)
		}
	}
}

// State returns the System's state; StateStarting before Start.
func (s *System) State() State { return s.Status().State }

// Status describes the System as it is.
func (s *System) Status() Status {
	s.mu.Lock()
	worker := s.worker
	s.mu.Unlock()
	switch report := s.stopped.Report(); {
	case worker != nil:
		return worker.Status()
	case report != nil:
		return Status{State: report.State, Since: report.StoppedAt}
	}
	return Status{State: actors.StateStarting, LastProgress: time.Now()}
}

// PID is the supervisor's; nil before Start. It takes the messages of package
// actors.
func (s *System) PID() *actor.PID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worker == nil {
		return nil
	}
	return s.worker.PID()
}

// Quiet stops the taking of jobs; those that run go on. Before Start it does
// nothing.
func (s *System) Quiet() { s.tell((*actors.Worker).Quiet) }

// Resume ends Quiet.
func (s *System) Resume() { s.tell((*actors.Worker).Resume) }

func (s *System) tell(order func(*actors.Worker)) {
	s.mu.Lock()
	worker := s.worker
	s.mu.Unlock()
	if worker != nil {
		order(worker)
	}
}

// Resize changes the number of jobs that run at the same time.
func (s *System) Resize(concurrency int) error {
	s.mu.Lock()
	worker := s.worker
	s.mu.Unlock()
	if worker == nil {
		return errors.New("caddis: resize: the system has not been started; set Config.Concurrency")
	}
	return worker.Resize(concurrency)
}

// Subscribe calls f at each change of the System's state, until unsubscribe is
// called; before Start too. f must be quick and must not wait for the System, but
// it may begin a stop.
func (s *System) Subscribe(f func(actors.StateChanged)) (unsubscribe func()) {
	return actors.Subscribe(s.system, s.config.Name, f)
}

// Tree describes the System's worker actor by actor, after its end with its report.
func (s *System) Tree() jobs.WorkerTree {
	s.mu.Lock()
	worker := s.worker
	s.mu.Unlock()
	if worker != nil {
		return worker.Tree()
	}
	status := s.Status()
	return jobs.WorkerTree{State: string(status.State), Since: status.Since, At: time.Now()}
}

// Health answers liveness and readiness probes, see [actors.Health], and under /drain a page
// for people on how far a stop is, see [actors.DrainPage].
func (s *System) Health() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", actors.Health(s.Status, s.config.Lease))
	mux.Handle("GET /drain", actors.DrainPage(s.Tree))
	return mux
}

// Future is a stop that is to come. Any number may wait for it.
type Future struct {
	once   sync.Once
	done   chan struct{}
	report *Report
}

func (f *Future) resolve(report *Report) {
	f.once.Do(func() {
		f.report = report
		close(f.done)
	})
}

// Done is closed when the System has stopped and nothing of it is left.
func (f *Future) Done() <-chan struct{} { return f.done }

// Wait returns the report when the System has stopped, or ctx's error. The report
// of a System that crashed comes with the error that it crashed with.
func (f *Future) Wait(ctx context.Context) (*Report, error) {
	select {
	case <-f.done:
		return f.report, f.report.Err
	default:
	}
	select {
	case <-f.done:
		return f.report, f.report.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("caddis: waiting for the stop: %w", context.Cause(ctx))
	}
}

// Report returns the report, or nil before Done.
func (f *Future) Report() *Report {
	select {
	case <-f.done:
		return f.report
	default:
		return nil
	}
}

// Spawn starts a worker inside an app's own actor system and returns the PID of
// its supervisor, which takes the messages of package actors: Stop, answered with
// *actors.Stopped, Quiet, Resume, Resize and Inspect. The store is not checked
// and not closed; Backend is required.
func Spawn(system *actor.ActorSystem, config Config) (*actor.PID, error) {
	worker, err := actors.Spawn(system, config)
	if err != nil {
		return nil, err
	}
	return worker.PID(), nil
}

// newActorSystem makes a System's own actor system. What the library logs at Info
// is of no interest to users.
func newActorSystem(logger *slog.Logger) *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(lowered{logger.Handler()}).With("lib", "protoactor")
	}))
}

// lowered is a handler that takes Info for Debug.
type lowered struct{ slog.Handler }

func (l lowered) Enabled(ctx context.Context, level slog.Level) bool {
	return l.Handler.Enabled(ctx, lower(level))
}

func (l lowered) Handle(ctx context.Context, record slog.Record) error {
	record.Level = lower(record.Level)
	return l.Handler.Handle(ctx, record)
}

func (l lowered) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lowered{l.Handler.WithAttrs(attrs)}
}
func (l lowered) WithGroup(name string) slog.Handler { return lowered{l.Handler.WithGroup(name)} }

func lower(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}
