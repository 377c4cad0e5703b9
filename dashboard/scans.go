package dashboard

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// errorScans sums up the errors of jobs for the page of errors, a page of jobs at a time,
// in the background and only while somebody looks.
type errorScans struct {
	client *jobs.Client
	log    *slog.Logger
	watch  *watch
	ctx    context.Context
	cancel context.CancelFunc

	mu   sync.Mutex
	kept map[backend.State]*errorScan
}

// errorScan is what is known of the errors of the jobs in a state.
type errorScan struct {
	// summary is of the last scan that came to its end, or of the first one as far as it is.
	summary errorSummary
	running bool
	// asked is when somebody last looked.
	asked time.Time
}

// errorSummary is what a scan has found.
type errorSummary struct {
	Groups     []operate.ErrorGroup
	Looked, Of int64
	Others     int
	// Whole is true if all was looked at, at At.
	Whole bool
	At    time.Time
	// Err is why the last scan ended before.
	Err error
}

const (
	// scanAge is how old a summary may be before it is made anew.
	scanAge = 5 * time.Second
	// scanRest is how long a scan rests after each page, as a multiple of what that took.
	scanRest = 3
	// scanWait is how long the first page of a scan is waited for.
	scanWait = 300 * time.Millisecond
	// scanIdle ends a scan that nobody has asked for that long.
	scanIdle = 20 * time.Second
)

func newErrorScans(client *jobs.Client, log *slog.Logger, watch *watch) *errorScans {
	ctx, cancel := context.WithCancel(context.Background())
	return &errorScans{client: client, log: log, watch: watch, ctx: ctx, cancel: cancel, kept: map[backend.State]*errorScan{}}
}

func (s *errorScans) close() { s.cancel() }

// summary is what is known of the errors of the jobs in a state. It begins a scan if that
// is too old.
func (s *errorScans) summary(ctx context.Context, queues []backend.QueueInfo, state backend.State) errorSummary {
	s.mu.Lock()
	scan := s.kept[state]
	if scan == nil {
		scan = &errorScan{}
		s.kept[state] = scan
	}
	scan.asked = time.Now()
	began := make(chan struct{})
	if !scan.running && time.Since(scan.summary.At) > scanAge {
		scan.running = true
		go s.run(scan, operate.NewErrorScan(s.client, queues, state), began)
	} else {
		close(began)
	}
	s.mu.Unlock()
	select {
	case <-began: // most are over after the first page
	case <-time.After(scanWait):
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return scan.summary
}

// textOf is what the errors of a group have in common; empty if no scan has found it.
func (s *errorScans) textOf(state backend.State, group string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if scan := s.kept[state]; scan != nil {
		for i := range scan.summary.Groups {
			if g := &scan.summary.Groups[i]; g.ID == group {
				return g.Text
			}
		}
	}
	return ""
}

// renew lets the next look be a new scan.
func (s *errorScans) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, scan := range s.kept {
		scan.summary.At = time.Time{}
	}
}

// run brings a scan to its end. It closes began after the first page.
func (s *errorScans) run(scan *errorScan, steps *operate.ErrorScan, began chan struct{}) {
	first := true
	for more := true; more; {
		started := time.Now()
		var err error
		more, err = s.step(steps)
		more = more && err == nil
		s.mu.Lock()
		summary := errorSummary{Groups: steps.Groups(), Looked: steps.Looked(), Of: steps.Of(), Others: steps.Others(), Err: err, Whole: err == nil && !more}
		if !more {
			summary.At = time.Now()
		}
		switch {
		case err != nil && scan.summary.Whole:
			scan.summary.Err, scan.summary.At = err, summary.At
		case !more || !scan.summary.Whole:
			scan.summary = summary
		}
		more = more && time.Since(scan.asked) < scanIdle
		scan.running = more
		s.mu.Unlock()
		if first {
			first = false
			close(began)
		}
		if err != nil {
			s.log.Warn("the errors of jobs cannot be summed up", "error", err)
		}
		if more {
			select {
			case <-time.After(scanRest * time.Since(started)):
			case <-s.ctx.Done():
				more = false
			}
		}
	}
	s.watch.change()
}

// step makes an error of a panic.
func (s *errorScans) step(steps *operate.ErrorScan) (more bool, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &jobs.Panic{Value: value, Stack: debug.Stack()}
			s.log.Error("summing up errors panicked", "error", err, "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(s.ctx, pageTime)
	defer cancel()
	return steps.Step(ctx)
}
