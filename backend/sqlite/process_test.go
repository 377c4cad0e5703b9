package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddis-go/caddis/backend"
)

// roleEnv makes the test binary another process that works on the file that it names.
const roleEnv = "CADDIS_SQLITE_ROLE"

func TestMain(m *testing.M) {
	if role, path, ok := strings.Cut(os.Getenv(roleEnv), " "); ok {
		if err := play(role, path); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// play is what the other process does: it says what it has done line by line, and goes
// on when it reads one.
func play(role, path string) error {
	store, err := backend.Open("sqlite:" + path)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	ctx := context.Background()
	switch role {
	case "lease":
		reply, err := store.Lease(ctx, backend.LeaseRequest{Worker: "other", Token: "other.1", Queues: []string{"q"}, Max: 10, Duration: time.Hour})
		if err == nil {
			_, err = store.Announce(ctx, backend.WorkerInfo{ID: "other", Queues: []string{"q"}}, time.Hour)
		}
		if err != nil {
			return err
		}
		fmt.Println(len(reply.Leases))
		lines.Scan()
	case "enqueue":
		fmt.Println("ready")
		for n := 0; lines.Scan(); n++ {
			if _, err := store.Enqueue(ctx, []backend.NewJob{job(fmt.Sprint("other-", n))}); err != nil {
				return err
			}
			fmt.Println(time.Now().UnixNano())
		}
	}
	return store.Close()
}

// other is another process.
type other struct {
	*exec.Cmd
	out *bufio.Scanner
	in  *os.File
}

func start(t *testing.T, role, path string) *other {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	p := &other{Cmd: exec.Command(binary)}
	p.Env = append(os.Environ(), roleEnv+"="+role+" "+path)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	p.Stdin, p.in = read, write
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(out)
	require.NoError(t, p.Start())
	require.NoError(t, read.Close())
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		_ = write.Close()
	})
	return p
}

func (p *other) line(t *testing.T) string {
	t.Helper()
	require.True(t, p.out.Scan(), "the other process says nothing more")
	return p.out.Text()
}

func (p *other) tell(t *testing.T) {
	t.Helper()
	_, err := p.in.WriteString("\n")
	require.NoError(t, err)
}

func TestTheJobsOfAProcessThatIsKilledRunAgainAtOnceAndNotAfterALease(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store := at(t, path)
	enqueue(t, store, "a", "b", "c")
	p := start(t, "lease", path)
	require.Equal(t, "3", p.line(t))
	w := &worker{TB: t, store: store, id: "w"}
	waiter, err := store.Waiter([]string{"q"})
	require.NoError(t, err)
	defer func() { require.NoError(t, waiter.Close()) }()
	require.Empty(t, w.lease(10, time.Hour), "the other one has them")
	workers, err := store.Workers(t.Context())
	require.NoError(t, err)
	require.Len(t, workers, 1)

	killed := time.Now()
	require.NoError(t, p.Process.Kill())
	var leases []backend.Lease
	for len(leases) == 0 {
		require.Less(t, time.Since(killed), patience)
		reply, err := waiter.Lease(t.Context(), w.request(10, time.Hour), patience)
		require.NoError(t, err)
		leases = reply.Leases
	}
	t.Logf("the jobs were taken over after %v", time.Since(killed))
	require.Equal(t, []string{"a", "b", "c"}, ids(leases))
	for _, l := range leases {
		require.Equal(t, 1, l.Crashes)
	}
	workers, err = store.Workers(t.Context())
	require.NoError(t, err)
	require.Empty(t, workers)
	left, err := filepath.Glob(path + "-worker-*")
	require.NoError(t, err)
	require.Len(t, left, 1, "the lock of the living process")
}

func TestAProcessThatStartsTakesOverWhatOnesBeforeHaveLeft(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	enqueue(t, at(t, path), "a")
	p := start(t, "lease", path)
	require.Equal(t, "1", p.line(t))
	require.NoError(t, p.Process.Kill())
	_ = p.Wait()
	store := at(t, path)
	came := (&worker{TB: t, store: store, id: "w"}).drain(t.Context(), 1)
	require.Contains(t, came, "a")
}

func TestTheWorkersOfAProcessThatWasKilledAreNotListedEvenIfNobodyElseWorks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	p := start(t, "lease", path)
	require.Equal(t, "0", p.line(t))
	store := at(t, path)
	workers, err := store.Workers(t.Context())
	require.NoError(t, err)
	require.Len(t, workers, 1)
	require.NoError(t, p.Process.Kill())
	_ = p.Wait()
	workers, err = store.Workers(t.Context())
	require.NoError(t, err)
	require.Empty(t, workers)
}

