package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

// seen is a live view of what was read at an instant.
func seen(width, height int, queues ...backend.QueueInfo) top {
	v := newTop(context.Background(), &session{url: "redis://host"}, time.Second)
	v = send(v, tea.WindowSizeMsg{Width: width, Height: height})
	return send(v, reading{at: time.Unix(1000, 0), queues: queues})
}

func send(v top, messages ...tea.Msg) top {
	for _, m := range messages {
		next, _ := v.Update(m)
		v = next.(top)
	}
	return v
}

// press presses keys, by their names.
func press(v top, keys ...string) top {
	for _, key := range keys {
		next, _ := v.pressed(key)
		v = next.(top)
	}
	return v
}

func queueOf(name string, completed int64) backend.QueueInfo {
	return backend.QueueInfo{Name: name, Counts: map[backend.State]int64{backend.StateWaiting: 3}, Completed: completed}
}

func many(n int) (queues []backend.QueueInfo) {
	for i := range n {
		queues = append(queues, queueOf(fmt.Sprintf("q%03d", i), 0))
	}
	return queues
}

func TestTheLiveViewFillsTheTerminalAndNeverMore(t *testing.T) {
	t.Parallel()
	long := queueOf(strings.Repeat("長い", 100), 0)
	for _, size := range [][2]int{{80, 24}, {200, 60}, {20, 6}, {1, 1}, {80, 3}} {
		for _, p := range []string{"1", "2", "3"} {
			v := press(seen(size[0], size[1], append(many(50), long)...), p, "end")
			v.now.err = errors.New(strings.Repeat("away ", 100))
			lines := v.lines()
			require.LessOrEqual(t, len(lines), size[1])
			for _, line := range lines {
				require.LessOrEqual(t, ansi.StringWidth(line), size[0])
			}
		}
	}
}

func TestTheChosenLineIsInSightAndStaysTheSameWhenOthersComeAndGo(t *testing.T) {
	t.Parallel()
	v := press(seen(80, 24, many(50)...), "end", "up")
	require.Equal(t, "q048", v.queue())
	require.Contains(t, strings.Join(v.lines(), "\n"), ">q048")
	v = send(v, reading{at: time.Unix(1001, 0), queues: many(50)[40:]})
	require.Equal(t, "q048", v.queue())
	v = send(v, reading{at: time.Unix(1002, 0), queues: many(48)})
	require.Equal(t, "q008", v.queue(), "the one that took its place")
	v = press(send(v, reading{at: time.Unix(1003, 0)}), "p", "enter", "c")
	require.Empty(t, v.queue())
	require.Empty(t, v.question)
}

func TestRatesAreWhatPassedBetweenTwoReadings(t *testing.T) {
	t.Parallel()
	v := seen(100, 24, queueOf("mail", 100))
	require.Contains(t, v.lines()[0], " 0/s done")
	v = send(v, reading{at: time.Unix(1002, 0), queues: []backend.QueueInfo{queueOf("mail", 150), queueOf("new", 1000)}})
	require.Contains(t, v.lines()[0], " 25/s done")
	v = send(v, reading{at: time.Unix(1003, 0), err: backend.ErrUnavailable})
	require.Contains(t, v.lines()[0], " 25/s done", "what was read before is still shown")
	require.Contains(t, strings.Join(v.lines(), "\n"), "what you see was read")
	v = send(v, reading{at: time.Unix(1004, 0), queues: []backend.QueueInfo{queueOf("mail", 0)}})
	require.Contains(t, v.lines()[0], " 0/s done", "a queue that was emptied has not done less than nothing")
}

func TestWhatOthersWroteDoesNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	v := seen(80, 24, queueOf("\x1b[2J\u202e", 0))
	v = send(v, acted{text: "\x1b]0;title\a"})
	for _, line := range v.lines() {
		require.NotContains(t, line, "\x1b")
		require.NotContains(t, line, "\u202e")
	}
}

