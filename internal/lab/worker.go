//go:build unix

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/redis" // the stores of the laboratory
	"github.com/caddis-go/caddis/backend/redis/redistest"
	_ "github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/jobs"
)

// Task is the job of the laboratory: it takes a time, and heeds its context or
// does not.
type Task struct {
	Milliseconds int    `json:"ms"`
	Obstinate    bool   `json:"obstinate,omitempty"`
	Padding      []byte `json:"padding,omitempty"`
}

// Kind implements jobs.Args.
func (Task) Kind() string { return "lab.task" }

// workerEnv makes the test binary a worker process.
const workerEnv = "CADDIS_LAB_WORKER"

// manyCrashes keeps the tests that kill one worker after the other from having
// jobs set aside that were in the hands of several of them: by default the third
// crash makes a job dead.
const manyCrashes = 1000

// Settings are those of a worker process.
type Settings struct {
	URL     string
	Journal string
	Queues  []string // the default one if there are none
	// Orders is the journal of a process that enqueues and does not work.
	Orders      string
	Concurrency int
	Lease       time.Duration
	Grace       time.Duration
}

// Main runs the tests of a package, or, in a process that StartWorker started, a
// worker. TestMain calls it.
func Main(m *testing.M) {
	if text := os.Getenv(workerEnv); text != "" {
		os.Exit(workerMain(text))
	}
	goredis.SetLogger(silence{}) // of what the tests themselves ask
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", "5") // most of the time they wait
	}
	os.Exit(run(m))
}

// identity is the certificate of the proxies that take connections over TLS. The test's
// process and its workers trust it as they would an authority's, by a variable of
// their surroundings.
var identity *redistest.Identity

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "caddis-lab-")
	if err == nil {
		identity, err = redistest.NewIdentity(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_ = os.Setenv("SSL_CERT_FILE", identity.CertFile)
	return m.Run()
}

// trusted returns the identity where the system heeds the variable.
func trusted(t testing.TB) *redistest.Identity {
	t.Helper()
	if runtime.GOOS == "darwin" {
		t.Skip("macOS trusts what its keychain does, and no file")
	}
	return identity
}

// silence drops what the client library logs of connections that are cut.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func workerMain(text string) int {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	slog.SetDefault(logger) // of stores that are opened by their URL
	var s Settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		logger.Error("settings", "error", err)
		return 2
	}
	if s.Orders != "" {
		logger.Error("producer", "error", order(s))
		return 1
	}
	report, err := work(s, logger)
	for report == nil && errors.Is(err, backend.ErrUnavailable) {
		report, err = work(s, logger) // as what runs workers starts them again
	}
	if err != nil {
		logger.Error("worker", "error", err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		logger.Error("report", "error", err)
		return 1
	}
	return 0
}

func work(s Settings, logger *slog.Logger) (*caddis.Report, error) {
	journal, err := OpenJournal(s.Journal)
	if err != nil {
		return nil, err
	}
	store, err := backend.Open(s.URL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Task]) error {
		if err := journal.Write("start", job.ID); err != nil {
			return err
		}
		done := ctx.Done()
		if job.Args.Obstinate {
			done = nil
		}
		select {
		case <-time.After(time.Duration(job.Args.Milliseconds) * time.Millisecond):
			return journal.Write("end", job.ID)
		case <-done:
			event := "cut"
			if errors.Is(context.Cause(ctx), jobs.ErrLeaseLost) {
				event = "lost"
			}
			return errors.Join(context.Cause(ctx), journal.Write(event, job.ID))
		}
	}, jobs.MaxCrashes(manyCrashes))
	system, err := caddis.New(caddis.Config{
		Backend: store, Registry: registry, Queues: s.Queues, Concurrency: s.Concurrency,
		Lease: s.Lease, Grace: s.Grace, Logger: logger,
		OnEvent: func(e jobs.Event) {
			if e.Type != jobs.EventCompleted {
				return
			}
			if err := journal.Write("settled", e.Job.ID); err != nil {
				logger.Error("journal", "error", err)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return system.Run(context.Background())
}

// Worker is a worker process.
type Worker struct {
	t     testing.TB
	cmd   *exec.Cmd
	done  chan struct{}
	out   bytes.Buffer
	errMu sync.Mutex
	err   bytes.Buffer
}

// StartWorker starts a worker process. It ends with the test.
func StartWorker(t testing.TB, s Settings) *Worker {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	binary, err := os.Executable()
	require.NoError(t, err)
	w := &Worker{t: t, cmd: exec.Command(binary), done: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	w.cmd.Stdout = &w.out
	w.cmd.Stderr = w
	endWithParent(w.cmd)
	require.NoError(t, w.cmd.Start())
	go func() {
		_ = w.cmd.Wait() // the exit code is looked at by Exit
		close(w.done)
	}()
	t.Cleanup(func() {
		w.Kill()
		if t.Failed() {
			t.Logf("worker %d ended with %v and said:\n%s", w.PID(), w.cmd.ProcessState, w.Log())
		}
	})
	return w
}

// Write takes the log of the process.
func (w *Worker) Write(p []byte) (int, error) {
	w.errMu.Lock()
	defer w.errMu.Unlock()
	return w.err.Write(p)
}

// Log is what the process has written to its standard error.
func (w *Worker) Log() string {
	w.errMu.Lock()
	defer w.errMu.Unlock()
	return w.err.String()
}

// PID is the id of the process.
func (w *Worker) PID() int { return w.cmd.Process.Pid }

// started is how a worker logs the id under which it holds leases.
var started = regexp.MustCompile(`msg="worker started" worker=(\S+)`)

// ID is the worker's id, empty until it has started.
func (w *Worker) ID() string {
	if found := started.FindStringSubmatch(w.Log()); found != nil {
		return found[1]
	}
	return ""
}

// Terminate sends TERM.
func (w *Worker) Terminate() {
	w.t.Helper()
	require.NoError(w.t, w.cmd.Process.Signal(syscall.SIGTERM))
}

// Pause stops the process without ending it; Continue undoes it.
func (w *Worker) Pause() {
	w.t.Helper()
	require.NoError(w.t, w.cmd.Process.Signal(syscall.SIGSTOP))
}

// Continue undoes Pause.
func (w *Worker) Continue() {
	w.t.Helper()
	require.NoError(w.t, w.cmd.Process.Signal(syscall.SIGCONT))
}

// Kill ends the process with KILL and waits for its end.
func (w *Worker) Kill() {
	_ = w.cmd.Process.Kill() // it may have ended
	<-w.done
}

// Running reports whether the process has not ended.
func (w *Worker) Running() bool {
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

// Exit waits for the end of the process and returns its exit code and report.
func (w *Worker) Exit(within time.Duration) (code int, report caddis.Report) {
	w.t.Helper()
	select {
	case <-w.done:
	case <-time.After(within):
		require.FailNow(w.t, "the worker does not end", "within %v of its TERM; it said:\n%s", within, w.Log())
	}
	code = w.cmd.ProcessState.ExitCode()
	if code == 0 {
		require.NoError(w.t, json.Unmarshal(w.out.Bytes(), &report), "the report: %q", w.out.String())
	}
	return code, report
}