func TestAnEnqueueOfAnotherProcessWakesWhoWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	store := at(t, path)
	p := start(t, "enqueue", path)
	require.Equal(t, "ready", p.line(t))
	w := &worker{TB: t, store: store, id: "w"}
	waiter, err := store.Waiter([]string{"q"})
	require.NoError(t, err)
	defer func() { require.NoError(t, waiter.Close()) }()
	var late []time.Duration
	for n := range 100 {
		p.tell(t)
		for {
			reply, err := waiter.Lease(t.Context(), w.request(1, time.Minute), patience)
			now := time.Now()
			require.NoError(t, err)
			if len(reply.Leases) == 0 {
				continue // woken for nothing, or the wait has ended
			}
			require.Equal(t, []string{fmt.Sprint("other-", n)}, ids(reply.Leases))
			w.settle(reply.Leases, backend.OutcomeCompleted)
			var at int64
			_, err = fmt.Sscan(p.line(t), &at)
			require.NoError(t, err)
			late = append(late, now.Sub(time.Unix(0, at)))
			break
		}
	}
	slices.Sort(late)
	t.Logf("picked up after the enqueue of another process was answered: p50 %v, p99 %v", late[50], late[98])
}

func TestWhatMakesRoomForAParkedJobInAnotherProcessWakesWhoWaits(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	here, there := at(t, path), at(t, path)
	for _, id := range []string{"a", "b", "c"} {
		n := job(id)
		n.Limits = []backend.Limit{{Class: "tenant", Rule: backend.LimitRule{Slots: 1}}}
		_, err := there.Enqueue(t.Context(), []backend.NewJob{n})
		require.NoError(t, err)
	}
	w, busy := &worker{TB: t, store: here, id: "w"}, &worker{TB: t, store: there, id: "busy"}
	held := busy.lease(1, time.Hour)
	require.Equal(t, []string{"a"}, ids(held))
	waiter, err := here.Waiter([]string{"q"})
	require.NoError(t, err)
	defer func() { require.NoError(t, waiter.Close()) }()
	for _, act := range []func(){
		func() { require.NoError(t, there.SetLimit(t.Context(), "q", "tenant", &backend.LimitRule{Slots: 2})) },
		func() { busy.settle(held, backend.OutcomeCompleted) },
	} {
		for began, acted := time.Now(), false; ; {
			ctx, cancel := context.WithCancel(t.Context())
			if !acted {
				time.AfterFunc(300*time.Millisecond, act)
			}
			acted = true
			reply, err := waiter.Lease(ctx, w.request(1, time.Hour), patience)
			cancel()
			require.NoError(t, err)
			require.Less(t, time.Since(began), patience, "it was not woken")
			if len(reply.Leases) == 1 {
				break
			}
		}
	}
}

// listen hears what here is told of. It returns once that is so: before, commands are
// not kept.
func listen(t *testing.T, here, there backend.Backend) (heard chan backend.Command) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard, ended := make(chan backend.Command, 10), make(chan error, 1)
	listens := make(chan struct{}, 1000)
	go func() {
		ended <- here.Listen(ctx, func(c backend.Command) {
			switch {
			case c.Verb == backend.CommandControl: // it begins to hear
				return
			case strings.HasPrefix(c.Queue, "listens-"):
				listens <- struct{}{}
				return
			}
			heard <- c
		})
	}()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
	for n := range 1000 {
		_, err := there.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "a", Queue: fmt.Sprint("listens-", n), Kind: "kind"}}})
		require.NoError(t, err)
		select {
		case <-listens:
			return heard
		case <-time.After(20 * time.Millisecond):
		}
	}
	require.Fail(t, "it does not listen")
	return nil
}

func next(t *testing.T, heard chan backend.Command) backend.Command {
	t.Helper()
	select {
	case c := <-heard:
		return c
	case <-time.After(patience):
		require.Fail(t, "nothing was heard")
		return backend.Command{}
	}
}

func TestAQueueThatAppearsByAnotherProcessIsHeardOf(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	here, there := at(t, path), at(t, path)
	heard := listen(t, here, there)
	enqueue(t, there, "a")
	require.Equal(t, backend.Command{Verb: backend.CommandQueue, Queue: "q"}, next(t, heard))
}

func TestACancelByAnotherProcessIsHeard(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	here, there := at(t, path), at(t, path)
	heard := listen(t, here, there)
	enqueue(t, here, "a")
	require.Len(t, (&worker{TB: t, store: here, id: "w"}).lease(1, time.Minute), 1)
	results, err := there.Cancel(t.Context(), "q", []string{"a"})
	require.NoError(t, err)
	require.NoError(t, results[0].Err)
	for c := next(t, heard); c.Verb != backend.CommandCancel; c = next(t, heard) {
		require.Equal(t, backend.Command{Verb: backend.CommandQueue, Queue: "q"}, c, "it appeared, as may be said twice")
	}
}

func TestProcessesThatReachTheFileByDifferentPathsTakeNothingFromEachOther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	link := filepath.Join(t.TempDir(), "current.db")
	store := at(t, path)
	enqueue(t, store, "a")
	require.NoError(t, os.Symlink(path, link))
	require.Len(t, (&worker{TB: t, store: store, id: "here"}).lease(1, time.Hour), 1)
	linked := at(t, link)
	enqueue(t, linked, "b")
	there := &worker{TB: t, store: linked, id: "there"}
	came := there.drain(t.Context(), 1)
	require.Contains(t, came, "b")
	require.Never(t, func() bool {
		return len(there.lease(1, time.Hour)) > 0
	}, time.Second, 20*time.Millisecond, "the job of a worker that lives was taken over")
}
