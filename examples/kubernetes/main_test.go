package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/process"
	"github.com/caddis-go/caddis/jobs"
)

// find returns what the only group of a pattern matches in the manifest.
func find(t *testing.T, manifest, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(manifest)
	require.NotNil(t, match, "the manifest has nothing like %s", pattern)
	return match[1]
}

func TestTheTimesOfTheManifestFitTheProgram(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("manifest.yaml")
	require.NoError(t, err)
	manifest := string(text)
	seconds := func(pattern string) time.Duration {
		n, err := strconv.Atoi(find(t, manifest, pattern))
		require.NoError(t, err)
		return time.Duration(n) * time.Second
	}

	period := seconds(`\n +terminationGracePeriodSeconds: (\d+)\n`)
	preStop := seconds(`preStop:\n +sleep: { seconds: (\d+) }`)
	told, err := time.ParseDuration(find(t, manifest, process.GraceVariable+`\n +value: "(\w+)"`))
	require.NoError(t, err)

	require.Equal(t, period-preStop, told, "%s is what the preStop hook leaves", process.GraceVariable)
	require.GreaterOrEqual(t, told, Grace+2*time.Second)
	environment := func(name string) string { return map[string]string{process.GraceVariable: told.String()}[name] }
	require.Empty(t, process.GraceWarning(Grace, environment))
	require.Contains(t, manifest, "containerPort: 8080")
	require.Contains(t, manifest, "path: /readyz")
	require.Contains(t, manifest, "path: /livez")
}

// build compiles the program.
func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "worker")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

type health struct {
	OK       bool   `json:"ok"`
	State    string `json:"state"`
	TimeLeft string `json:"time_left"`
}

func probe(t *testing.T, url string) (code int, body health) {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
	return response.StatusCode, body
}

func TestTermLetsTheJobFinishWhileReadinessFailsAndLivenessDoesNot(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("there is no TERM on Windows")
	}
	url := "redis://" + redistest.Start(t, redistest.Options{}).Addr
	asked, answer := make(chan struct{}), make(chan struct{})
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		_, _ = w.Write([]byte("hello"))
	}))
	defer site.Close()

	worker := exec.Command(build(t))
	worker.Env = append(os.Environ(), "CADDIS_BACKEND="+url, "CADDIS_LISTEN=127.0.0.1:0")
	worker.Stderr = t.Output()
	stdout, err := worker.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, worker.Start())
	ended := false
	defer func() {
		if !ended {
			_ = worker.Process.Kill()
			_ = worker.Wait()
		}
	}()
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan(), "the worker says where its probes are")
	probes := "http://" + strings.TrimPrefix(lines.Text(), "probes on ")

	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	receipt, err := client.Enqueue(t.Context(), Fetch{URL: site.URL})
	require.NoError(t, err)
	<-asked // the job runs
	code, body := probe(t, probes+"/readyz")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "running", body.State)

	require.NoError(t, worker.Process.Signal(syscall.SIGTERM))
	for patience := time.Now().Add(10 * time.Second); code == http.StatusOK; {
		require.True(t, time.Now().Before(patience), "readiness does not fail")
		code, body = probe(t, probes+"/readyz")
	}
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Equal(t, "draining", body.State)
	require.NotEmpty(t, body.TimeLeft)
	code, body = probe(t, probes+"/livez")
	require.Equal(t, http.StatusOK, code)
	require.True(t, body.OK)
	close(answer)

	require.True(t, lines.Scan(), "the worker reports")
	require.Contains(t, lines.Text(), "1 leased, 1 completed")
	err = worker.Wait()
	ended = true
	require.NoError(t, err, "the exit code is 0")
	job, err := client.Job(t.Context(), receipt.Queue, receipt.ID)
	require.NoError(t, err)
	result, err := jobs.ResultOf[Fetched](job)
	require.NoError(t, err)
	require.Equal(t, Fetched{Status: 200, Bytes: 5}, result)
}

func TestAnEnvironmentThatCannotWorkIsAnError(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"CADDIS_BACKEND": "nowhere", "CADDIS_LISTEN": "no address"} {
		getenv := func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		}
		require.Error(t, run(t.Context(), getenv, t.Output()), name)
	}
}
