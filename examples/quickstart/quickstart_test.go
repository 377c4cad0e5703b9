package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

// outcome is a run of the program.
type outcome struct {
	summary
	code   int
	stdout string
	stderr string
}

// start runs the program with -json, as a process would be. If no store is named it is
// a new file.
func start(t *testing.T, ctx context.Context, args ...string) outcome {
	t.Helper()
	if !slices.Contains(args, "-backend") {
		args = append(args, "-backend", "sqlite:"+filepath.Join(t.TempDir(), "jobs.db"))
	}
	var stdout, stderr bytes.Buffer
	o := outcome{code: run(ctx, append([]string{"-json"}, args...), &stdout, newScreen(&stderr))}
	o.stdout, o.stderr = stdout.String(), stderr.String()
	if lines := strings.Split(strings.TrimSpace(o.stdout), "\n"); o.code == 0 {
		require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &o.summary), "stdout: %s", o.stdout)
	}
	return o
}

// tree makes a folder of n files, some of them with names that are hard to handle,
// and returns the digest that the program is to find.
func tree(t *testing.T, n int) (dir string, files int, size int64, want string) {
	t.Helper()
	dir = t.TempDir()
	names := []string{"empty", "with space", " leading", "sub/dir/deep", "-dash", "quote\"'", "ümlaut", "sub.txt"}
	if runtime.GOOS == "linux" {
		names = append(names, "new\nline", "not\xff\xfeutf8", "back\\slash", "tab\tbell\a", "sub\xffdir/x\ny")
	}
	for i := len(names); i < n; i++ {
		names = append(names, fmt.Sprintf("d%02d/f%05d", i%37, i))
	}
	random := rand.NewChaCha8([32]byte{1})
	sums := map[string]Sum{}
	for i, name := range names {
		content := make([]byte, i*i%4999)
		_, _ = random.Read(content)
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, content, 0o644))
		sum := sha256.Sum256(content)
		sums[name] = Sum{SHA256: hex.EncodeToString(sum[:])}
		size += int64(len(content))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "no files"), 0o755))
	return dir, len(names), size, digest(sums)
}

func TestAFolderIsDigested(t *testing.T) {
	t.Parallel()
	dir, files, size, want := tree(t, 3000)
	if runtime.GOOS != "windows" {
		for name, target := range map[string]string{"link": "empty", "dead link": "nowhere", "loop": ".", "outside": os.TempDir()} {
			require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
		}
	}

	got := start(t, t.Context(), "-dir", dir)

	require.Zero(t, got.code, got.stderr)
	require.Equal(t, want, got.Digest)
	require.Equal(t, files, got.Files)
	require.Equal(t, files, got.Found)
	require.Equal(t, size, got.Bytes)
	require.Equal(t, files, got.Completed)
	require.Equal(t, "stopped", got.State)
	require.Zero(t, got.Failed+got.HandedBack+got.Interrupted+got.Abandoned+int(got.Left))
	require.Empty(t, got.Failures)
}

func TestTheDigestIsThatOfFindAndSha256sum(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs the find and sha256sum of GNU")
	}
	dir, _, _, _ := tree(t, 500)
	const pipeline = `find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -z -- | tr '\0' '\n' | sha256sum | cut -c1-64`
	command := exec.Command("bash", "-o", "pipefail", "-c", pipeline)
	command.Dir = dir
	want, err := command.Output()
	require.NoError(t, err)

	require.Equal(t, strings.TrimSpace(string(want)), start(t, t.Context(), "-dir", dir).Digest)
}

func TestWhatCannotBeReadIsListedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	dir, files, _, want := tree(t, 100)
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	root, err := folder(dir)
	require.NoError(t, err)
	// Two files that the scan of an earlier start has seen.
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	for _, path := range []string{"gone\xff", "no files"} {
		_, err := client.Enqueue(t.Context(), Hash{Path: []byte(path)},
			jobs.Queue(queuesOf(root).files), jobs.ID(hashID(path)), jobs.MaxAttempts(1))
		require.NoError(t, err)
	}
	forbidden := os.Geteuid() > 0
	if forbidden {
		for _, path := range []string{"secret", "secret dir"} {
			require.NoError(t, os.Mkdir(filepath.Join(dir, path), 0o700))
		}
		require.NoError(t, os.Remove(filepath.Join(dir, "secret")))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), nil, 0))
		require.NoError(t, os.Chmod(filepath.Join(dir, "secret dir"), 0))
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "secret dir"), 0o700) })
	}

	var log bytes.Buffer
	var got *summary
	err = digestFolder(t.Context(), &options{
		dir: dir, store: store, concurrency: 4, grace: time.Minute, lease: time.Minute,
	}, newScreen(&log), func(s *summary) error {
		got = s
		return nil
	})

	require.NoError(t, err)
	require.Equal(t, want, got.Digest)
	require.Equal(t, files, got.Completed)
	why := map[string]string{}
	for _, f := range got.Failures {
		path, err := hex.DecodeString(f.PathHex)
		require.NoError(t, err)
		why[string(path)] = f.Error
	}
	require.Contains(t, why["gone\xff"], "no such file")
	require.Equal(t, errNotRegular.Error(), why["no files"])
	expected := 2
	if forbidden {
		require.Contains(t, why["secret"], "permission denied")
		require.Contains(t, why["secret dir"], "permission denied")
		expected = 4
		require.Equal(t, 3, got.Failed)
	} else {
		require.Equal(t, 2, got.Failed)
	}
	require.Len(t, why, expected)

	var table bytes.Buffer
	require.NoError(t, got.writeTable(&table))
	require.Contains(t, table.String(), `"gone\xff"`)
	require.Contains(t, table.String(), want)
}

