package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// asProgram is the variable that makes the binary of the tests a program: "plain" is one
// without handlers, "worker" one with.
const asProgram = "CADDIS_CLI_TEST_PROGRAM"

// Slow is a job that runs until it is cancelled.
type Slow struct{}

func (Slow) Kind() string { return "slow" }

func programOfTests() {
	registry := jobs.NewRegistry()
	if os.Getenv(asProgram) == "worker" {
		jobs.Handle(registry, func(context.Context, *jobs.Job[Welcome]) error { return nil }, jobs.Queue("mail"))
		jobs.Handle(registry, func(ctx context.Context, _ *jobs.Job[Slow]) error {
			<-ctx.Done()
			return ctx.Err()
		}, jobs.Queue("mail"))
	}
	Main(registry, Config{Worker: caddis.Config{Concurrency: 2}})
}

// process is the command line as a process of its own.
type process struct {
	*exec.Cmd
	out, err bytes.Buffer
}

func newProcess(t testing.TB, program, url string, args ...string) *process {
	p := &process{Cmd: exec.Command(os.Args[0], args...)}
	p.Env = append(os.Environ(), asProgram+"="+program, StoreVariable+"="+url)
	p.Stdout, p.Stderr = &p.out, &p.err
	t.Cleanup(func() {
		if p.Process != nil && p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// code waits for the end, and answers the exit code.
func (p *process) code(t testing.TB) int {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		require.NoError(t, p.Process.Kill())
		t.Fatalf("the process did not end: %s", p.err.String())
	}
	return p.ProcessState.ExitCode()
}

func TestTheProcessEndsByItsExitCodes(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	newFleet(t, url)
	for _, c := range []struct {
		code     int
		args     []string
		out, err string
	}{
		{0, []string{"job", "show", "dead-1"}, "no such user", ""},
		{0, []string{"--help"}, "Usage:", ""},
		{0, []string{"--version"}, "with Caddis", ""},
		{exitFailed, []string{"job", "retry", "waiting-1"}, "waiting-1", "not possible in this state"},
		{exitFailed, []string{"queues", "--store", "redis://127.0.0.1:1"}, "", "the job store is unavailable"},
		{exitUsage, []string{"jobs", "--state", "x"}, "", `there is no state "x"`},
		{exitNotFound, []string{"job", "show", "nowhere"}, "", "not found"},
	} {
		p := newProcess(t, "plain", url, c.args...)
		require.NoError(t, p.Start())
		require.Equal(t, c.code, p.code(t), "%v: %s", c.args, p.err.String())
		require.Contains(t, p.out.String(), c.out)
		require.Contains(t, p.err.String(), c.err)
		if c.out == "" {
			require.Empty(t, p.out.String())
		}
		if c.err == "" {
			require.Empty(t, p.err.String())
		}
	}
}

// silence is a server that takes connections and never answers; accepted tells of each.
func silence(t testing.TB) (address string, accepted <-chan net.Conn) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	connections := make(chan net.Conn, 100)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			connections <- connection
		}
	}()
	return listener.Addr().String(), connections
}

func TestASignalEndsACommandAtOnceAndCleanly(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals")
	}
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		address, accepted := silence(t)
		p := newProcess(t, "plain", "redis://"+address+"?timeout=10m", "queues")
		require.NoError(t, p.Start())
		connection := <-accepted
		_, err := connection.Read(make([]byte, 1)) // it has begun to ask
		require.NoError(t, err)

		require.NoError(t, p.Process.Signal(sig))

		require.Equal(t, code, p.code(t), p.err.String())
		require.Equal(t, "cli.test: interrupted\n", p.err.String())
		require.Empty(t, p.out.String())
	}
}