func TestAnActIsDoneOnlyWhenItWasConfirmed(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		_, err = client.Enqueue(t.Context(), Welcome{}, jobs.Queue("mail"))
		require.NoError(t, err)
		v := newTop(t.Context(), &session{client: client, url: url}, time.Second)
		v = send(v, v.read("")())
		for _, key := range []string{"n", "x", "enter"} {
			next, command := press(v, "p").pressed(key)
			require.Nil(t, command)
			require.Empty(t, next.(top).question)
		}
		next, command := press(v, "p").pressed("y")
		v = send(next.(top), command())
		require.Equal(t, "paused mail", v.said)
		v = send(v, v.read("")())
		require.True(t, v.now.queues[0].Paused)
		v = press(v, "p")
		require.Equal(t, "resume the queue mail?", v.question)
	})
}

// terminal is the command line in a tmux of its own.
type terminal struct {
	t      *testing.T
	socket string
}

func newTerminal(t *testing.T, url string, args ...string) *terminal {
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv(redistest.RequireEnv) == "" {
			t.Skip("tmux is not in PATH")
		}
		require.NoError(t, err)
	}
	dir, err := os.MkdirTemp("", "caddis-tmux") // the path of a socket is to be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &terminal{t, filepath.Join(dir, "s")}
	command := append([]string{"-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24",
		"-e", asProgram + "=plain", "-e", StoreVariable + "=" + url, "-e", "NO_COLOR=1", os.Args[0]}, args...)
	w.tmux(command...)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", w.socket, "kill-server").Run() })
	return w
}

func (w *terminal) tmux(args ...string) string {
	w.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", w.socket}, args...)...).CombinedOutput()
	require.NoError(w.t, err, "%s", out)
	return string(out)
}

func (w *terminal) keys(keys ...string) { w.tmux(append([]string{"send-keys"}, keys...)...) }

// await waits until the terminal shows a text.
func (w *terminal) await(text string) (screen string) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		screen = w.tmux("capture-pane", "-p")
		return strings.Contains(screen, text)
	}, 30*time.Second, 20*time.Millisecond, "%s", text)
	return screen
}

func TestTopIsDrivenInATerminal(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		store := openStore(t, url)
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		for _, id := range []string{"held", "next"} {
			_, err = client.Enqueue(t.Context(), Welcome{}, jobs.Queue("mail"), jobs.ID(id))
			require.NoError(t, err)
		}
		reply, err := store.Lease(t.Context(), backend.LeaseRequest{Worker: "ann", Token: "ann.1", Queues: []string{"mail"}, Max: 1, Duration: time.Hour})
		require.NoError(t, err)
		require.Len(t, reply.Leases, 1)

		w := newTerminal(t, url, "top", "--every", "200ms")
		screen := w.await("mail")
		lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
		require.Len(t, lines, 24)
		require.Contains(t, lines[0], "1 waiting  1 running")
		require.Contains(t, lines[23], "q end")
		w.keys("p")
		w.await("pause the queue mail in the whole fleet? y/n")
		w.keys("y")
		w.await("paused  ")
		w.keys("Enter")
		w.await("held")
		w.keys("c")
		w.await("cancel the job held of the queue mail? y/n")
		w.keys("y")
		w.await("cancelling")
		w.keys("2")
		w.await("there is no worker")
		w.tmux("resize-window", "-x", "120", "-y", "30")
		w.keys("1")
		require.Eventually(t, func() bool {
			lines := strings.Split(strings.TrimRight(w.tmux("capture-pane", "-p"), "\n"), "\n")
			return len(lines) == 30 && strings.Contains(lines[29], "q end")
		}, 30*time.Second, 20*time.Millisecond)
		w.keys("q")
		require.Eventually(t, func() bool {
			return exec.Command("tmux", "-S", w.socket, "has-session").Run() != nil
		}, 30*time.Second, 20*time.Millisecond, "q ends it")
	})
}