func TestAStopInterruptsAFileThatIsLong(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "long")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.NoError(t, os.Truncate(file, 1<<40)) // sparse
	ctx, cancel := context.WithCancelCause(t.Context())

	_, err := hashFile(ctx, file, func(int) { cancel(jobs.ErrStopping) })

	require.ErrorIs(t, err, jobs.ErrStopping)
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such folder":      {[]string{"-dir", file + "s"}, 1, "cannot be used"},
		"a file":              {[]string{"-dir", file}, 1, "cannot be read"},
		"an unknown flag":     {[]string{"-dri", "."}, 2, "Usage"},
		"no flag":             {[]string{"."}, 2, "-dir"},
		"no concurrency":      {[]string{"-concurrency", "0"}, 2, "-concurrency"},
		"no grace":            {[]string{"-grace", "-1s"}, 2, "-grace"},
		"an impossible lease": {[]string{"-lease", "1ms"}, 2, "-lease"},
		"an unknown backend":  {[]string{"-backend", "mongodb://x"}, 2, "mongodb"},
		"a Redis that is off": {[]string{"-dir", t.TempDir(), "-backend", "redis://127.0.0.1:1"}, 1, "unavailable"},
		"a bad journal":       {[]string{"-dir", t.TempDir(), "-journal", file + "/x"}, 1, "journal"},
		"help":                {[]string{"-help"}, 0, "Usage"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), c.args, &stdout, newScreen(&stderr))
			require.Equal(t, c.code, code, stderr.String())
			require.Contains(t, stderr.String(), c.says)
			require.Empty(t, stdout.String())
		})
	}
}

func TestTheScanCountsAsNoFileHoweverOftenItIsTried(t *testing.T) {
	t.Parallel()
	report := &caddis.Report{Worker: "w", Counts: actors.Counts{Leased: 5, Completed: 3, Retried: 1, Dead: 1}}
	s := summarize(&account{scannedBy: "w", scan: &Scanned{}}, report, 0)
	require.Equal(t, 2, s.Completed)
	require.Equal(t, 1, s.Failed)
	s = summarize(&account{scannedBy: "w", scanFailure: "it went away"}, report, 0)
	require.Equal(t, 3, s.Completed)
	require.Zero(t, s.Failed)
}

func TestTheReportSaysWhereWhatIsLeftWillBeDone(t *testing.T) {
	t.Parallel()
	var table bytes.Buffer
	require.NoError(t, (&summary{Left: 2282}).writeTable(&table))
	require.Regexp(t, `(?m)^left +2,282; the next start finishes them, unless the store is memory:$`, table.String())
}

func TestAStopThatIsAskedForBeforeTheStartIsOne(t *testing.T) {
	t.Parallel()
	dir, _, _, _ := tree(t, 20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	got := start(t, ctx, "-dir", dir)

	require.Zero(t, got.code, got.stderr)
	require.Equal(t, "stopped", got.State)
	require.Negative(t, got.Left)
}

// journalOf counts, for each file, the runs that ended well and those that did
// not.
func journalOf(t *testing.T, file string) (ok, cut map[string]int) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	ok, cut = map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case fields[0] == "start":
			require.Len(t, fields, 5)
			cut[fields[1]]++
		case fields[5] == "ok":
			require.Len(t, fields, 6)
			cut[fields[1]]--
			ok[fields[1]]++
		}
	}
	return ok, cut
}

// jobsIn counts the jobs that a store holds.
func jobsIn(t *testing.T, url string) (n int64) {
	t.Helper()
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	queues, err := store.Queues(t.Context())
	require.NoError(t, err)
	for _, q := range queues {
		for _, count := range q.Counts {
			n += count
		}
	}
	return n
}