func TestAnActWhoseTerminalIsClosedIsInTheAuditLog(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals")
	}
	onStores(t, func(t *testing.T, url string) {
		store := openStore(t, url)
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		_, err = store.Announce(t.Context(), backend.WorkerInfo{ID: "w", State: "running", StartedAt: time.Now()}, time.Hour)
		require.NoError(t, err)
		outcomes := func() (all []string) {
			entries, _, err := operate.Audit(t.Context(), client, operate.AuditQuery{})
			require.NoError(t, err)
			for _, e := range entries {
				require.Equal(t, "worker stop --all=true --wait=true", e.Act+" "+e.On)
				all = append(all, e.Outcome)
			}
			return all
		}
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGKILL} {
			before := len(outcomes())
			p := newProcess(t, "plain", url, "worker", "stop", "--all", "--wait")
			require.NoError(t, p.Start())
			require.Eventually(t, func() bool { return len(outcomes()) > before }, time.Minute, 10*time.Millisecond, "it is noted as it begins")
			require.Equal(t, "begun", outcomes()[0])
			require.NoError(t, p.Process.Signal(sig))
			if code := p.code(t); sig == syscall.SIGHUP {
				require.Equal(t, 129, code)
				require.Contains(t, outcomes()[0], "interrupted")
			}
		}
	})
}

func TestACommandThatWaitsForALockedFileEndsWithItsContext(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	db := lock(t, url)
	defer db()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	program := newTool(jobs.NewRegistry())
	program.storeURL = url
	ended := make(chan int, 1)
	go func() {
		ended <- program.run(ctx, []string{"--store", url + "?busy_timeout=10m", "enqueue", "welcome"})
	}()
	select {
	case code := <-ended:
		require.Equal(t, exitFailed, code)
	case <-time.After(time.Minute):
		t.Fatal("the command did not end with its context")
	}
}

func TestAReaderThatHasEnoughEndsTheListing(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell")
	}
	url := newFile(t)
	newFleet(t, url).enqueueMany(2000, Welcome{})
	p := newProcess(t, "plain", url)
	p.Path, p.Args = shell, []string{"sh", "-c", os.Args[0] + " jobs --limit 10000 -o jsonl | head -n 1"}
	require.NoError(t, p.Start())
	require.Zero(t, p.code(t))
	require.Equal(t, 1, bytes.Count(p.out.Bytes(), []byte("\n")))
	require.Empty(t, p.err.String())
}

func TestAProgramOfAUserIsItsWorkerAndReportsAtItsEnd(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		p := newProcess(t, "worker", url, "work", "-o", "jsonl", "--concurrency", "3", "--grace", "20s")
		require.NoError(t, p.Start())
		a := call(t, handling(), url, "", "enqueue", "welcome", `{"user_id": 1}`, "--id", "done", "--retention", "1h")
		require.Zero(t, a.code, a.err)
		await(t, client, "done", backend.StateCompleted)
		var workers []backend.WorkerInfo
		require.Eventually(t, func() bool { // its first job may be done before its record is there
			workers, err = client.Workers(t.Context())
			return err == nil && len(workers) == 1
		}, time.Minute, 10*time.Millisecond)
		require.Equal(t, 3, workers[0].Concurrency)
		require.Equal(t, []string{"slow", "welcome"}, workers[0].Kinds)

		require.NoError(t, p.Process.Signal(syscall.SIGTERM))

		require.Zero(t, p.code(t), p.err.String())
		var report caddis.Report
		require.NoError(t, json.Unmarshal(p.out.Bytes(), &report), p.out.String())
		require.EqualValues(t, "stopped", report.State)
		require.Equal(t, 1, report.Completed)
		require.Contains(t, p.err.String(), "worker started")
		require.NotContains(t, p.err.String(), "\x1b", "a log that is no terminal has no colours")
	})
}

func TestASecondSignalCancelsTheJobsOfAWorkerWhichGoBack(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), Slow{}, jobs.ID("slow-1"), jobs.Queue("mail"))
	require.NoError(t, err)
	p := newProcess(t, "worker", url, "work", "--grace", "10m")
	require.NoError(t, p.Start())
	await(t, client, "slow-1", backend.StateRunning)

	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		workers, err := client.Workers(t.Context())
		return err == nil && len(workers) == 1 && workers[0].State == "draining"
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))

	require.Zero(t, p.code(t), p.err.String())
	require.Regexp(t, `^stopped after .*: 1 leased, 1 interrupted\n$`, p.out.String())
	job, err := client.Job(t.Context(), "mail", "slow-1")
	require.NoError(t, err)
	require.Equal(t, backend.StateWaiting, job.State)
	require.Zero(t, job.Attempts)
}