func TestLaterStartsFinishWhatAnEarlierOneLeft(t *testing.T) {
	t.Parallel()
	url := "redis://" + redistest.Start(t, redistest.Options{}).Addr
	dir, files, size, want := tree(t, 1500)
	journal := filepath.Join(t.TempDir(), "journal")
	args := []string{"-dir", dir, "-backend", url, "-journal", journal, "-concurrency", "3", "-grace", "10s", "-lease", "2s"}

	var got outcome
	completed, starts := 0, 0
	for left := int64(-1); left != 0; left = got.Left {
		starts++
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(30+20*starts)*time.Millisecond)
		got = start(t, ctx, args...)
		cancel()
		require.Zero(t, got.code, got.stderr)
		require.Zero(t, got.Abandoned+got.Lost+got.Unconfirmed)
		completed += got.Completed
	}

	t.Logf("%d starts", starts)
	require.Greater(t, starts, 1)
	require.Equal(t, want, got.Digest)
	require.Equal(t, files, got.Files)
	require.Equal(t, size, got.Bytes)
	require.Equal(t, files, completed)
	ok, cut := journalOf(t, journal)
	require.Len(t, ok, files)
	for id, n := range ok {
		require.Equal(t, 1, n, id)
		require.Zero(t, cut[id], id)
	}
	require.Zero(t, jobsIn(t, url), got.stderr)
}

func TestARunThatWasKilledWhileItRemovedTheJobsIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	url := "redis://" + server.Addr
	dir, files, size, want := tree(t, 200)
	root, err := folder(dir)
	require.NoError(t, err)
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	q := queuesOf(root)
	_, err = client.Enqueue(t.Context(), Result{Files: files, Bytes: size, Digest: want, Found: files},
		jobs.Queue(q.results), jobs.ID(resultID))
	require.NoError(t, err)

	got := start(t, t.Context(), "-dir", dir, "-backend", url)

	require.Zero(t, got.code, got.stderr)
	require.Equal(t, want, got.Digest)
	require.Equal(t, files, got.Files)
	require.Equal(t, size, got.Bytes)
	require.Zero(t, got.Completed)
	require.Zero(t, got.Left)
	require.Equal(t, "stopped", got.State)
	require.Zero(t, jobsIn(t, url))
}

func TestTwoProcessesShareAFolder(t *testing.T) {
	t.Parallel()
	url := "redis://" + redistest.Start(t, redistest.Options{}).Addr
	dir, files, _, want := tree(t, 2000)
	journal := filepath.Join(t.TempDir(), "journal")

	var got [2]outcome
	var both sync.WaitGroup
	for i := range got {
		both.Go(func() { got[i] = start(t, t.Context(), "-dir", dir, "-backend", url, "-journal", journal) })
	}
	both.Wait()

	require.Zero(t, got[0].code, got[0].stderr)
	require.Zero(t, got[1].code, got[1].stderr)
	require.Equal(t, files, got[0].Completed+got[1].Completed)
	require.Contains(t, []string{got[0].Digest, got[1].Digest}, want)
	ok, _ := journalOf(t, journal)
	require.Len(t, ok, files)
	for id, n := range ok {
		require.Equal(t, 1, n, id)
	}
	require.Zero(t, jobsIn(t, url))
}

func TestWalkGivesPathsRelativeToItsRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a", "sub/b", "sub/sub/c"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	var found []string
	require.NoError(t, walk(t.Context(), dir, func(path string, err error) error {
		found = append(found, path)
		return err
	}))
	require.Equal(t, []string{"a", "sub/b", "sub/sub/c"}, slices.Sorted(slices.Values(found)))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, walk(ctx, dir, nil), context.Canceled)
	require.ErrorIs(t, walk(t.Context(), filepath.Join(dir, "none"), nil), fs.ErrNotExist)
}

func TestNumbersAreReadable(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", 1234567: "1,234,567", -12: "-12"} {
		require.Equal(t, want, thousands(n))
	}
}

// shown is what is written on a screen while others read it.
type shown struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *shown) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *shown) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestTheDashboardIsThereUntilASignalAndWarnsOfNothing(t *testing.T) {
	t.Parallel()
	dir, files, _, want := tree(t, 2*partSize)
	began := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout bytes.Buffer
	stderr, ended := &shown{}, make(chan int, 1)
	go func() {
		args := []string{"-json", "-dir", dir, "-ui", "127.0.0.1:0", "-backend", "sqlite:" + filepath.Join(t.TempDir(), "jobs.db")}
		ended <- run(ctx, args, &stdout, newScreen(stderr))
	}()
	require.Eventually(t, func() bool { return strings.Contains(stderr.String(), "all files are processed") }, time.Minute, 10*time.Millisecond)
	_, rest, _ := strings.Cut(stderr.String(), "the dashboard is at ")
	url, _, _ := strings.Cut(rest, "\n")
	require.Contains(t, stderr.String(), "all files are processed; the dashboard is at "+url+" until Ctrl-C")
	idle := time.Now()
	answer, err := http.Get(url)
	require.NoError(t, err)
	page, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Contains(t, string(page), "-results")
	require.NotContains(t, string(page), "no worker takes from it")
	time.Sleep(2 * time.Second)
	stop()
	require.Zero(t, <-ended, stderr.String())
	var s summary
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &s))
	require.Equal(t, want, s.Digest)
	require.Equal(t, files, s.Completed)
	require.Less(t, time.Duration(s.ElapsedMS)*time.Millisecond, idle.Sub(began)+time.Second, "the wait does not count")
}