// freeAddress is one of this machine where nobody listens.
func freeAddress(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func TestAWorkerAnswersProbesUntilItsStopIsOver(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), Slow{}, jobs.ID("slow-1"), jobs.Queue("mail"))
	require.NoError(t, err)
	probes, profiles := freeAddress(t), freeAddress(t)
	p := newProcess(t, "worker", url, "work", "--grace", "10m", "--http", probes, "--pprof", profiles)
	require.NoError(t, p.Start())
	get := func(address, path string) (int, string) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return 0, ""
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	await(t, client, "slow-1", backend.StateRunning)
	require.Eventually(t, func() bool { code, _ := get(probes, "/readyz"); return code == http.StatusOK }, time.Minute, 10*time.Millisecond)
	code, _ := get(probes, "/debug/pprof/")
	require.Equal(t, http.StatusNotFound, code, "profiles are not for whoever probes")
	code, goroutines := get(profiles, "/debug/pprof/goroutine?debug=1")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, goroutines, "programOfTests")

	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		code, _ := get(probes, "/readyz")
		return code == http.StatusServiceUnavailable
	}, time.Minute, 10*time.Millisecond)
	code, _ = get(probes, "/livez")
	require.Equal(t, http.StatusOK, code, "a restart would cut the stop short")
	code, page := get(probes, "/drain")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, page, "is draining")
	require.Regexp(t, `mail +slow-1 +slow `, page)

	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Zero(t, p.code(t), p.err.String())
	code, _ = get(probes, "/livez")
	require.Zero(t, code)
}

func TestAWorkerThatCannotStartFails(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "worker", "sqlite:"+filepath.Join(t.TempDir(), "no", "folder", "jobs.db"), "work")
	require.NoError(t, p.Start())
	require.Equal(t, exitFailed, p.code(t))
	require.Contains(t, p.err.String(), "the job store cannot be used")
	require.Empty(t, p.out.String())
}

// await waits until a job is in a state.
func await(t testing.TB, client *jobs.Client, id string, state backend.State) {
	t.Helper()
	require.Eventually(t, func() bool {
		job, err := client.Job(t.Context(), "mail", id)
		return err == nil && job.State == state
	}, time.Minute, 10*time.Millisecond, "the job %s is to become %s", id, state)
}

func TestATerminalGetsColoursUnlessItWantsNone(t *testing.T) {
	t.Parallel()
	script, err := exec.LookPath("script")
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("there is no script that makes a terminal")
	}
	url := newFile(t)
	newFleet(t, url)
	for _, c := range []struct {
		more     []string
		coloured bool
	}{
		{[]string{"TERM=xterm", "NO_COLOR="}, true},
		{[]string{"TERM=xterm", "NO_COLOR=1"}, false},
		{[]string{"TERM=dumb", "NO_COLOR="}, false},
	} {
		p := newProcess(t, "plain", url)
		p.Path, p.Args = script, []string{"script", "-qec", os.Args[0] + " jobs --state dead", os.DevNull}
		p.Env = append(p.Env, c.more...)
		p.Stdin = io.LimitReader(nil, 0)
		require.NoError(t, p.Start())
		require.Zero(t, p.code(t))
		require.Contains(t, p.out.String(), "no such user")
		if c.coloured {
			require.Contains(t, p.out.String(), "\x1b[31mdead\x1b[0m")
		} else {
			require.NotContains(t, p.out.String(), "\x1b")
		}
	}
}

func TestProfilesAreForThoseWhoAskForThisMachine(t *testing.T) {
	t.Parallel()
	for host, code := range map[string]int{
		"localhost:6060": http.StatusOK, "127.0.0.1:6060": http.StatusOK, "[::1]:6060": http.StatusOK,
		"evil.example:6060": http.StatusForbidden, "": http.StatusForbidden,
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/debug/pprof/cmdline", nil)
		r.Host = host
		profiles().ServeHTTP(w, r)
		require.Equal(t, code, w.Code, host)
	}
}
